package svc

import (
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
)

// lease returns a Lease of a role with an annotation.
func lease(name, role, annotation, text string) *coordinationv1.Lease {
	holder, seconds := "me", int32(5)
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: "kube-system", Name: name, ResourceVersion: "1",
		Labels: map[string]string{LabelRole: role}, Annotations: map[string]string{annotation: text},
	}}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds = &holder, &seconds
	return l
}

func TestReadNodeLease(t *testing.T) {
	got := ReadLease(lease("s-node-n1", RoleNode, AnnotationNode,
		`{"node":"n1","links":[{"name":"eth0","mac":"02:00:00:00:00:01","subnets":["10.0.0.0/24"]}],`+
			`"controlPlane":["10.0.0.100"],"statusPort":9}`))
	if got.Holder != "me" || got.Duration != 5*time.Second || got.Info.Node != "n1" ||
		got.Info.StatusPort != 9 {
		t.Errorf("node's Lease %+v", got)
	}
	want := []netip.Addr{netip.MustParseAddr("10.0.0.100")}
	if !reflect.DeepEqual(got.Info.ControlPlane, want) {
		t.Errorf("control planes %v", got.Info.ControlPlane)
	}
	links := []placement.Link{{Name: "eth0",
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}}
	if !reflect.DeepEqual(got.Info.PlacementLinks(), links) {
		t.Errorf("links %+v", got.Info.PlacementLinks())
	}
	bad := ReadLease(lease("s-node-n1", RoleNode, AnnotationNode, `{"node":"n1","links":7}`))
	if bad.Info.Node != "" || bad.Holder != "me" {
		t.Errorf("an annotation that cannot be read: %+v", bad)
	}
}

// S2: any node may write any Lease, so a dead node must not count as alive for years.
func TestTheDurationOfALeaseIsBounded(t *testing.T) {
	for seconds, want := range map[int32]time.Duration{
		math.MaxInt32: 1250 * time.Second, 1250: 1250 * time.Second, 0: 0, -1: 0, math.MinInt32: 0,
	} {
		l := lease("s-node-n1", RoleNode, AnnotationNode, "{}")
		l.Spec.LeaseDurationSeconds = &seconds
		if got := ReadLease(l).Duration; got != want {
			t.Errorf("%d seconds count as %v, want %v", seconds, got, want)
		}
	}
}

func TestReadOtherLeases(t *testing.T) {
	shard := ReadLease(lease("s-ledger-0", RoleLedger, AnnotationLedger,
		`{"10.0.0.1":[{"service":"a/web"}]}`))
	if len(shard.Entries) != 1 || shard.Info.Node != "" || shard.Edited {
		t.Errorf("shard %+v", shard)
	}
	leader := ReadLease(lease("s", "", AnnotationLeader, "kvip:me"))
	if leader.Leader != "kvip:me" || leader.Role != "" || leader.Entries != nil {
		t.Errorf("leader's Lease %+v", leader)
	}
	empty := ReadLease(&coordinationv1.Lease{})
	if !reflect.DeepEqual(empty, &Lease{}) {
		t.Errorf("an empty Lease %+v", empty)
	}
	at := metav1.NewMicroTime(time.Unix(99, 0))
	renewed := ReadLease(&coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{RenewTime: &at}})
	if renewed.Renewed.Unix() != 99 {
		t.Errorf("renewed %v", renewed.Renewed)
	}
}

