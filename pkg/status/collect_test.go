package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/test/fakeapi"

	"github.com/kvip/kvip/test/testutil"
)

// site is a cluster of three nodes at 127.0.0.1 to 127.0.0.3: the API servers of the first
// two run, and agents where a test starts them.
type site struct {
	t       *testing.T
	store   *fakeapi.Store
	servers []*fakeapi.Server
	cfg     config.Config
	port    string // of the API servers
	ca      []byte
	agents  string // port of the agents
}

func newSite(t *testing.T) *site {
	t.Helper()
	store, err := fakeapi.NewStore()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, store: store, cfg: config.Default(), agents: freePort(t), ca: store.CA()}
	s.port = freePort(t)
	for n := range 2 {
		server, err := store.Serve(s.host(n + 1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		s.servers = append(s.servers, server)
	}
	store.SetPeers(s.host(1), s.host(2), s.host(3))
	kubeconfig := filepath.Join(t.TempDir(), "admin.conf")
	user := fakeapi.User{Token: "secret"}
	if err := store.WriteKubeconfig(kubeconfig, "https://127.0.0.1:1", user); err != nil {
		t.Fatal(err)
	}
	s.cfg.Kubeconfigs, s.cfg.MetricsAddress = []string{kubeconfig}, ":"+s.agents
	s.cfg.Port, _ = strconv.Atoi(s.port)
	return s
}

// freePort returns a port without a listener on any address of this host.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// host returns the address of node n's API server, n from 1.
func (s *site) host(n int) string { return "127.0.0." + strconv.Itoa(n) + ":" + s.port }

// client returns a client for the API server of node n with the kubeconfigs of the site.
func (s *site) client(n int) *apiclient.Server {
	store := testutil.Must(apiclient.NewStore(apiclient.StoreConfig{Kubeconfigs: s.cfg.Kubeconfigs}))
	return testutil.Must(store.ServerInPool("", s.host(n)))
}

// lease creates the Lease with annotations and a holder, which may be "".
func (s *site) lease(holder string, renewed time.Time, annotations map[string]string) {
	s.t.Helper()
	server := s.client(1)
	seconds, term, at := int32(5), int32(7), metav1.NewMicroTime(renewed)
	_, err := server.Coordination.Leases("kube-system").Create(s.t.Context(), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "kvip", Annotations: annotations},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: &holder, LeaseDurationSeconds: &seconds,
			LeaseTransitions: &term, RenewTime: &at,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
}

// node creates a Node with one address.
func (s *site) node(name, address string) {
	s.t.Helper()
	server := s.client(2)
	_, err := server.Core.Nodes().Create(s.t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: address},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
}

// agent starts an agent on node n that answers its /status with page.
func (s *site) agent(n int, page http.HandlerFunc) {
	s.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0."+strconv.Itoa(n)+":"+s.agents)
	if err != nil {
		s.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/status", page)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: mux}}
	server.Start()
	s.t.Cleanup(server.Close)
}

func says(a *Agent) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(a) }
}

