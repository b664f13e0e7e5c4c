package allocator

import (
	"net/http"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/kubevip"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
)

// written makes a status that a program wrote by an update.
func written(manager, ip string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: ip,
			Ports: []corev1.PortStatus{{Port: 80, Protocol: corev1.ProtocolTCP}}}}
		s.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: manager,
			Operation: metav1.ManagedFieldsOperationUpdate, Subresource: "status",
			FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:status":{"f:loadBalancer":{}}}`)}}
	}
}

// S4: a status of another program stays, and the condition reports that, with all permissions and
// with those of kube-vip. The ledger has no entry for the Service.
func TestAForeignStatusStays(t *testing.T) {
	for name, denials := range map[string][]fakeapi.DenyRule{"by apply": nil,
		"by update": {{Method: http.MethodPatch, Code: 403}}} {
		t.Run(name, func(t *testing.T) {
			r := newFixture(t)
			r.Server.Deny(denials...)
			a, _ := r.leader("x")
			r.PutService("a/first")
			r.expect(a, "a/first", "10.0.0.100 Allocated")
			r.PutService("a/web", written("other", "192.0.2.1"))
			r.expect(a, "a/web", "192.0.2.1 ForeignStatus")
			r.Eventually("an Event is posted",
				func() bool { return r.Server.RequestCount(http.MethodPost, "/namespaces/a/events") >= 2 })
			for range 5 {
				r.advance(time.Minute)
				r.reconcile(a)
			}
			if got := r.ServiceStatus("a/web"); got != "192.0.2.1 ForeignStatus" || len(r.stored()) != 1 {
				t.Errorf("the status is %s, the ledger has %v", got, r.stored())
			}
			r.PutService("a/web", func(s *corev1.Service) {
				s.Status.LoadBalancer.Ingress, s.ManagedFields = nil, nil
			})
			r.expect(a, "a/web", "10.0.0.101 Allocated")
		})
	}
}

// S4: if another program takes over the status of a Service, kvip releases the address and does not
// write again.
func TestAStatusIsTakenOverOnce(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutService("a/web")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	r.PutService("a/web", written("other", "192.0.2.1"))
	r.expect(a, "a/web", "192.0.2.1 ForeignStatus")
	r.until(a, "its address is free", func() bool { return len(r.stored()) == 0 })
}

// S9: after the migration, kvip owns what kube-vip wrote. It takes a status over once: a kube-vip
// that continues to write keeps it.
func TestTheStatusOfKubeVIPIsTakenOver(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutService("a/web", written("kube-vip", "10.0.0.101"))
	r.expect(a, "a/web", "10.0.0.101 Allocated")
	r.PutService("a/web", asking("10.0.0.103"))
	r.expect(a, "a/web", "10.0.0.103 Allocated")
	r.PutService("a/web", written("kube-vip", "10.0.0.101"))
	r.expect(a, "a/web", "10.0.0.101 ForeignStatus")
	r.advance(takeOverInterval + 1)
	r.expect(a, "a/web", "10.0.0.103 Allocated")
}

// S4: a status with the address of the ledger belongs to the Service, whichever program wrote it.
func TestAStatusThatTheLedgerConfirmsIsTakenOver(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutService("a/web")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	r.PutService("a/web", written("restore", "10.0.0.100"),
		func(s *corev1.Service) { s.Status.Conditions = nil })
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	r.until(a, "kvip owns the status", func() bool { return len(r.cache.Services()[0].StatusBy) == 0 })
	r.PutService("a/web", asking("10.0.0.102"))
	r.expect(a, "a/web", "10.0.0.102 Allocated")
}

// A status with more than kvip writes is corrected.
func TestAnInvalidStatusIsCorrected(t *testing.T) {
	proxy := corev1.LoadBalancerIPModeProxy
	for name, ingress := range map[string][]corev1.LoadBalancerIngress{
		"a host name": {{IP: "10.0.0.100"}, {Hostname: "lb.example.org"}},
		"a mode":      {{IP: "10.0.0.100", IPMode: &proxy}},
		"a port": {{IP: "10.0.0.100",
			Ports: []corev1.PortStatus{{Port: 81, Protocol: corev1.ProtocolTCP}}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFixture(t)
			a, _ := r.leader("x")
			r.PutService("a/web")
			r.expect(a, "a/web", "10.0.0.100 Allocated")
			r.PutService("a/web", func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = ingress })
			r.until(a, "it is corrected", func() bool {
				var s corev1.Service
				r.Service("a/web", &s)
				list := s.Status.LoadBalancer.Ingress
				return len(list) == 1 && len(list[0].Ports) == 0 && list[0].IPMode != nil &&
					*list[0].IPMode == corev1.LoadBalancerIPModeVIP
			})
		})
	}
}

// S9: a deleted Service waits for the finalizer of kube-vip's cloud provider, which kvip replaces.
// Services of other providers wait for these.
func TestServicesOfKubeVIPCanBeDeleted(t *testing.T) {
	class, other := "kvip.dev/kvip", "example.com/lb"
	ignored := func(s *corev1.Service) {
		s.Annotations = map[string]string{"kube-vip.io/ignore": "true"}
	}
	for _, c := range []struct {
		name   string
		reader func(*svc.Reader)
		class  *string
		change func(*corev1.Service)
		goes   bool
	}{
		{"--kube-vip", kubeVIP, nil, nil, true},
		{"--kube-vip, of its class", kubeVIP, &class, nil, true},
		{"--kube-vip, of another class", kubeVIP, &other, nil, false},
		{"--kube-vip, with a status of kube-vip's", kubeVIP, nil, written("kube-vip", "10.0.0.103"),
			true},
		{"--kube-vip, with a status of another program's", kubeVIP, nil,
			written("cloud-controller-manager", "192.0.2.1"), false},
		{"--kube-vip, left to others", kubeVIP, nil, ignored, false},
		{"kube-vip's class", func(r *svc.Reader) { r.Class = kubevip.Class }, ptr(kubevip.Class), nil,
			true},
		{"without --kube-vip", func(*svc.Reader) {}, nil, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newFixture(t, c.reader)
			a, _ := r.leader("x")
			r.PutService("a/web", func(s *corev1.Service) {
				if s.Spec.LoadBalancerClass = c.class; c.change != nil {
					c.change(s)
				}
			})
			r.PutService("b/web")
			r.until(a, "the other has an address", func() bool { return r.ServiceStatus("b/web") != "" })
			now := metav1.Now()
			r.PutService("a/web", func(s *corev1.Service) {
				s.Finalizers, s.DeletionTimestamp = []string{svc.CleanupFinalizer}, &now
			})
			r.Eventually("the watch shows it", func() bool {
				return slices.ContainsFunc(r.cache.Services(),
					func(s *svc.Service) bool { return s.Name == "web" && s.Namespace == "a" && !s.Managed })
			})
			gone := func() bool { var s corev1.Service; return !r.Service("a/web", &s) }
			if c.goes {
				r.until(a, "it is deleted", gone)
				return
			}
			for range 5 {
				r.advance(poolStatusInterval)
				r.elect(a.cfg.Elector)
				r.reconcile(a)
			}
			r.Never("the finalizer of another program is removed", func() bool {
				var s corev1.Service
				return !r.Service("a/web", &s) || len(s.Finalizers) != 1
			})
		})
	}
}

func ptr[T any](v T) *T { return &v }
