package svc_test

import (
	"net/http"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

// announced describes an announcement.
func announced(a svc.Announcement) string {
	switch {
	case a.Pending:
		return "pending"
	case a.BGP:
		return "BGP " + a.Pool
	}
	return "Layer2 " + a.Pool
}

// The pool that the ledger names decides, else the first one that contains the address.
func TestAnnouncement(t *testing.T) {
	e := fakecluster.New(t)
	e.PutBGPPool("a", v1alpha1.BGP, "10.0.0.0/28", "fd00::/64")
	e.PutBGPPool("b", v1alpha1.Layer2, "10.0.0.0/24")
	e.PutPool("c", "10.0.2.0/24")
	e.PutBGPPool("d", v1alpha1.BGP, "10.0.3.0/24", "nonsense", "10.0.3.0-10.0.2.0")
	e.Put("/api/v1/namespaces/kube-system/configmaps/kubevip", corev1.ConfigMap{
		Data: map[string]string{"cidr-global": "10.0.4.0/24"},
	})
	ledger := ipam.Ledger{}
	record := func(addr string, entries ...ipam.Entry) {
		ledger[netip.MustParseAddr(addr)] = entries
	}
	record("10.0.0.2", ipam.Entry{Service: "x/a", Pool: "b"})
	record("10.0.0.33", ipam.Entry{Service: "x/a", Pool: "a"})
	record("10.0.0.3", ipam.Entry{Service: "x/a", Pool: "gone"})
	record("10.0.0.4", ipam.Entry{Service: "x/a"}, ipam.Entry{Service: "x/b", Pool: "b"})
	record("10.0.0.5", ipam.Entry{Service: ipam.ControlPlane}, ipam.Entry{Service: "x/b", Pool: "a"})
	record("192.0.2.1", ipam.Entry{Service: "x/a", Pool: "a"})
	record("192.0.2.2", ipam.Entry{Service: "x/a", Pool: "gone"})
	record("10.0.0.6", ipam.Entry{Service: "x/a", Pool: "configmap kube-system/kubevip cidr-global"})
	e.PutLedger("0", ledger)
	c := e.RunCache()
	for addr, want := range map[string]string{
		"10.0.0.1":  "BGP a",    // not in the ledger: the first pool by name
		"10.0.0.2":  "Layer2 b", // the ledger names another pool than the first
		"10.0.0.33": "BGP a",    // the pool shrank
		"10.0.0.3":  "BGP a",    // the pool was replaced
		"10.0.0.4":  "Layer2 b", // two Services, of which one names a pool
		"10.0.0.5":  "Layer2 ",  // of the control plane
		"10.0.0.99": "Layer2 b",
		"10.0.2.1":  "Layer2 c", // no announcement is set
		"10.0.3.1":  "BGP d",    // the pool became invalid
		"10.0.4.1":  "Layer2 ",  // of kube-vip's ConfigMap
		"192.0.2.1": "BGP a",
		"192.0.2.2": "Layer2 ",
		"192.0.2.3": "Layer2 ",
		"fd00::1":   "BGP a",
		"fd01::1":   "Layer2 ",
	} {
		got := c.Announcement(netip.MustParseAddr(addr))
		if announced(got) != want {
			t.Errorf("%s: %s, want %s", addr, announced(got), want)
		}
		if got.BGP && got.Labels["pool"] != got.Pool {
			t.Errorf("%s: the labels of pool %s are %v", addr, got.Pool, got.Labels)
		}
	}
}

// A pool moves from Layer2 to BGP and back: the address stays, and its announcement follows.
func TestAnnouncementOfAPoolThatChanges(t *testing.T) {
	e := fakecluster.New(t)
	addr := netip.MustParseAddr("10.0.0.1")
	e.PutLedger("0", ipam.Ledger{addr: {{Service: "x/a"}}})
	c := e.RunCache()
	if got := announced(c.Announcement(addr)); got != "Layer2 " {
		t.Errorf("without pools: %s", got)
	}
	for _, how := range []v1alpha1.Announcement{"", v1alpha1.BGP, v1alpha1.Layer2, v1alpha1.BGP} {
		before := c.Changes()
		e.PutBGPPool("p", how, "10.0.0.0/24")
		e.Eventually("the announcement "+string(how), func() bool {
			got := c.Announcement(addr)
			return got.Pool == "p" && got.BGP == (how == v1alpha1.BGP)
		})
		if c.Changes() == before || len(c.Ledger()) != 1 {
			t.Errorf("announcement %s: no change, or the ledger is %v", how, c.Ledger())
		}
	}
}

// Before the pools were read nothing is known. A missing definition is known.
func TestAnnouncementIsPending(t *testing.T) {
	e := fakecluster.New(t)
	addr := netip.MustParseAddr("10.0.0.1")
	e.PutBGPPool("p", v1alpha1.BGP, "10.0.0.0/24")
	e.Server.Deny(fakeapi.DenyRule{Path: "/ippools", Code: http.StatusServiceUnavailable})
	c := e.NewCache()
	e.Run(c.Run)
	e.Eventually("everything else", c.HasSynced)
	is := func(want string) func() bool {
		return func() bool { return announced(c.Announcement(addr)) == want }
	}
	e.Never("it is decided", func() bool { return !is("pending")() })
	e.Server.Deny(fakeapi.DenyRule{Path: "/ippools", Code: http.StatusNotFound})
	e.Eventually("a decision without pools", is("Layer2 "))
	e.Server.Deny()
	e.Eventually("a decision with pools", is("BGP p"))
}
