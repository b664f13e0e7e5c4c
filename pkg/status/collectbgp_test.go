package status

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// announcers starts an agent that announces by BGP beside each API server of nodes.
func (s *site) announcers(nodes ...int) {
	s.t.Helper()
	for _, n := range nodes {
		a := announcer(fmt.Sprintf("node-%c", 'a'+n-1))
		a.Identity = a.Node + "_boot_1"
		s.agent(n, says(a))
	}
}

// TestCollectByBGP: there is no Lease, and that is right.
func TestCollectByBGP(t *testing.T) {
	s := newSite(t)
	s.announcers(1, 2)
	r, nodes := s.collect()
	if r.Announce != AnnounceBGP || r.Lease.Name != "" ||
		r.Transitions != nil || r.Problem != "" || len(nodes) != 3 {
		t.Errorf("%+v", r)
	}
	if got := nodes[s.host(2)]; got.Name != "node-b" || !got.Ready || got.Agent.BGP.up() != 2 {
		t.Errorf("%+v", got)
	}
}

// TestCollectByBGPIgnoresALeaseOfBefore: a cluster that had an election may still have its Lease.
func TestCollectByBGPIgnoresALeaseOfBefore(t *testing.T) {
	s := newSite(t)
	s.lease("node-a_boot_1", time.Now().Add(-time.Hour), nil)
	s.announcers(1, 2)
	if r, _ := s.collect(); r.Announce != AnnounceBGP || r.Lease.Name != "" || r.Problem != "" {
		t.Errorf("%+v", r)
	}
}

// TestCollectByBGPWithoutAPIServers: the agent of this host answers (B13).
func TestCollectByBGPWithoutAPIServers(t *testing.T) {
	s := newSite(t)
	for _, server := range s.servers {
		server.Close()
	}
	s.announcers(1)
	r, nodes := s.collect()
	if r.Announce != AnnounceBGP || len(nodes) != 1 || nodes[s.host(1)].Name != "node-a" {
		t.Errorf("%+v", r)
	}
}

// TestCollectByBGPFindsDeadAPIServers by the Nodes of the control plane: the list of the cluster's
// API servers forgets them.
func TestCollectByBGPFindsDeadAPIServers(t *testing.T) {
	s := newSite(t)
	s.store.SetPeers(s.host(1), s.host(2))
	s.announcers(1, 2, 3)
	for name, labels := range map[string]map[string]string{
		"node-c": {controlPlaneLabel: ""}, "worker": nil,
	} {
		address := map[string]string{"node-c": "127.0.0.3", "worker": "127.0.0.4"}[name]
		_, err := s.client(1).Core.Nodes().Create(t.Context(), &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: address},
			}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	r, nodes := s.collect()
	if len(nodes) != 3 || nodes[s.host(3)].Name != "node-c" || nodes[s.host(3)].Ready {
		t.Errorf("%+v", r.Nodes)
	}
	sessions, err := CollectBGP(t.Context(), s.cfg, "")
	if err != nil || len(sessions.Nodes) != 3 {
		t.Errorf("%v, %+v", err, sessions)
	}
}

// TestCollectBGP reads each agent once, although this host is found at two addresses.
func TestCollectBGP(t *testing.T) {
	s := newSite(t)
	s.announcers(1, 2)
	r, err := CollectBGP(t.Context(), s.cfg, "tor-a")
	if err != nil || r.Problem != "" || len(r.Nodes) != 2 || len(r.Nodes[0].Sessions) != 1 ||
		!slices.Equal(r.Unreachable, nil) {
		t.Errorf("%v, %+v", err, r)
	}
	for _, server := range s.servers { // B13
		server.Close()
	}
	r, err = CollectBGP(t.Context(), s.cfg, "")
	if err != nil || len(r.Nodes) != 1 || r.Nodes[0].Node != "node-a" {
		t.Errorf("without API servers: %v, %+v", err, r)
	}
}

// TestErrorsOfCollectBGP: no agent answers, or none has a part in BGP.
func TestErrorsOfCollectBGP(t *testing.T) {
	s := newSite(t)
	if _, err := CollectBGP(t.Context(), s.cfg, ""); err == nil ||
		!strings.Contains(err.Error(), "no agent answers at 127.0.0.") {
		t.Errorf("without agents: %v", err)
	}
	s.agent(1, says(agent("node-a")))
	if _, err := CollectBGP(t.Context(), s.cfg, ""); err == nil ||
		!strings.Contains(err.Error(), "no agent that answers has a part in BGP") {
		t.Errorf("with an agent of an election: %v", err)
	}
}

// TestBGPPorts: an agent of Services alone has its own.
func TestBGPPorts(t *testing.T) {
	cfg := newSite(t).cfg
	if ports := bgpPorts(cfg); len(ports) != 1 {
		t.Errorf("ports %v, although one was given", ports)
	}
	cfg.MetricsAddress = ":2112"
	if ports := bgpPorts(cfg); !slices.Equal(ports, []string{"2112", "2117", "2116"}) {
		t.Errorf("ports %v", ports)
	}
}

// TestMoveByBGP is refused with the reason: by the agent of this host at once, and from elsewhere
// after no holder was found.
func TestMoveByBGP(t *testing.T) {
	for _, node := range []int{1, 2} {
		s := newSite(t)
		s.announcers(node)
		if _, err := Move(t.Context(), s.cfg, ""); !errors.Is(err, ErrByBGP) {
			t.Errorf("with an agent beside API server %d: %v", node, err)
		}
	}
}
