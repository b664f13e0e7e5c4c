package allocator

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/test/fakeapi"
)

// S9: a kube-vip that renews the Lease of a Service is respected for the duration in the Lease,
// within bounds, from the last observed change.
func TestServiceLeases(t *testing.T) {
	const owner = ipam.ServiceKey("shop/web")
	one := func(holder, version string, d time.Duration) map[ipam.ServiceKey]serviceLease {
		return map[ipam.ServiceKey]serviceLease{owner: {holder: holder, version: version, duration: d}}
	}
	var e serviceLeases
	holds := func(at time.Duration, want string) {
		t.Helper()
		if got := e.holders(at, nil)[owner]; got != want {
			t.Errorf("at %v: holder %q; want %q", at, got, want)
		}
	}
	holds(0, "")
	e.observe(one("n1", "1", 15*time.Second), time.Minute)
	holds(time.Minute+15*time.Second, "n1")
	holds(time.Minute+16*time.Second, "")
	e.observe(one("n1", "1", 15*time.Second), time.Minute+10*time.Second) // no change
	holds(time.Minute+16*time.Second, "")
	e.observe(one("n1", "2", 15*time.Second), 2*time.Minute)
	holds(2*time.Minute+15*time.Second, "n1")
	e.observe(nil, 2*time.Minute+time.Second)
	holds(2*time.Minute+time.Second, "")
	e.observe(one("n1", "3", 0), 3*time.Minute) // without a duration
	holds(3*time.Minute+5*time.Second, "n1")
	e.observe(one("n1", "4", 24*time.Hour), time.Hour)
	holds(time.Hour+10*time.Minute, "n1")
	holds(time.Hour+11*time.Minute, "")
	before := e.version
	if e.observe(one("n1", "4", 24*time.Hour), time.Hour+11*time.Minute); e.version == before {
		t.Error("the version does not change when the holder becomes invalid")
	}
}

// S9: a Service in the ledger stays kvip's until its Lease is seen to change, as kube-vip may have
// left the Lease behind.
func TestServiceLeasesAndTheLedger(t *testing.T) {
	const owner = ipam.ServiceKey("shop/web")
	seen := func(version string) map[ipam.ServiceKey]serviceLease {
		return map[ipam.ServiceKey]serviceLease{owner: {holder: "n1", version: version,
			duration: time.Minute}}
	}
	l := ipam.Ledger{netip.MustParseAddr("10.0.0.100"): {{Service: owner}}}
	var e serviceLeases
	for i, step := range []struct {
		version string
		of      ipam.Ledger
		want    string
	}{{"1", nil, "n1"}, {"1", l, ""}, {"2", l, "n1"}, {"2", l, "n1"}} {
		now := time.Duration(i) * serviceLeasesInterval
		e.observe(seen(step.version), now)
		if got := e.holders(now, step.of)[owner]; got != step.want {
			t.Errorf("step %d: holder %q, want %q", i, got, step.want)
		}
	}
	e.forget()
	e.observe(nil, time.Hour)
	e.observe(seen("3"), time.Hour)
	if got := e.holders(time.Hour, l)[owner]; got != "n1" {
		t.Errorf("a Lease that was made meanwhile: holder %q", got)
	}
}

func TestReadServiceLease(t *testing.T) {
	lease := func(name, holder string) *coordinationv1.Lease {
		seconds := int32(15)
		return &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, ResourceVersion: "7"},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds},
		}
	}
	key, one, ok := readServiceLease(lease("kubevip-web", "n1"))
	if want := (serviceLease{holder: "n1", version: "7", duration: 15 * time.Second}); !ok ||
		key != "shop/web" || one != want {
		t.Errorf("%q %+v %v", key, one, ok)
	}
	for name, l := range map[string]*coordinationv1.Lease{
		"another name": lease("web", "n1"), "no Service": lease("kubevip-", "n1"),
		"no holder": lease("kubevip-web", ""),
	} {
		if key, _, ok := readServiceLease(l); ok {
			t.Errorf("%s: taken for that of %s", name, key)
		}
	}
	if _, one, _ := readServiceLease(lease("kubevip-web",
		strings.Repeat("n", 100_000))); len(one.holder) > 2000 {
		t.Errorf("a holder of %d bytes", len(one.holder))
	}
}

// S9: a list that ends before the last page counts as none: kube-vip's Leases behind it are not
// gone.
func TestServiceLeasesInPages(t *testing.T) {
	pages := func(last int) func(metav1.ListOptions) (*coordinationv1.LeaseList, error) {
		read := 0
		return func(o metav1.ListOptions) (*coordinationv1.LeaseList, error) {
			if want := strconv.Itoa(read); read > 0 && o.Continue != want || o.Limit != leasesPerPage {
				t.Errorf("page %d is requested with %+v", read, o)
			}
			read++
			holder, list := "n1", &coordinationv1.LeaseList{Items: make([]coordinationv1.Lease, 1)}
			list.Items[0].Namespace, list.Items[0].Name = "a", serviceLeasePrefix+strconv.Itoa(read)
			list.Items[0].Spec.HolderIdentity = &holder
			if read < last {
				list.Continue = strconv.Itoa(read)
			}
			return list, nil
		}
	}
	if all, err := readServiceLeases(pages(maxLeasePages)); err != nil || len(all) != maxLeasePages {
		t.Errorf("%d Leases on the last pages: %v", len(all), err)
	}
	_, err := readServiceLeases(pages(maxLeasePages + 1))
	if err == nil || err.Error() != "list leases: more than 20000" {
		t.Errorf("one page more: %v", err)
	}
}