// collect returns a report, and its nodes by address.
func (s *site) collect() (Report, map[string]Node) {
	s.t.Helper()
	r, err := Collect(s.t.Context(), s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	nodes := map[string]Node{}
	for _, n := range r.Nodes {
		if _, twice := nodes[n.Address]; twice {
			s.t.Errorf("%s is listed twice", n.Address)
		}
		nodes[n.Address] = n
	}
	return r, nodes
}

// TestCollect reads the Lease, API servers and agents, without the VIP and without a proxy of the
// environment.
func TestCollect(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:1")
	s := newSite(t)
	renewed := time.Now().Add(-3 * time.Second)
	s.lease("node-b_boot_1", renewed, map[string]string{
		kubelease.AnnotationDegraded:    "APIServerNotReady",
		kubelease.AnnotationRequestedBy: "node-a_boot_1",
		kubelease.AnnotationTransitions: `[{"time":"2026-01-02T03:04:05Z","from":"node-a_boot_1",` +
			`"to":"node-b_boot_1","term":7,"reason":"Shutdown"}]`,
	})
	s.agent(1, says(agent("node-a")))
	s.agent(2, says(agent("node-b")))
	r, nodes := s.collect()
	l := r.Lease
	if !l.Exists || l.Holder != "node-b" || l.Identity != "node-b_boot_1" || l.Term != 7 ||
		l.Duration != 5*time.Second || l.RequestedBy != "node-a_boot_1" ||
		!l.Renewed.Equal(renewed.Truncate(time.Microsecond)) || l.Age < 3*time.Second {
		t.Errorf("lease %+v", l)
	}
	if r.Degraded != "APIServerNotReady" || len(r.Transitions) != 1 || r.Transitions[0].Term != 7 {
		t.Errorf("degraded %q, transitions %v", r.Degraded, r.Transitions)
	}
	if len(nodes) != 3 {
		t.Fatalf("nodes %+v", r.Nodes)
	}
	for n, name := range []string{"node-a", "node-b"} {
		got := nodes[s.host(n+1)]
		if !got.Ready || got.Problem != "" || got.Name != name || got.Agent == nil ||
			got.Agent.State != "standby" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	got := nodes[s.host(3)]
	if got.Ready || !strings.Contains(got.Problem, "refused") || got.Name != "" ||
		got.Agent != nil {
		t.Errorf("the dead node: %+v", got)
	}
}

// TestCollectWithoutALease: a missing Lease is a result, not a failure.
func TestCollectWithoutALease(t *testing.T) {
	r, _ := newSite(t).collect()
	if r.Lease.Exists || r.Lease.Holder != "" || r.Lease.Name != "kvip" ||
		r.Transitions == nil || len(r.Nodes) != 3 {
		t.Errorf("%+v", r)
	}
}

// TestCollectBesideAHungAPIServer: the agent of its node is read nevertheless.
func TestCollectBesideAHungAPIServer(t *testing.T) {
	s := newSite(t)
	s.lease("node-a_boot_1", time.Now(), nil)
	s.agent(2, says(agent("node-b")))
	s.servers[1].SetMode(fakeapi.Hang)
	_, nodes := s.collect()
	got := nodes[s.host(2)]
	if got.Ready || got.Problem != "its API server does not answer for 2s" ||
		got.Agent == nil || got.Name != "node-b" {
		t.Errorf("%+v", got)
	}
}

// TestCollectThroughTheKubeconfigsServer works without an API server on this host, and names the
// nodes without an agent by the cluster's Nodes.
func TestCollectThroughTheKubeconfigsServer(t *testing.T) {
	s := newSite(t)
	s.lease("node-b_boot_1", time.Now(), nil)
	s.servers[0].Close()
	user := fakeapi.User{Token: "secret"}
	err := s.store.WriteKubeconfig(s.cfg.Kubeconfigs[0], "https://"+s.host(2), user)
	if err != nil {
		t.Fatal(err)
	}
	s.node("node-c", "127.0.0.3")
	r, nodes := s.collect()
	if r.Lease.Holder != "node-b" || !nodes[s.host(2)].Ready ||
		nodes[s.host(3)].Name != "node-c" || len(nodes) != 3 {
		t.Errorf("%+v", r)
	}
}

// TestCollectFindsAgentsOfBothManifests: static pod and DaemonSet serve on different ports.
func TestCollectFindsAgentsOfBothManifests(t *testing.T) {
	s := newSite(t)
	cfg := s.cfg
	cfg.MetricsAddress = config.DefaultMetricsAddress
	if ports := agentPorts(cfg); !slices.Equal(ports, []string{"2112", "2117"}) {
		t.Errorf("ports %v", ports)
	}
	if ports := agentPorts(s.cfg); !slices.Equal(ports, []string{s.agents}) {
		t.Errorf("ports %v, although one was given", ports)
	}
	owner, waits, starts := agent("owner"), agent("waits"), agent("starts")
	owner.Owned, starts.State = true, "starting"
	for _, row := range []struct {
		answers []*Agent
		want    *Agent
	}{
		{[]*Agent{nil, nil}, nil}, {[]*Agent{nil, starts}, starts}, {[]*Agent{starts, waits}, waits},
		{[]*Agent{waits, owner}, owner}, {[]*Agent{owner, starts}, owner},
	} {
		if got := activeAgent(row.answers); got != row.want {
			t.Errorf("of %v it chose %v", row.answers, got)
		}
	}
}

// TestCollectBoundsWhatAgentsName: a forged agent cannot cause requests to thousands of hosts.
func TestCollectBoundsWhatAgentsName(t *testing.T) {
	s := newSite(t)
	s.lease("node-a_boot_1", time.Now(), nil)
	a := agent("node-a")
	for n := range 10 * maxPeers {
		a.Peers = append(a.Peers, fmt.Sprintf("127.1.0.%d:1", n))
	}
	s.agent(1, says(a))
	if r, _ := s.collect(); len(r.Nodes) > 3+maxPeers {
		t.Errorf("%d nodes are probed", len(r.Nodes))
	}
}

// TestCollectThroughAPeer: if the API server of this node is dead, its agent has the peers.
func TestCollectThroughAPeer(t *testing.T) {
	s := newSite(t)
	s.lease("node-b_boot_1", time.Now(), nil)
	s.servers[0].Close()
	a := agent("node-a")
	a.Peers = []string{s.host(3), s.host(2)}
	s.agent(1, says(a))
	r, nodes := s.collect()
	if r.Lease.Holder != "node-b" || nodes[s.host(1)].Ready ||
		nodes[s.host(1)].Name != "node-a" || !nodes[s.host(2)].Ready {
		t.Errorf("%+v", r)
	}
}

// TestCollectWithoutServers: the error lists the addresses.
func TestCollectWithoutServers(t *testing.T) {
	s := newSite(t)
	for _, server := range s.servers {
		server.Close()
	}
	_, err := Collect(t.Context(), s.cfg)
	want := "no API server at " + s.host(1) + ", 127.0.0.1:1 answers"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v", err)
	}
	s.cfg.LeaseName = ""
	if _, err := Collect(t.Context(), s.cfg); err == nil {
		t.Error("an empty lease name is accepted")
	}
}

// TestErrorsOfCollect name what failed: no server is asked without credentials, and a server that
// answers an error answers.
func TestErrorsOfCollect(t *testing.T) {
	s := newSite(t)
	none := s.cfg
	none.Kubeconfigs = []string{filepath.Join(t.TempDir(), "admin.conf")}
	_, err := Collect(t.Context(), none)
	if !errors.Is(err, apiclient.ErrNoCredentials) || strings.Contains(err.Error(), "no API server") ||
		!strings.HasSuffix(err.Error(), HintElsewhere) {
		t.Errorf("without credentials: %v", err)
	}
	for _, code := range []int{http.StatusInternalServerError, http.StatusTooManyRequests} {
		for _, server := range s.servers {
			server.Deny(fakeapi.DenyRule{Path: "/leases/", Code: code})
		}
		_, err := Collect(t.Context(), s.cfg)
		if err == nil || strings.Contains(err.Error(), "no API server") ||
			!strings.HasPrefix(err.Error(), "read lease kube-system/kvip: ") {
			t.Errorf("status %d: %v", code, err)
		}
	}
}

// TestCollectEndsWithItsContext although an API server accepts requests and does not answer.
func TestCollectEndsWithItsContext(t *testing.T) {
	s := newSite(t)
	s.servers[0].SetMode(fakeapi.Hang)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Collect(ctx, s.cfg); err == nil {
		t.Error("no error")
	}
}

// TestFetchAgent ignores other pages than that of an agent.
func TestFetchAgent(t *testing.T) {
	s := newSite(t)
	big := strings.Repeat(" ", maxPage)
	for n, page := range []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) },
		func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(big + "{}")) },
	} {
		s.agent(n+1, page)
		if a := fetchAgent(t.Context(), "127.0.0."+strconv.Itoa(n+1)+":"+s.agents); a != nil {
			t.Errorf("page %d: %+v", n, a)
		}
	}
	if a := fetchAgent(t.Context(), "not an address"); a != nil {
		t.Errorf("%+v", a)
	}
}

// TestCollectWithTheNodesOwnToken uses the token of kvip, and the kubeconfig if that is denied.
func TestCollectWithTheNodesOwnToken(t *testing.T) {
	s := newSite(t)
	s.lease("", time.Time{}, nil)
	s.cfg.StateDir = filepath.Join(t.TempDir(), "state")
	for name, text := range map[string]string{"token": "e30.e30.c2ln", "ca.crt": string(s.ca)} {
		if err := os.MkdirAll(s.cfg.StateDir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.cfg.StateDir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	used := func() (tokens []string) {
		t.Helper()
		before := len(s.servers[0].Requests())
		if _, err := Collect(t.Context(), s.cfg); err != nil {
			t.Fatal(err)
		}
		for _, r := range s.servers[0].Requests()[before:] {
			tokens = append(tokens, r.Token)
		}
		return tokens
	}
	tokens := used()
	if slices.Contains(tokens, "secret") || !slices.Contains(tokens, "e30.e30.c2ln") {
		t.Errorf("requests with %q", tokens)
	}
	for _, server := range s.servers {
		server.RejectUser("e30.e30.c2ln")
	}
	if tokens := used(); !slices.Contains(tokens, "secret") {
		t.Errorf("requests with %q", tokens)
	}
}
