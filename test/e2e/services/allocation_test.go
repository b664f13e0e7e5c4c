package services

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/lab/servicelab"
)

func ip(text string) netip.Addr { return netip.MustParseAddr(text) }

// expect waits until a Service's status has these addresses and no others; none is also what it has
// before it was ever looked at.
func (s *env) expect(name string, want ...string) {
	s.t.Helper()
	var got []netip.Addr
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("%s has %v", name, got)
		}
	})
	s.wait(name+" to have "+strings.Join(want, " and "), func() bool {
		object, err := s.Read(s.ctx, name)
		if err != nil {
			return false
		}
		got = servicelab.IngressOf(object)
		return slices.EqualFunc(got, want,
			func(a netip.Addr, text string) bool { return a.String() == text })
	})
}

// TestFamilies gives Services of each policy and family what they ask for; all of it answers on the
// wire and is reached from outside.
func TestFamilies(t *testing.T) {
	s := newSingleEnv(t)
	const v4, v6 = corev1.IPv4Protocol, corev1.IPv6Protocol
	for _, row := range []struct {
		name     string
		policy   corev1.IPFamilyPolicy
		families []corev1.IPFamily
		want     []string
	}{
		{"single4", corev1.IPFamilyPolicySingleStack, []corev1.IPFamily{v4}, []string{"10.77.0.128"}},
		{"single6", corev1.IPFamilyPolicySingleStack, []corev1.IPFamily{v6},
			[]string{"fd6b:7669:7000::8000"}},
		{"prefer", corev1.IPFamilyPolicyPreferDualStack, nil,
			[]string{"10.77.0.129", "fd6b:7669:7000::8001"}},
		{"require", corev1.IPFamilyPolicyRequireDualStack, []corev1.IPFamily{v6, v4},
			[]string{"fd6b:7669:7000::8002", "10.77.0.130"}},
	} {
		s.must(s.Create(s.ctx, row.name, servicelab.Families(row.policy, row.families...)))
		s.expect(row.name, row.want...)
		for _, addr := range row.want {
			s.waitServed(ip(addr), servicelab.Port, s.owner(ip(addr)))
		}
		s.waitCondition(row.name, "Allocated", row.want...)
		s.event("Service", row.name, "Allocated", row.want...)
	}
	object, err := s.Read(s.ctx, "single4")
	s.must(err)
	if mode := object.Status.LoadBalancer.Ingress[0].IPMode; mode == nil ||
		*mode != corev1.LoadBalancerIPModeVIP {
		t.Errorf("ipMode is %v", mode)
	}
	s.must(s.Addresses(s.ctx, "main", pool4)) // no more IPv6
	s.must(s.Create(s.ctx, "half", servicelab.Families(corev1.IPFamilyPolicyPreferDualStack)))
	s.expect("half", "10.77.0.131")
	s.must(s.Create(s.ctx, "both", servicelab.Families(corev1.IPFamilyPolicyRequireDualStack)))
	s.waitCondition("both", "NoPool", "IPv6")
	s.expect("require", "fd6b:7669:7000::8002", "10.77.0.130") // keeps what it had
	s.expect("both")
}

// TestPools uses ranges, pools of a namespace, those that are given out from their end, only when
// asked for, and without the addresses that old systems take for broadcasts; and reads what pools
// say.
func TestPools(t *testing.T) {
	s := newSingleEnv(t)
	manual := false
	s.must(s.Addresses(s.ctx, "main", "10.77.0.200-10.77.0.202"))
	for name, spec := range map[string]v1alpha1.IPPoolSpec{
		"shop": {Addresses: []v1alpha1.Addresses{"10.77.0.210-10.77.0.212"},
			Namespaces: []v1alpha1.Namespace{"shop"}, SearchOrder: v1alpha1.Descending},
		"vip": {Addresses: []v1alpha1.Addresses{"10.77.0.220", "10.77.0.223"}, AutoAssign: &manual},
		"edges": {Addresses: []v1alpha1.Addresses{"10.77.0.254-10.77.1.1"}, AvoidBuggyIPs: true,
			AutoAssign: &manual},
		"shared": {Addresses: []v1alpha1.Addresses{"10.77.0.221-10.77.0.223"}, AutoAssign: &manual,
			Sharing: v1alpha1.ByPort},
	} {
		s.must(s.Pool(s.ctx, name, spec))
	}
	for _, name := range []string{"vip", "edges", "shop", "shared"} {
		s.waitPoolStatus(name,
			func(p v1alpha1.IPPoolStatus) bool {
				return len(p.Conditions) == 1 &&
					p.Conditions[0].Status == "True"
			})
	}
	create := func(name, pool, want string, edits ...servicelab.Edit) {
		t.Helper()
		s.must(s.Create(s.ctx, name, append(edits, servicelab.Annotate(svc.AnnotationPool, pool))...))
		s.expect(name, want)
	}
	create("a", "", "10.77.0.200")
	create("shop/a", "", "10.77.0.212")
	create("shop/b", "", "10.77.0.211")
	create("asked", "vip", "10.77.0.220")
	create("edge1", "edges", "10.77.0.254")
	create("edge2", "edges", "10.77.1.1")
	create("port1", "shared", "10.77.0.221", servicelab.Ports(80))
	create("port2", "shared", "10.77.0.221", servicelab.Ports(81))
	s.must(s.Create(s.ctx, "more", servicelab.Annotate(svc.AnnotationPool, "edges")))
	s.waitCondition("more", "PoolExhausted", "edges")
	s.event("Service", "more", "PoolExhausted", "default/more", "edges")
	s.must(s.Create(s.ctx, "foreign", servicelab.Annotate(svc.AnnotationPool, "shop")))
	s.waitCondition("foreign", "NamespaceNotAllowed", "shop")
	s.must(s.Create(s.ctx, "nowhere", servicelab.Annotate(svc.AnnotationPool, "none")))
	s.waitCondition("nowhere", "UnknownPool", "none")
	create("b", "", "10.77.0.201") // no other Service was delayed
	s.waitPoolStatus("main",
		func(p v1alpha1.IPPoolStatus) bool { return p.Used == 2 && p.Size == "3" })
	s.waitPoolStatus("shared", func(p v1alpha1.IPPoolStatus) bool {
		return slices.Equal(p.Conflicts, []string{"pool vip: 10.77.0.223"})
	})
	s.must(s.DeletePool(s.ctx, "edges"))
	s.must(s.Pool(s.ctx, "main",
		v1alpha1.IPPoolSpec{Addresses: []v1alpha1.Addresses{"10.77.0.201-10.77.0.209"}}))
	create("c", "", "10.77.0.202")
	s.expect("a", "10.77.0.200") // pools that change or go take nothing away
	s.expect("edge2", "10.77.1.1")
}

