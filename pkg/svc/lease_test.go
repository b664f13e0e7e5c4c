package svc

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
)

// lease is one of a role, with an annotation.
func lease(name, role, annotation, text string) *coordinationv1.Lease {
	holder, seconds := "me", int32(5)
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: "kube-system", Name: name, ResourceVersion: "1", Labels: map[string]string{LabelRole: role}, Annotations: map[string]string{annotation: text},
	}}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds = &holder, &seconds
	return l
}

func TestReadLease(t *testing.T) {
	node := ReadLease(lease("s-node-n1", RoleNode, AnnotationNode,
		`{"node":"n1","links":[{"name":"eth0","mac":"02:00:00:00:00:01","subnets":["10.0.0.0/24"]}],"controlPlane":["10.0.0.100"],"statusPort":9}`))
	if node.Holder != "me" || node.Duration != 5*time.Second || node.Info.Node != "n1" || node.Info.StatusPort != 9 ||
		!reflect.DeepEqual(node.Info.ControlPlane, []netip.Addr{netip.MustParseAddr("10.0.0.100")}) {
		t.Errorf("node's Lease %+v", node)
	}
	if got := node.Info.PlacementLinks(); !reflect.DeepEqual(got, []placement.Link{{Name: "eth0", Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}}) {
		t.Errorf("links %+v", got)
	}
	if bad := ReadLease(lease("s-node-n1", RoleNode, AnnotationNode, `{"node":"n1","links":7}`)); bad.Info.Node != "" {
		t.Errorf("an annotation that cannot be read: %+v", bad.Info)
	}
	ledger := ReadLease(lease("s-ledger-0", RoleLedger, AnnotationLedger, `{"10.0.0.1":[{"service":"a/web"}]}`))
	if len(ledger.Entries) != 1 || ledger.Info.Node != "" {
		t.Errorf("ledger's Lease %+v", ledger)
	}
	foreign := ReadLease(&coordinationv1.Lease{})
	if foreign.Holder != "" || foreign.Duration != 0 || foreign.Role != "" || foreign.Entries != nil {
		t.Errorf("an empty Lease %+v", foreign)
	}
}

// S4, S9: after a change of name the old Leases are there still; neither do their nodes count nor their addresses.
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
		{lease("s", "", AnnotationLeader, "kvip:me"), false},
	} {
		if got := ReadLease(row.lease).belongs("s"); got != row.want {
			t.Errorf("%s of role %q: %v", row.lease.Name, row.lease.Labels[LabelRole], got)
		}
	}
}

func TestARenewalIsNoChange(t *testing.T) {
	base := func() *coordinationv1.Lease {
		return lease("s-node-n1", RoleNode, AnnotationNode, `{"node":"n1","links":[]}`)
	}
	renewed := base()
	now := metav1.NowMicro()
	renewed.ResourceVersion, renewed.Spec.RenewTime = "2", &now
	if !sameLease(ReadLease(base()), ReadLease(renewed)) {
		t.Error("a renewal is a change")
	}
	for what, change := range map[string]func(l *coordinationv1.Lease){
		"holder": func(l *coordinationv1.Lease) { *l.Spec.HolderIdentity = "" }, "duration": func(l *coordinationv1.Lease) { *l.Spec.LeaseDurationSeconds = 9 },
		"links": func(l *coordinationv1.Lease) {
			l.Annotations[AnnotationNode] = `{"node":"n1","links":[{"name":"eth0"}]}`
		},
		"seat": func(l *coordinationv1.Lease) { l.Annotations[AnnotationLeader] = "kvip:me" },
	} {
		changed := base()
		change(changed)
		if sameLease(ReadLease(base()), ReadLease(changed)) {
			t.Errorf("%s: is no change", what)
		}
	}
}

func sample() ipam.Ledger {
	return ipam.Ledger{
		netip.MustParseAddr("10.0.0.1"): {{Owner: "a/web", Pool: "p"}},
		netip.MustParseAddr("fd00::1"): {
			{Owner: "a/dns", Key: "k", Ports: []ipam.Port{{Protocol: "UDP", Number: 53}}}, {Owner: "b/web", Key: "k", Ports: []ipam.Port{{Protocol: "TCP", Number: 80}}},
		},
	}
}

func TestLedgerText(t *testing.T) {
	text := EncodeLedger(sample())
	want := `{"10.0.0.1":[{"service":"a/web","pool":"p"}],"fd00::1":[{"service":"a/dns","key":"k","ports":["53/UDP"]},{"service":"b/web","key":"k","ports":["80/TCP"]}]}`
	if text != want {
		t.Errorf("encoded %s", text)
	}
	if got := DecodeLedger(text); !got.Equal(sample()) {
		t.Errorf("decoded %+v", got)
	}
	size := 0
	for addr, holders := range sample() {
		size += EntrySize(addr, holders)
	}
	if size < len(text)-len("{}") {
		t.Errorf("sizes of entries add up to %d, and the text has %d bytes", size, len(text))
	}
}

func TestWhatNoKVIPHasWrittenIsLeftOut(t *testing.T) {
	for text, want := range map[string]int{
		``: 0, `7`: 0, `{`: 0, `{"10.0.0.1":[]}`: 0, `{"web":[{"service":"a/b"}]}`: 0, `{"10.0.0.1":[{"service":"a/b"}],"x":[{"service":"a/c"}]}`: 1,
		`{"fd00:0::1":[{"service":"a/b"}]}`: 0, `{"fe80::1%eth0":[{"service":"a/b"}]}`: 0, `{"::ffff:10.0.0.1":[{"service":"a/b"}]}`: 0,
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
		for addr, holders := range got {
			if !addr.IsValid() || addr.Zone() != "" || len(holders) == 0 {
				t.Errorf("%q: %v has %v", text, addr, holders)
			}
			size += EntrySize(addr, holders)
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
			t.Errorf("%s passes for the Lease of node %s", name, got.Info.Node)
		}
		got.Info.PlacementLinks()
	})
}