// S4, S9: after a change of the leader's name the old Leases remain. Their nodes and addresses do
// not count.
func TestLeasesOfAnotherNameDoNotCount(t *testing.T) {
	for _, row := range []struct {
		lease *coordinationv1.Lease
		want  bool
	}{
		{lease("s-node-n1", RoleNode, AnnotationNode, `{"node":"n1"}`), true},
		{lease("old-node-n1", RoleNode, AnnotationNode, `{"node":"n1"}`), false},
		{lease("s-node-n2", RoleNode, AnnotationNode, `{"node":"n1"}`), false},
		{lease("s-node-n1", RoleNode, AnnotationNode, `{`), false},
		{lease("s-ledger-0", RoleLedger, AnnotationLedger, `{}`), true},
		{lease("old-ledger-0", RoleLedger, AnnotationLedger, `{}`), false},
		{lease("s-ledger-x", RoleLedger, AnnotationLedger, `{}`), false},
		{lease("any-name", RoleControlPlane, "", ""), true},
		{lease("s", "", AnnotationLeader, "kvip:me"), false},
		{lease("s-node-n1", "unknown", AnnotationNode, `{"node":"n1"}`), false},
	} {
		if got := ReadLease(row.lease).belongs("s"); got != row.want {
			t.Errorf("%s of role %q: %v", row.lease.Name, row.lease.Labels[LabelRole], got)
		}
	}
}

// S1: a renewal is not a change. Each field on which decisions depend is one.
func TestSameLease(t *testing.T) {
	base := func() *coordinationv1.Lease {
		return lease("s-node-n1", RoleNode, AnnotationNode, `{"node":"n1","links":[]}`)
	}
	renewed := base()
	now := metav1.NowMicro()
	renewed.ResourceVersion, renewed.Spec.RenewTime = "2", &now
	if !sameLease(ReadLease(base()), ReadLease(renewed)) {
		t.Error("a renewal is a change")
	}
	for what, change := range map[string]func(l *Lease){
		"role":          func(l *Lease) { l.Role = RoleLedger },
		"holder":        func(l *Lease) { l.Holder = "" },
		"duration":      func(l *Lease) { l.Duration++ },
		"links":         func(l *Lease) { l.Info.Links = []LinkInfo{{Name: "eth0"}} },
		"leader":        func(l *Lease) { l.Leader = "kvip:me" },
		"entries":       func(l *Lease) { l.Entries = sample() },
		"edit":          func(l *Lease) { l.Edited = true },
		"control plane": func(l *Lease) { l.ControlPlane = make([]netip.AddrPort, 1) },
	} {
		changed := ReadLease(base())
		change(changed)
		if sameLease(ReadLease(base()), changed) {
			t.Errorf("a change of %s is not seen", what)
		}
	}
}

// A shard has the number that kvip writes. Other names would count here and not for the allocator.
func TestShard(t *testing.T) {
	for name, want := range map[string]int{
		"s-ledger-0": 0, "s-ledger-12": 12, "s-ledger-01": -1, "s-ledger--1": -1, "s-ledger-x": -1,
		"s-ledger-":   -1,
		"s-ledger-+1": -1, "t-ledger-0": -1, "s-ledger-1048576": maxShardNumber, "s-ledger-1048577": -1,
		"s-ledger-9223372036854775807": -1,
	} {
		if got := Shard("s", name); got != want {
			t.Errorf("%s is number %d, want %d", name, got, want)
		}
		l := ReadLease(lease(name, RoleLedger, AnnotationLedger, "{}"))
		if got := l.belongs("s"); got != (want >= 0) {
			t.Errorf("%s belongs: %v", name, got)
		}
	}
}

func sample() ipam.Ledger {
	return ipam.Ledger{
		netip.MustParseAddr("10.0.0.1"): {{Service: "a/web", Pool: "p"}},
		netip.MustParseAddr("fd00::1"): {
			{Service: "a/dns", Key: "k", Ports: []ipam.Port{{Protocol: "UDP", Number: 53}}},
			{Service: "b/web", Key: "k", Ports: []ipam.Port{{Protocol: "TCP", Number: 80}}},
		},
	}
}

