package allocator

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
)

// pool reads an IPPool.
func (r *fixture) pool(name string) (p v1alpha1.IPPool) {
	r.T.Helper()
	if _, err := r.Store.Get("/apis/kvip.dev/v1alpha1/ippools/"+name, &p); err != nil {
		r.T.Fatal(err)
	}
	return p
}

func ready(p v1alpha1.IPPool) string {
	if len(p.Status.Conditions) != 1 {
		return ""
	}
	return conditionText(p.Status.Conditions[0])
}

func TestStatusOfAPool(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutPool("q", "10.0.0.103-10.0.0.110")
	r.PutPool("six", "fd00::/64")
	r.PutService("a/web")
	r.until(a, "the status is written", func() bool {
		p, q, six := r.pool("p").Status, r.pool("q").Status, r.pool("six").Status
		return p.Size == "4" && p.Used == 1 &&
			slices.Equal(p.Conflicts, []string{"pool q: 10.0.0.103"}) &&
			slices.Equal(q.Conflicts, []string{"pool p: 10.0.0.103"}) && six.Size != "" &&
			ready(r.pool("p")) == "True Usable"
	})
	if p, six := r.pool("p").Status, r.pool("six").Status; p.Addresses != "10.0.0.100/30" ||
		p.IPv4 != "1/4" || p.IPv6 != "" || six.IPv4 != "" || six.IPv6 != "0/2^64" {
		t.Errorf("the pools are %+v and %+v", p, six)
	}
	if got := r.pool("six").Status.Size; got != ">=18446744073709551615" {
		t.Errorf("the size of an IPv6 pool is %s", got)
	}
	r.until(a, "all is seen", func() bool { return !a.unwritten })
	n := r.Server.RequestCount(http.MethodPatch, "/ippools")
	for range 10 {
		r.reconcile(a)
	}
	r.Never("it is written again",
		func() bool { return r.Server.RequestCount(http.MethodPatch, "/ippools") > n })
}

// The status of a pool has counts, and need not follow each Service.
func TestStatusesOfPoolsArePaced(t *testing.T) {
	r := newFixture(t)
	a, _ := r.allocator("x")
	one, two := v1alpha1.IPPoolStatus{Used: 1}, v1alpha1.IPPoolStatus{Used: 2}
	due := func(name string, s v1alpha1.IPPoolStatus) bool {
		now, _ := a.writePacer.isDue(name, s, r.clock())
		if now {
			a.writePacer.record(name, s, r.clock())
		}
		return now
	}
	if !due("p", one) || due("p", two) || !due("q", one) {
		t.Error("they are not paced separately")
	}
	if r.advance(poolStatusInterval); !due("p", two) {
		t.Error("it is not due after a second")
	}
	if r.advance(2 * resyncInterval); !due("p", one) || len(a.writePacer) != 1 {
		t.Errorf("after a while: %v", a.writePacer)
	}
}

// A write that finds no room in the queue does not count: it is repeated after a second, not only
// after resyncInterval as one that has no effect.
func TestADroppedWriteIsRepeated(t *testing.T) {
	r := newFixture(t)
	a, _ := r.allocator("x")
	for a.enqueue(func(context.Context) {}) {
		continue
	}
	written, want := false, v1alpha1.IPPoolStatus{}
	attempt := func() {
		r.advance(poolStatusInterval)
		a.unwritten = false
		a.writePaced("p", want, func(context.Context) { written = true })
		if !a.unwritten {
			t.Error("the next attempt is not due in a second")
		}
	}
	for range 3 {
		attempt()
	}
	for len(a.background) > 0 {
		<-a.background
	}
	attempt()
	if len(a.background) == 1 {
		(<-a.background)(t.Context())
	}
	if !written {
		t.Error("it is not written once there is room")
	}
}

// The removal of a finalizer is repeated after a second, too.
func TestAFinalizerThatRemainsIsUnwritten(t *testing.T) {
	r := newFixture(t)
	a, _ := r.allocator("x")
	s := &svc.Service{Finalizers: []string{svc.CleanupFinalizer}}
	if a.removeFinalizers([]*svc.Service{s}); !a.unwritten || len(a.background) != 1 {
		t.Errorf("unwritten %v, %d writes are waiting", a.unwritten, len(a.background))
	}
}

// A status that cannot be written, or that the cluster does not keep, is not written each second.
func TestAStatusOfAPoolThatIsNeverSeen(t *testing.T) {
	for _, code := range []int{http.StatusForbidden, http.StatusInternalServerError} {
		r := newFixture(t)
		r.Server.Deny(fakeapi.DenyRule{Method: http.MethodPatch, Path: "/ippools", Code: code})
		a, _ := r.leader("x")
		turns := 0
		for range 120 {
			r.advance(time.Second)
			r.elect(a.cfg.Elector)
			if a.reconcile(t.Context()) {
				turns++
			}
		}
		n := 0
		r.Never("it is written each second", func() bool {
			n = r.Server.RequestCount(http.MethodPatch, "/ippools")
			return n > 8
		})
		if n < 2 || turns > 12 {
			t.Errorf("%d: %d requests and %d reconciles in two minutes", code, n, turns)
		}
		const failed = `msg="cannot write the status of a pool; trying again" pool=p err=`
		if code != http.StatusForbidden {
			r.Eventually("the failure is logged", func() bool { return r.Log.Count(failed) > 0 })
		}
	}
}

// A pool that becomes invalid reports that, is used as it was, and revokes no address.
func TestAPoolThatBecomesInvalid(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutService("a/web")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	r.PutPool("p", "10.0.0.9-10.0.0.1")
	r.until(a, "the pool reports it", func() bool { return ready(r.pool("p")) == "False Malformed" })
	r.Eventually("an Event reports it",
		func() bool { return r.Server.RequestCount(http.MethodPost, "/namespaces/default/events") == 1 })
	r.PutService("b/web")
	r.expect(a, "b/web", "10.0.0.101 Allocated")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	r.PutPool("bad", "10.0.0.9-10.0.0.1")
	r.PutService("c/web",
		func(s *corev1.Service) { s.Annotations = map[string]string{svc.AnnotationPool: "bad"} })
	r.expect(a, "c/web", "UnknownPool")
}

// The ConfigMap of kube-vip's cloud provider has pools, and an Event names each invalid value.
func TestKubeVIPsPools(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.Put("/api/v1/namespaces/kube-system/configmaps/kubevip",
		corev1.ConfigMap{Data: map[string]string{"range-a": "10.2.0.1-10.2.0.1", "bad": "x"}})
	r.Eventually("the watch shows it", func() bool {
		pools, _ := r.cache.KubeVIPPools()
		return len(pools) == 1
	})
	r.PutService("a/web")
	r.expect(a, "a/web", "10.2.0.1 Allocated")
	r.Eventually("an Event reports it",
		func() bool {
			return r.Server.RequestCount(http.MethodPost, "/namespaces/kube-system/events") == 1
		})
	r.advance(time.Second)
	r.reconcile(a)
	r.Never("it is reported again",
		func() bool {
			return r.Server.RequestCount(http.MethodPost, "/namespaces/kube-system/events") > 1
		})
}

// kubectl shows a pool's condition, which quotes text of users.
func TestAPoolsConditionIsSafeForATerminal(t *testing.T) {
	c := poolSource{object: &svc.Pool{},
		err: errors.New("\u009b2J\n" + strings.Repeat("x", 9999))}.condition()
	if !strings.HasPrefix(c.Message, `\u009b2J\nx`) || len(c.Message) > 1024 {
		t.Errorf("%d bytes: %.40q", len(c.Message), c.Message)
	}
}
