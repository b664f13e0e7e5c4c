package allocator

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/svc"
)

// S4: a Service that joins an address, or changes there, does not harm the first one. The next
// allocator reads in the ledger which one changed.
func TestAChangeReleasesOnlyTheChangedService(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	shares := func(port int32, pods string, change ...func(*corev1.Service)) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Annotations[svc.AnnotationShare] = "k"
			s.Spec.Ports[0].Port, s.Spec.Selector = port, map[string]string{"app": pods}
			for _, c := range change {
				c(s)
			}
		}
	}
	local := func(s *corev1.Service) {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	link := func(s *corev1.Service) { s.Annotations[svc.AnnotationInterface] = "nosuch0" }
	r.PutService("z/first", shares(80, "web"))
	r.expect(a, "z/first", "10.0.0.100 Allocated")
	r.PutService("a/local", shares(81, "other", local), asking("10.0.0.100"))
	r.PutService("a/link", shares(82, "other", link), asking("10.0.0.100"))
	r.PutService("b/joins", shares(83, "other"))
	r.expect(a, "a/local", "PolicyMismatch")
	r.expect(a, "a/link", "PolicyMismatch")
	r.expect(a, "b/joins", "10.0.0.100 Allocated")
	r.until(a, "the ledger is seen", func() bool { return len(r.cache.Ledger()[first]) == 2 })
	r.observed(a.cfg.Elector) // the silence of x is counted from its last renewal
	b, kb := r.allocator("y")
	kb.reconcile(t.Context())
	r.advance(6e9)
	r.elect(kb)
	r.runWriters(b)
	r.PutService("b/joins", shares(83, "other", local))
	// The condition says PolicyMismatch for one turn of the allocator, and the next write may overtake
	// it.
	r.until(b, "b/joins releases the address",
		func() bool { return strings.HasPrefix(r.ServiceStatus("b/joins"), "10.0.0.101 ") })
	r.expect(b, "z/first", "10.0.0.100 Allocated")
}
