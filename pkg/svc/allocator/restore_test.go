package allocator

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

// shards returns the names of the ledger's Leases in the API.
func (r *fixture) shards() (names []string) {
	for n := range 200 {
		var l coordinationv1.Lease
		if name := svc.LedgerPrefix(fakecluster.LeaseName) + strconv.Itoa(n); r.Lease(name, &l) {
			names = append(names, name)
		}
	}
	return names
}

// stored returns the ledger in the API.
func (r *fixture) stored() ipam.Ledger {
	all := ipam.Ledger{}
	for _, name := range r.shards() {
		var l coordinationv1.Lease
		r.Lease(name, &l)
		for addr, entries := range svc.DecodeLedger(l.Annotations[svc.AnnotationLedger]) {
			if _, first := all[addr]; !first {
				all[addr] = entries
			}
		}
	}
	return all
}

func (r *fixture) holds(addr string, key ipam.ServiceKey) bool {
	entries := r.stored()[netip.MustParseAddr(addr)]
	return len(entries) > 0 && entries[0].Service == key
}

// asking makes a Service request an address.
func asking(addr string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Annotations[svc.AnnotationAddresses] = addr }
}

// S4: Leases of the ledger that another client deletes or edits are written again with the same
// addresses, also those in no pool. Meanwhile agents see the entries of before.
func TestTheLedgerIsRestored(t *testing.T) {
	for name, spoil := range map[string]func(r *fixture){
		"all deleted": func(r *fixture) {
			for _, name := range r.shards() {
				r.Store.Delete(fakecluster.LeasePath(name))
			}
		},
		"the first deleted": func(r *fixture) { r.Store.Delete(fakecluster.LeasePath(r.shards()[0])) },
		"emptied": func(r *fixture) {
			r.edit(func(l *coordinationv1.Lease) { l.Annotations[svc.AnnotationLedger] = "{}" })
		},
		"spoilt": func(r *fixture) {
			r.edit(func(l *coordinationv1.Lease) { l.Annotations[svc.AnnotationLedger] = `{"10.0` })
		},
		"given to another": func(r *fixture) {
			r.edit(func(l *coordinationv1.Lease) {
				l.Annotations[svc.AnnotationLedger] = strings.ReplaceAll(l.Annotations[svc.AnnotationLedger],
					"a/web", "a/evil")
			})
		},
		"without annotations": func(r *fixture) {
			r.edit(func(l *coordinationv1.Lease) { l.Annotations = nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFixture(t)
			a, _ := r.leader("x")
			r.PutService("a/web", asking("10.0.0.103"))
			r.PutService("a/other")
			r.expect(a, "a/web", "10.0.0.103 Allocated")
			r.expect(a, "a/other", "10.0.0.100 Allocated")
			r.PutPool("p", "10.0.0.50-10.0.0.51")
			r.Eventually("the ledger is seen", func() bool { return len(r.cache.Ledger()) == 2 })
			r.reconcile(a)
			changes := r.cache.Changes()
			spoil(r)
			r.Eventually("the watch shows it", func() bool { return r.cache.Changes() != changes })
			if got := r.cache.Ledger(); len(got) != 2 || got[first][0].Service != "a/other" {
				t.Errorf("agents have %v", got)
			}
			r.until(a, "the ledger is restored",
				func() bool { return r.holds("10.0.0.103", "a/web") && r.holds("10.0.0.100", "a/other") })
			r.until(a, "the watch shows it",
				func() bool { return a.term != 0 && len(r.cache.Ledger()) == 2 })
			if n := len(r.shards()); n > 3 {
				t.Errorf("%d Leases", n)
			}
			if r.ServiceStatus("a/web") != "10.0.0.103 Allocated" {
				t.Errorf("the status is %s", r.ServiceStatus("a/web"))
			}
		})
	}
}

// edit changes the first Lease of the ledger as a person would.
func (r *fixture) edit(change func(l *coordinationv1.Lease)) {
	r.T.Helper()
	var l coordinationv1.Lease
	name := r.shards()[0]
	r.Lease(name, &l)
	change(&l)
	r.Put(fakecluster.LeasePath(name), &l)
}

// S4: the next allocator restores the ledger for a failed one, from what its agent has seen.
func TestTheNextAllocatorRestoresTheLedger(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutService("a/web", asking("10.0.0.103"))
	r.expect(a, "a/web", "10.0.0.103 Allocated")
	r.PutPool("p", "10.0.0.50-10.0.0.51")
	r.Eventually("the ledger is seen", func() bool { return len(r.cache.Ledger()) == 1 })
	for _, name := range r.shards() {
		r.Store.Delete(fakecluster.LeasePath(name))
	}
	r.Eventually("that is seen", func() bool { return len(r.cache.Leases()) == 0 })
	b, kb := r.allocator("y")
	kb.reconcile(t.Context())
	r.advance(5*time.Second + 1)
	r.elect(kb)
	r.runWriters(b)
	r.until(b, "the ledger is restored", func() bool { return r.holds("10.0.0.103", "a/web") })
}

// S4: with any keys and ports of Services, the others get their addresses, the ledger fits into its
// Leases, and retries create no Leases.
func TestHostileServicesStopNothing(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	hostile := func(port int32, ports int) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Annotations[svc.AnnotationShare] = strings.Repeat("k", 140_000)
			s.Annotations[svc.AnnotationPool] = "p"
			s.Spec.Ports = nil
			for i := range ports {
				s.Spec.Ports = append(s.Spec.Ports,
					corev1.ServicePort{Protocol: corev1.ProtocolTCP, Port: port + int32(i)})
			}
		}
	}
	r.PutService("h/a", hostile(1000, 1))
	r.PutService("h/b", hostile(1001, 1))
	r.PutService("h/c", hostile(2000, 20_000))
	r.PutService("h/d", asking(strings.Repeat("x", 200_000)))
	r.PutService("shop/web")
	r.expect(a, "h/a", "10.0.0.100 Allocated")
	r.expect(a, "h/b", "10.0.0.100 Allocated")
	r.expect(a, "h/c", "10.0.0.101 Allocated")
	r.expect(a, "h/d", "Malformed")
	r.expect(a, "shop/web", "10.0.0.102 Allocated")
	if n := len(r.shards()); n != 2 {
		t.Errorf("the ledger has %d Leases", n)
	}
	for _, name := range r.shards() {
		var l coordinationv1.Lease
		r.Lease(name, &l)
		if n := len(l.Annotations[svc.AnnotationLedger]); n > 1000 {
			t.Errorf("%s has %d bytes", name, n)
		}
	}
}

