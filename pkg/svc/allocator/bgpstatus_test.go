package allocator

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

// bgpObject reads the status of an object of BGP.
func (r *fixture) bgpObject(plural, name string) (o struct {
	metav1.ObjectMeta `json:"metadata"`
	Status            bgpStatus
}) {
	r.T.Helper()
	if _, err := r.Store.Get(fakecluster.BGPPath(plural, name), &o); err != nil {
		r.T.Fatal(err)
	}
	return o
}

// condition returns the condition Ready of an object of BGP as "STATUS REASON".
func (r *fixture) condition(plural, name string) string {
	r.T.Helper()
	return conditionText(r.bgpObject(plural, name).Status.ready())
}

// conditionText returns a condition as "STATUS REASON", "" if there is none.
func conditionText(c metav1.Condition) string {
	return strings.TrimSpace(string(c.Status) + " " + c.Reason)
}

// expectBGP waits for conditions with messages that contain the texts. The watches of the kinds
// are not in step, so that another message may come first.
func (r *fixture) expectBGP(a *Allocator, plural string, want map[string][2]string) {
	r.T.Helper()
	for name, is := range want {
		what := fmt.Sprintf("%s %s is %s %q", plural, name, is[0], is[1])
		r.until(a, what, func() bool {
			c := r.bgpObject(plural, name).Status.ready()
			return conditionText(c) == is[0] && strings.Contains(c.Message, is[1])
		})
		o := r.bgpObject(plural, name)
		if c := o.Status.ready(); c.LastTransitionTime.IsZero() ||
			c.ObservedGeneration != 1 || o.Status.ObservedGeneration != 1 {
			r.T.Errorf("%s: %+v", what, o.Status)
		}
	}
}

func selecting(key, value string) []metav1.LabelSelector {
	return []metav1.LabelSelector{{MatchLabels: map[string]string{key: value}}}
}

func TestConditionsOfPeers(t *testing.T) {
	type spec = *v1alpha1.BGPPeerSpec
	r := newFixture(t)
	r.PutNode("n1", "10.0.0.1", func(n *corev1.Node) { n.Labels["rack"] = "a" })
	r.PutNode("n2", "10.0.0.2", func(n *corev1.Node) { n.Labels["rack"] = "b" })
	a, _ := r.leader("x")
	on := func(rack string) func(spec) {
		return func(s spec) { s.NodeSelectors = selecting("rack", rack) }
	}
	r.PutPeer("good", "192.0.2.1")
	r.PutPeer("second", "192.0.2.1", on("a"))
	r.PutPeer("source-1", "192.0.2.7", func(s spec) { s.SourceAddress = "192.0.2.11" })
	r.PutPeer("source-2", "192.0.2.7", func(s spec) { s.SourceAddress = "192.0.2.12" })
	r.PutPeer("rack-a", "192.0.2.2", on("a"))
	r.PutPeer("rack-b", "192.0.2.2", on("b"))
	r.PutPeer("nowhere", "192.0.2.3", on("c"))
	r.PutPeer("profile", "192.0.2.4", func(s spec) { s.BFDProfile = "fast" })
	r.PutPeer("secret", "192.0.2.5", fakecluster.WithPassword("router"))
	r.PutPeer("address", "192.0.2.300")
	r.PutPeer("two", "192.0.2.6", func(s spec) { s.Interface = "eth0" })
	r.Put(fakecluster.BGPPath(v1alpha1.BGPPeerPlural, "spoilt"), map[string]any{
		"metadata": map[string]any{"generation": 1}, "spec": map[string]any{"holdTime": "soon"},
	})
	r.expectBGP(a, v1alpha1.BGPPeerPlural, map[string][2]string{
		"good":     {"True Usable", "nodes open sessions"},
		"second":   {"True DuplicatePeer", "BGPPeer good is the same router"},
		"source-1": {"True Usable", ""},
		"source-2": {"True Usable", ""},
		"rack-a":   {"True Usable", ""},
		"rack-b":   {"True Usable", ""},
		"nowhere":  {"False NoNode", "BGPPeer nowhere: nodeSelectors select no node"},
		"profile":  {"False ProfileMissing", "there is no BFDProfile fast: create it"},
		"secret":   {"False PasswordMissing", "secret kube-system/router does not exist"},
		"address":  {"False Malformed", `peerAddress "192.0.2.300" is not an IP address`},
		"two":      {"False Malformed", "set one of peerAddress, interface and autoDiscovery"},
		"spoilt":   {"False Malformed", "decode spec"},
	})
	r.Eventually("Events report it", func() bool {
		return r.Server.RequestCount(http.MethodPost, "/namespaces/default/events") >= 6
	})
	r.PutProfile("fast", 3)
	r.PutSecret("router", "opensesame")
	r.PutNode("n3", "10.0.0.3", func(n *corev1.Node) { n.Labels["rack"] = "c" })
	r.PutPeer("good", "192.0.2.9")
	usable := [2]string{"True Usable", ""}
	r.expectBGP(a, v1alpha1.BGPPeerPlural, map[string][2]string{
		"good": usable, "second": usable, "nowhere": usable, "profile": usable, "secret": usable,
	})
	if ready(r.pool("p")) != "True Usable" || r.Log.Count("opensesame") > 0 {
		t.Errorf("pool %+v, log:\n%s", r.pool("p").Status, r.Log)
	}
	r.until(a, "all is seen", func() bool { return !a.unwritten })
	n := r.Server.RequestCount(http.MethodPatch, "/bgppeers")
	for range 10 {
		r.reconcile(a)
	}
	r.Never("it is written again",
		func() bool { return r.Server.RequestCount(http.MethodPatch, "/bgppeers") > n })
}