// S9: while kube-vip's Leases are not known, nothing is allocated. The log has the reason once.
func TestServiceLeasesThatCannotBeListed(t *testing.T) {
	r := newFixture(t)
	a, k := r.allocator("x")
	a.cfg.KubeVIP = true
	r.elect(k)
	r.Server.Deny(fakeapi.DenyRule{Method: http.MethodGet, Path: "/leases", Code: 503})
	r.Run(func(ctx context.Context) error { a.followServiceLeases(ctx); return nil })
	const failed = "level=WARN msg=\"cannot list kube-vip's Leases of Services; trying again\""
	r.Eventually("it has failed twice", func() bool { return r.counted("list leases") > 1 })
	if n := r.Log.Count(failed); n != 1 {
		t.Errorf("logged %d times:\n%s", n, r.Log)
	}
	r.Server.Deny()
	r.Eventually("it works again", func() bool {
		return r.Log.Count("listed kube-vip's Leases of Services again") == 1
	})
	if known, _ := a.foreign.state(); !known {
		t.Error("they are not known")
	}
}

// S9: with svc_election kube-vip has a Lease for each Service. While it renews one, kvip gives that
// Service no address, reports why, and serves the others. Afterwards kvip takes over.
func TestAServiceWithALeaseOfKubeVIP(t *testing.T) {
	r := newFixture(t)
	renew := func(version string) {
		holder, seconds := "n7", int32(15)
		r.Put("/apis/coordination.k8s.io/v1/namespaces/a/leases/"+serviceLeasePrefix+"web",
			&coordinationv1.Lease{
				ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: serviceLeasePrefix + "web",
					Annotations: map[string]string{"v": version}},
				Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds},
			})
	}
	renew("1")
	a, k := r.allocator("x")
	a.cfg.KubeVIP = true
	r.elect(k)
	r.PutService("a/web")
	r.PutService("a/other")
	r.Eventually("the Services are seen", func() bool { return len(r.cache.Services()) == 2 })
	if a.reconcile(t.Context()) {
		t.Error("allocated before it knew kube-vip's Leases")
	}
	r.runWriters(a)
	r.expect(a, "a/other", "10.0.0.100 Allocated")
	r.expect(a, "a/web", "ForeignStatus")
	if l := r.stored(); len(l) != 1 {
		t.Errorf("the ledger has %v; want the address of a/other alone", l)
	}
	var s corev1.Service
	r.Service("a/web", &s)
	if text := s.Status.Conditions[0].Message; !strings.Contains(text,
		"kube-vip at n7, which renews lease a/kubevip-web") {
		t.Errorf("the condition is %q", text)
	}
	r.advance(20 * time.Second) // it is not renewed
	r.elect(k)
	r.expect(a, "a/web", "10.0.0.101 Allocated")
	renew("2") // a kube-vip that returns gets it again
	r.until(a, "kvip has released it", func() bool {
		r.advance(serviceLeasesInterval)
		r.elect(k)
		return len(r.stored()) == 1
	})
}

// S9: a Lease that kube-vip left behind revokes no address: a new leader detects silence only after
// a while, and until then the ledger decides.
func TestALeaseThatKubeVIPLeftBehind(t *testing.T) {
	r := newFixture(t)
	holder, seconds := "n7", int32(15)
	r.Put("/apis/coordination.k8s.io/v1/namespaces/a/leases/"+serviceLeasePrefix+"web",
		&coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: serviceLeasePrefix + "web"},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds},
		})
	a, k := r.allocator("x")
	a.cfg.KubeVIP = true
	r.elect(k)
	r.runWriters(a)
	r.PutService("a/web")
	r.expect(a, "a/web", "ForeignStatus")
	r.advance(20 * time.Second)
	r.elect(k)
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	k.release(t.Context())
	b, next := r.allocator("y")
	b.cfg.KubeVIP = true
	r.Eventually("the Lease is free",
		func() bool { s := r.cache.LeaderLease(); return s != nil && s.Holder == "" })
	r.elect(next)
	r.runWriters(b)
	r.until(b, "the next allocator reconciles",
		func() bool { return b.term != 0 && b.reconciled.term == b.term })
	if l := r.stored(); len(l) != 1 || r.ServiceStatus("a/web") != "10.0.0.100 Allocated" {
		t.Errorf("the next allocator made the ledger %v, and the status %s", l, r.ServiceStatus("a/web"))
	}
}