// S4: the text of a shard on the wire.
func TestLedgerText(t *testing.T) {
	text := EncodeLedger(sample())
	want := `{"10.0.0.1":[{"service":"a/web","pool":"p"}],"fd00::1":[` +
		`{"service":"a/dns","key":"k","ports":["53/UDP"]},` +
		`{"service":"b/web","key":"k","ports":["80/TCP"]}]}`
	if text != want {
		t.Errorf("encoded %s", text)
	}
	if got := DecodeLedger(text); !got.Equal(sample()) {
		t.Errorf("decoded %+v", got)
	}
	size := 0
	for addr, entries := range sample() {
		size += EntrySize(addr, entries)
	}
	if size < len(text)-len("{}") {
		t.Errorf("sizes of entries add up to %d, and the text has %d bytes", size, len(text))
	}
}

// S4: entries that kvip does not write are ignored, the others count.
func TestForeignEntriesAreIgnored(t *testing.T) {
	for text, want := range map[string]int{
		``: 0, `7`: 0, `{`: 0, `{"10.0.0.1":[]}`: 0, `{"web":[{"service":"a/b"}]}`: 0,
		`{"10.0.0.1":[{"service":"a/b"}],"x":[{"service":"a/c"}]}`: 1,
		`{"fd00:0::1":[{"service":"a/b"}]}`:                        0,
		`{"fe80::1%eth0":[{"service":"a/b"}]}`:                     0,
		`{"::ffff:10.0.0.1":[{"service":"a/b"}]}`:                  0,
	} {
		if got := DecodeLedger(text); len(got) != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func FuzzDecodeLedger(f *testing.F) {
	f.Add(EncodeLedger(sample()))
	f.Add(`{"10.0.0.1":[{"service":"a/web","ports":["x","80","70000/TCP"]}]}`)
	f.Add(`{"fd00:0::1":null,"fd00::1":[{}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		got := DecodeLedger(text)
		if again := DecodeLedger(EncodeLedger(got)); !got.Equal(again) {
			t.Errorf("%q is read as %v, written, and read as %v", text, got, again)
		}
		size := 0
		for addr, entries := range got {
			if !addr.IsValid() || addr.Zone() != "" || len(entries) == 0 {
				t.Errorf("%q: %v has %v", text, addr, entries)
			}
			size += EntrySize(addr, entries)
		}
		if size+2 < len(EncodeLedger(got)) {
			t.Errorf("%q: sizes add up to %d", text, size)
		}
	})
}

func FuzzReadLease(f *testing.F) {
	f.Add("s-node-n1", RoleNode, `{"node":"n1","links":[{"name":"eth0","subnets":["10.0.0.0/24"]}]}`)
	f.Add("s-ledger-0", RoleLedger, `{"10.0.0.1":[{"service":"a/web"}]}`)
	f.Add("s-node-", RoleNode, `{"links":null}`)
	f.Fuzz(func(t *testing.T, name, role, text string) {
		l := lease(name, role, AnnotationNode, text)
		l.Annotations[AnnotationLedger] = text
		got := ReadLease(l)
		if !sameLease(got, ReadLease(l)) {
			t.Errorf("%q is read in two ways", text)
		}
		if (got.Entries != nil) != (role == RoleLedger) || got.Info.Node != "" && role != RoleNode {
			t.Errorf("role %q with %q: %+v", role, text, got)
		}
		if got.belongs("s") && role == RoleNode && name != NodeLease("s", got.Info.Node) {
			t.Errorf("%s counts as the Lease of node %s", name, got.Info.Node)
		}
		got.Info.PlacementLinks()
	})
}

// The names of all Leases begin with that of the leader's Lease.
func TestLeaseNames(t *testing.T) {
	for _, name := range []string{NodeLease("kvip-services", "n1"),
		LedgerPrefix("kvip-services") + "0"} {
		if !strings.HasPrefix(name, "kvip-services-") {
			t.Errorf("name %s", name)
		}
	}
	if NodeLease("s", "n1") != "s-node-n1" || LedgerPrefix("s") != "s-ledger-" {
		t.Errorf("names %s and %s", NodeLease("s", "n1"), LedgerPrefix("s"))
	}
}