func TestConditionsOfAdvertisements(t *testing.T) {
	type spec = *v1alpha1.BGPAdvertisementSpec
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutAdvertisement("all")
	r.expectBGP(a, v1alpha1.BGPAdvertisementPlural, map[string][2]string{
		"all": {"False NoPool", "no IPPool has the announcement BGP"},
	})
	r.PutBGPPool("web", v1alpha1.BGP, "10.9.0.0/24")
	r.expectBGP(a, v1alpha1.BGPAdvertisementPlural, map[string][2]string{
		"all": {"False NoPeer", "there is no BGPPeer: create one"},
	})
	r.PutPeer("tor", "192.0.2.1")
	pools := func(names ...v1alpha1.ObjectName) func(spec) {
		return func(s spec) { s.IPAddressPools = names }
	}
	peers := func(names ...v1alpha1.ObjectName) func(spec) {
		return func(s spec) { s.Peers = names }
	}
	r.PutAdvertisement("named", pools("web"), peers("tor"))
	r.PutAdvertisement("more", pools("web", "gone"), peers("tor", "lost"))
	r.PutAdvertisement("pools", pools("gone", "lost"))
	r.PutAdvertisement("layer2", pools("p", "gone"))
	r.PutAdvertisement("labels", func(s spec) { s.IPAddressPoolSelectors = selecting("pool", "web") })
	r.PutAdvertisement("no-labels", func(s spec) { s.IPAddressPoolSelectors = selecting("x", "y") })
	r.PutAdvertisement("peers", peers("lost"))
	r.PutAdvertisement("nodes", func(s spec) { s.NodeSelectors = selecting("rack", "z") })
	r.PutAdvertisement("wrong", func(s spec) { s.Communities = []v1alpha1.Community{"1:2:3"} })
	r.expectBGP(a, v1alpha1.BGPAdvertisementPlural, map[string][2]string{
		"all":       {"True Usable", "addresses are announced"},
		"named":     {"True Usable", ""},
		"more":      {"True UnknownObject", "there is no IPPool gone, and no BGPPeer lost"},
		"pools":     {"False NoPool", "there is no IPPool gone, lost"},
		"layer2":    {"False NoPool", "IPPool p is announced by Layer2: set its spec.announcement"},
		"labels":    {"True Usable", ""},
		"no-labels": {"False NoPool", "ipAddressPoolSelectors select no IPPool"},
		"peers":     {"False NoPeer", "there is no BGPPeer lost"},
		"nodes":     {"False NoNode", "nodeSelectors select no node"},
		"wrong":     {"False Malformed", `"1:2:3" is not a community`},
	})
	r.PutBGPPool("web", v1alpha1.Layer2, "10.9.0.0/24")
	r.expectBGP(a, v1alpha1.BGPAdvertisementPlural, map[string][2]string{
		"all":   {"False NoPool", "no IPPool has the announcement BGP"},
		"named": {"False NoPool", "IPPool web is announced by Layer2"},
	})
	r.PutBGPPool("web", v1alpha1.BGP, "10.9.0.0/24")
	r.expectBGP(a, v1alpha1.BGPAdvertisementPlural, map[string][2]string{
		"all": {"True Usable", ""}, "named": {"True Usable", ""},
	})
}