// S4: a ledger that cannot be written or used yet is acquired once a second, whatever else changes.
func TestTheLedgerIsRetriedOnceASecond(t *testing.T) {
	for name, deny := range map[string]fakeapi.DenyRule{
		"it cannot be read": {Method: http.MethodGet, Path: "/leases", Code: 500},
		"it cannot be written": {Method: http.MethodPut, Path: svc.LedgerPrefix(fakecluster.LeaseName),
			Code: 500},
		"its Service may exist": {Method: http.MethodGet, Path: "/services/gone", Code: 500},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFixture(t)
			r.PutLedger("0", ipam.Ledger{first: {{Service: "a/gone"}}})
			r.PutService("a/web")
			r.Eventually("both are seen",
				func() bool { return len(r.cache.Services()) == 1 && len(r.cache.Ledger()) == 1 })
			a, k := r.leader("x")
			r.Server.Deny(deny)
			asked := func() int {
				return r.Server.RequestCount(http.MethodGet, "/leases") + r.Server.RequestCount(http.MethodPut,
					"/leases")
			}
			tries := func() int {
				before := asked()
				for range 20 {
					r.reconcile(a)
				}
				return asked() - before
			}
			once := tries()
			if again := tries(); once == 0 || again != 0 {
				t.Errorf("%d requests within the first second, and then %d", once, again)
			}
			r.advance(pollInterval)
			r.elect(k)
			if tries() == 0 {
				t.Error("it is not repeated")
			}
			r.Server.Deny()
			r.expect(a, "a/web", "10.0.0.100 Allocated")
		})
	}
}