func (s *env) waitPoolStatus(name string, ok func(v1alpha1.IPPoolStatus) bool) {
	s.t.Helper()
	s.wait("the status of pool "+name, func() bool {
		pool, err := s.ReadPool(s.ctx, name)
		return err == nil && ok(pool.Status)
	})
}

// TestRequests asks for addresses by field and by annotation, and for one together with others.
// What cannot be had is refused with what is wrong and what to do, and changes nothing (S4).
func TestRequests(t *testing.T) {
	s := newSingleEnv(t)
	// nodes have the last ones
	s.must(s.Addresses(s.ctx, "main", pool4, pool6, "10.77.0.11-10.77.0.15"))
	ask := func(text string) servicelab.Edit {
		return servicelab.Annotate(svc.AnnotationAddresses, text)
	}
	field := func(o *corev1.Service) { o.Spec.LoadBalancerIP = "10.77.0.140" }
	dual := servicelab.Families(corev1.IPFamilyPolicyPreferDualStack)
	key := servicelab.Annotate(svc.AnnotationShare, "web")
	for _, row := range []struct {
		name  string
		edits []servicelab.Edit
		want  []string
	}{
		{"field", []servicelab.Edit{field}, []string{"10.77.0.140"}},
		{"both", []servicelab.Edit{ask("10.77.0.141,fd6b:7669:7000::8041"), dual},
			[]string{"10.77.0.141", "fd6b:7669:7000::8041"}},
		{"first", []servicelab.Edit{ask("10.77.0.142"), key, servicelab.Ports(servicelab.Port)},
			[]string{"10.77.0.142"}},
		{"second", []servicelab.Edit{ask("10.77.0.142"), key, servicelab.Ports(otherPort)},
			[]string{"10.77.0.142"}},
	} {
		s.must(s.Create(s.ctx, row.name, row.edits...))
		s.expect(row.name, row.want...)
	}
	shared := ip("10.77.0.142")
	s.waitServed(shared, servicelab.Port, s.Nodes[0])
	s.waitServed(shared, otherPort, s.Nodes[0])
	for _, row := range []struct {
		name   string
		edits  []servicelab.Edit
		reason string
		words  []string
	}{
		{"clash", []servicelab.Edit{ask("10.77.0.142"), key}, "PortConflict",
			[]string{"default/first", "8080"}},
		{"otherkey", []servicelab.Edit{ask("10.77.0.142"), servicelab.Annotate(svc.AnnotationShare, "x"),
			servicelab.Ports(81)}, "ShareKeyMismatch", []string{"10.77.0.142"}},
		{"taken", []servicelab.Edit{ask("10.77.0.140")}, "AddressTaken",
			[]string{"10.77.0.140", "default/field"}},
		{"outside", []servicelab.Edit{ask("192.0.2.9")}, "OutsidePools", []string{"192.0.2.9"}},
		{"family", []servicelab.Edit{ask("fd6b:7669:7000::8042")}, "WrongFamily",
			[]string{"fd6b:7669:7000::8042"}},
		{"malformed", []servicelab.Edit{ask("10.77.0.300")}, "Malformed",
			[]string{"annotation kvip.dev/addresses", "10.77.0.300"}},
		{"node", []servicelab.Edit{ask("10.77.0.12")}, "NodeAddress", []string{"10.77.0.12", "cp2"}},
	} {
		s.must(s.Create(s.ctx, row.name, row.edits...))
		s.waitCondition(row.name, row.reason, append(row.words, "default/"+row.name)...)
		s.event("Service", row.name, row.reason, row.words...)
		s.expect(row.name)
	}
	s.must(s.Change(s.ctx, "field", ask("banana")))
	s.waitCondition("field", "Malformed", "banana")
	s.expect("field", "10.77.0.140")
	s.waitServed(ip("10.77.0.140"), servicelab.Port, s.Nodes[0])
	s.must(s.Create(s.ctx, "next")) // no other Service is delayed
	s.expect("next", "10.77.0.14")  // the lowest of the pool that no Node has
	if holders := s.Holders(ip("10.77.0.12")); !slices.Equal(holders, []string{"cp2"}) {
		t.Errorf("the address of cp2 is on %v", holders)
	}
}