// An advertisement is used without a BGPPeer where nodes have sessions of the control plane.
func TestAdvertisementToPeersOfTheControlPlane(t *testing.T) {
	r := newFixture(t)
	r.PutBGPPool("web", v1alpha1.BGP, "10.9.0.0/24")
	r.PutAdvertisement("all")
	r.PutAdvertisement("named", func(s *v1alpha1.BGPAdvertisementSpec) {
		s.Peers = []v1alpha1.ObjectName{"tor"}
	})
	state := svc.NewNodeState("n1", nil)
	state.Status.Sessions = []v1alpha1.BGPSession{
		{Peer: "192.0.2.1", State: v1alpha1.SessionEstablished}}
	if err := svc.WriteNodeState(t.Context(), r.Router, state); err != nil {
		t.Fatal(err)
	}
	a, _ := r.leader("x")
	r.expectBGP(a, v1alpha1.BGPAdvertisementPlural, map[string][2]string{
		"all": {"True Usable", ""}, "named": {"False NoPeer", "there is no BGPPeer tor"},
	})
}

// A Service keeps its address while its pool moves from Layer2 to BGP and back.
func TestAPoolThatMovesKeepsAddresses(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutService("a/web")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	for _, how := range []v1alpha1.Announcement{v1alpha1.BGP, v1alpha1.Layer2, v1alpha1.BGP} {
		r.PutBGPPool("p", how, "10.0.0.100-10.0.0.103")
		r.until(a, "the pool is announced by "+string(how), func() bool {
			pools := r.cache.Pools()
			return pools[0].Announcement == how && ready(r.pool("p")) == "True Usable"
		})
		r.expect(a, "a/web", "10.0.0.100 Allocated")
	}
}

// The objects beyond the limit report that they are not used.
func TestConditionsOfManyPeers(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	for i := range 300 {
		r.PutPeer(fmt.Sprintf("x%03d", i), fmt.Sprintf("192.0.%d.%d", 2+i/250, i%250+1))
	}
	r.until(a, "each has its condition", func() bool {
		return r.condition(v1alpha1.BGPPeerPlural, "x255") == "True Usable" &&
			r.condition(v1alpha1.BGPPeerPlural, "x256") == "False TooMany" &&
			r.condition(v1alpha1.BGPPeerPlural, "x299") == "False TooMany"
	})
	if ready(r.pool("p")) != "True Usable" {
		t.Errorf("pool %+v", r.pool("p").Status)
	}
}

// Without the right, or the field in the definition, a status is not written each second, and the
// credentials are not suspect. Pools report their usage nevertheless.
func TestForbiddenStatusesOfBGP(t *testing.T) {
	r := newFixture(t)
	r.Server.Deny(fakeapi.DenyRule{Method: http.MethodPatch, Path: "/bgppeers",
		Code: http.StatusForbidden})
	a, _ := r.leader("x")
	r.PutPeer("tor", "192.0.2.1")
	r.Eventually("the peer is seen", func() bool { return len(r.cache.BGPPeers()) == 1 })
	for range 60 {
		r.advance(time.Second)
		r.elect(a.cfg.Elector)
		a.reconcile(t.Context())
	}
	r.Eventually("the missing right is logged",
		func() bool { return r.Log.Count(`permission="patch bgppeers/status"`) == 1 })
	r.until(a, "the pool has its status", func() bool { return ready(r.pool("p")) == "True Usable" })
	if n := r.Server.RequestCount(http.MethodPatch, "/bgppeers"); n > 8 {
		t.Errorf("%d requests in a minute", n)
	}
	if r.Log.Count("refuses these credentials") > 0 {
		t.Error(r.Log)
	}
}

// The status counts the sessions of all nodes. Those of a node that is not ready do not count as
// established, those of a Node that does not exist not at all.
func TestSessionsOfPeers(t *testing.T) {
	r := newFixture(t)
	r.PutNode("n2", "10.0.0.2")
	r.PutNode("n3", "10.0.0.3", func(n *corev1.Node) {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: "Unknown"}}
	})
	state := func(node string, states ...v1alpha1.SessionState) {
		s := svc.NewNodeState(node, nil)
		for i, is := range states {
			peer := []string{"tor", "tor/ipv6", "other"}[i]
			s.Status.Sessions = append(s.Status.Sessions, v1alpha1.BGPSession{Peer: peer, State: is})
		}
		if err := svc.WriteNodeState(t.Context(), r.Router, s); err != nil {
			t.Fatal(err)
		}
	}
	const up, down = v1alpha1.SessionEstablished, v1alpha1.SessionConnect
	state("n1", up, up, down)
	state("n2", up, down, up)
	state("n3", up)
	state("gone", up)
	r.Put(fakecluster.BGPPath(v1alpha1.BGPNodeStatePlural, "n4"),
		map[string]any{"status": map[string]any{"sessions": "x"}})
	r.PutPeer("tor", "192.0.2.1")
	r.PutPeer("other", "192.0.2.2")
	r.PutPeer("unused", "192.0.2.3")
	a, _ := r.leader("x")
	sessions := func() string {
		return r.bgpObject(v1alpha1.BGPPeerPlural, "tor").Status.Sessions + " " +
			r.bgpObject(v1alpha1.BGPPeerPlural, "other").Status.Sessions + " " +
			r.bgpObject(v1alpha1.BGPPeerPlural, "unused").Status.Sessions
	}
	r.until(a, "the sessions are counted", func() bool { return sessions() == "3/5 1/2 0/0" })
	state("n2", up, up, up)
	r.until(a, "the change is counted", func() bool { return sessions() == "4/5 1/2 0/0" })
	r.Server.Deny(fakeapi.DenyRule{Path: "/bgpnodestates", Code: http.StatusServiceUnavailable})
	lists := r.Server.RequestCount(http.MethodGet, "/bgpnodestates")
	r.until(a, "two more lists", func() bool {
		return r.Server.RequestCount(http.MethodGet, "/bgpnodestates") > lists+1
	})
	if got := sessions(); got != "4/5 1/2 0/0" {
		t.Errorf("while the states cannot be read: %s", got)
	}
	r.Server.Deny(fakeapi.DenyRule{Path: "/bgpnodestates", Code: http.StatusForbidden})
	r.until(a, "the sessions are unknown", func() bool { return strings.TrimSpace(sessions()) == "" })
	if r.Log.Count(`permission="list bgpnodestates"`) != 1 || r.Log.Count("refuses these") > 0 {
		t.Error(r.Log)
	}
}

// A new leader keeps the counts of the last one until it has counted.
func TestSessionsThatAreNotCountedYet(t *testing.T) {
	var s sessionCounts
	if got := s.text("a", "2/3"); got != "2/3" {
		t.Errorf("before the first list: %q", got)
	}
	s.set(map[string]sessionCount{"a": {1, 3}})
	if got := s.text("a", "2/3") + s.text("b", "2/3"); got != "1/30/0" {
		t.Errorf("after a list: %q", got)
	}
	_, before := s.state()
	s.set(map[string]sessionCount{"a": {1, 3}})
	if _, now := s.state(); now != before {
		t.Error("the same counts are a change")
	}
	s.set(nil)
	if got := s.text("a", "2/3"); got != "" {
		t.Errorf("without the right: %q", got)
	}
	s.forget()
	if got := s.text("a", "2/3"); got != "2/3" {
		t.Errorf("after the loss of leadership: %q", got)
	}
}