// TestRelease takes addresses back: when the Service goes, or its type or class changes, its status
// is cleared, no node has the address, and another Service may get it.
func TestRelease(t *testing.T) {
	s := newSingleEnv(t)
	const addr = "10.77.0.128"
	takes := func(name string, edits ...servicelab.Edit) {
		t.Helper()
		s.must(s.Create(s.ctx, name, edits...))
		s.expect(name, addr)
		s.owner(ip(addr))
	}
	gone := func(name string) {
		t.Helper()
		s.expect(name)
		s.wait("kvip's condition on "+name+" to go", func() bool { return s.condition(name) == nil })
		s.waitNoOwner(ip(addr))
	}
	takes("deleted")
	s.must(s.Delete(s.ctx, "deleted"))
	s.waitNoOwner(ip(addr))
	takes("typed", servicelab.Class("kvip.dev/kvip"))
	cluster := func(o *corev1.Service) {
		o.Spec.Type, o.Spec.LoadBalancerClass, o.Spec.AllocateLoadBalancerNodePorts,
			o.Spec.ExternalTrafficPolicy = corev1.ServiceTypeClusterIP, nil, nil, ""
	}
	balancer := func(o *corev1.Service) { o.Spec.Type = corev1.ServiceTypeLoadBalancer }
	s.must(s.Change(s.ctx, "typed", cluster))
	gone("typed")
	s.must(s.Change(s.ctx, "typed", balancer))
	s.expect("typed", addr)
	s.must(s.Change(s.ctx, "typed", cluster))
	s.must(s.Change(s.ctx, "typed", balancer, servicelab.Class("example.com/other")))
	gone("typed")
	takes("ignored")
	s.must(s.Change(s.ctx, "ignored", servicelab.Annotate("kube-vip.io/ignore", "true")))
	gone("ignored")
	s.event("Service", "ignored", "ForeignClass", "an annotation excludes it")
	takes("last")
	s.must(s.Create(s.ctx, "other", servicelab.Class("example.com/other")))
	s.must(s.Create(s.ctx, "after"))
	s.expect("after", "10.77.0.129")
	s.expect("other")
}

// TestClassOnly leaves Services without a class alone where that is wanted, and serves another
// class.
func TestClassOnly(t *testing.T) {
	s := newSingleEnv(t, "--service-class-only", "--service-class=example.com/lb")
	s.must(s.Create(s.ctx, "without"))
	s.must(s.Create(s.ctx, "kvip", servicelab.Class("kvip.dev/kvip")))
	s.must(s.Create(s.ctx, "with", servicelab.Class("example.com/lb")))
	s.expect("with", "10.77.0.128")
	s.expect("without")
	s.expect("kvip")
}

// TestForeignStatus has another program own the status of a Service: kvip says so in its condition,
// takes nothing away, gives up the Service's address, and binds none because a status says it.
func TestForeignStatus(t *testing.T) {
	s := newSingleEnv(t)
	s.must(s.Create(s.ctx, "foreign", servicelab.Class("example.com/other")))
	const written = "10.77.0.180"
	s.must(s.writeStatus("foreign", written))
	s.must(s.Create(s.ctx, "mine"))
	s.expect("mine", "10.77.0.128")
	s.expect("foreign", written)
	s.must(s.Change(s.ctx, "foreign", func(o *corev1.Service) {
		o.Spec.LoadBalancerClass = nil
		o.Spec.Type = corev1.ServiceTypeClusterIP
		o.Spec.AllocateLoadBalancerNodePorts = nil
	}))
	s.must(s.writeStatus("mine", written))
	s.event("Service", "mine", "ForeignStatus", "default/mine", "loadBalancerClass")
	s.expect("mine", written)
	if holders := s.Holders(ip(written)); len(holders) > 0 {
		t.Errorf("an address that only a status has is on %v", holders)
	}
	s.waitCondition("mine", "ForeignStatus", "default/mine")
	s.waitNoOwner(ip("10.77.0.128")) // nothing is kept for the Service
}
