package main

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
	"github.com/kvip/kvip/test/testutil"
)

func TestOptions(t *testing.T) {
	parse := func(minutes, services, seed string) (options, error) {
		return parseOptions(func(name string) string {
			return map[string]string{"MINUTES": minutes, "SERVICES": services, "SEED": seed}[name]
		})
	}
	if o, err := parse("", "", ""); err != nil || o.duration != 30*time.Minute || o.services != 150 {
		t.Errorf("without options: %+v, %v", o, err)
	}
	if o, err := parse("0.5", "20", "7"); err != nil || o != (options{30 * time.Second, 20, 7}) {
		t.Errorf("with options: %+v, %v", o, err)
	}
	for _, bad := range [][3]string{{"long", "", ""}, {"0", "", ""}, {"NaN", "", ""}, {"-1", "", ""},
		{"", "1", ""}, {"", "", "x"}} {
		if _, err := parse(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%v: accepted", bad)
		}
	}
}

func balanced(name string, addresses ...string) corev1.Service {
	s := servicelab.Service(name)
	for _, a := range addresses {
		s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress,
			corev1.LoadBalancerIngress{IP: a})
	}
	return *s
}

// ledgerLease is a Lease of the ledger: an address and its owners, again and again.
func ledgerLease(t *testing.T, entries map[string][]string) coordinationv1.Lease {
	t.Helper()
	ledger := ipam.Ledger{}
	for addr, owners := range entries {
		for _, o := range owners {
			a := netip.MustParseAddr(addr)
			ledger[a] = append(ledger[a], ipam.Entry{Service: ipam.ServiceKey("default/" + o)})
		}
	}
	var l coordinationv1.Lease
	l.Annotations = map[string]string{svc.AnnotationLedger: svc.EncodeLedger(ledger)}
	if !json.Valid([]byte(l.Annotations[svc.AnnotationLedger])) {
		t.Fatal("the ledger is no JSON")
	}
	return l
}

// TestDoublesAreFound: S4.
func TestDoublesAreFound(t *testing.T) {
	other := balanced("c", "10.80.32.1")
	other.Spec.Type = corev1.ServiceTypeClusterIP // it is about to lose what it had
	for name, c := range map[string]struct {
		s    snapshot
		want string
	}{
		"none": {snapshot{[]corev1.Service{balanced("a", "10.80.32.1"), balanced("b", "10.80.32.2"),
			other},
			[]coordinationv1.Lease{ledgerLease(t,
				map[string][]string{"10.80.32.1": {"a"}, "10.80.32.2": {"b"}})}}, ""},
		"status": {snapshot{[]corev1.Service{balanced("a", "10.80.32.1"),
			balanced("b", "10.80.32.1")}, nil}, "the status of both a and b"},
		"one shard": {snapshot{nil,
			[]coordinationv1.Lease{ledgerLease(t, map[string][]string{"10.80.32.1": {"a", "b"}})}},
			"10.80.32.1 to default/a and default/b"},
		"two shards": {snapshot{nil,
			[]coordinationv1.Lease{ledgerLease(t, map[string][]string{"10.80.32.1": {"a"}}),
				ledgerLease(t, map[string][]string{"10.80.32.1": {"b"}})}}, "two Leases"},
	} {
		err := c.s.checkDuplicates()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// without a lab no kernel has an address, so that only Services of policy Local without endpoints
// are well.
func TestInconsistenciesAreFound(t *testing.T) {
	well := func() (*environment, snapshot) {
		w := &environment{lab: &servicelab.Lab{Cluster: &cluster.Cluster{}},
			services: []service{{there: true, balanced: true, local: true}, {}}, addresses: map[int]owned{}}
		return w, snapshot{[]corev1.Service{balanced(name(0), "10.80.32.1")},
			[]coordinationv1.Lease{ledgerLease(t, map[string][]string{"10.80.32.1": {name(0)}})}}
	}
	for what, c := range map[string]struct {
		change func(*environment, *snapshot)
		want   string
	}{
		"nothing": {func(*environment, *snapshot) {}, ""},
		"missing": {func(_ *environment, s *snapshot) { s.services = nil }, "there false, want true"},
		"not deleted": {func(_ *environment, s *snapshot) {
			s.services = append(s.services, balanced(name(1)))
		}, "there true, want false"},
		"no address": {func(_ *environment, s *snapshot) {
			s.services[0].Status = corev1.ServiceStatus{}
		}, "has 0 addresses"},
		"status left": {func(w *environment, _ *snapshot) { w.services[0].balanced = false },
			"no LoadBalancer any more"},
		"other owner": {func(_ *environment, s *snapshot) {
			s.leases[0] = ledgerLease(t, map[string][]string{"10.80.32.1": {"b"}})
		}, "which the ledger gives to"},
		"left in ledger": {func(_ *environment, s *snapshot) {
			s.leases = append(s.leases, ledgerLease(t, map[string][]string{"10.80.32.9": {"b"}}))
		}, "the ledger has 2"},
		"on no node": {func(w *environment, _ *snapshot) { w.services[0].local = false },
			"is on 0 nodes"},
		"endpoint and no": {func(w *environment, _ *snapshot) {
			w.services[0].endpoints = map[string]bool{"cp1": true}
		}, "is on 0 nodes"},
	} {
		w, s := well()
		c.change(w, &s)
		_, err := w.consistent(s)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}

func TestALostAddressIsFound(t *testing.T) {
	w := &environment{services: []service{{epoch: 1}}, addresses: map[int]owned{}}
	one, two := netip.MustParseAddr("10.80.32.1"), netip.MustParseAddr("10.80.32.2")
	if err := w.checkKept(map[int]netip.Addr{0: one}); err != nil {
		t.Error(err)
	}
	if err := w.checkKept(map[int]netip.Addr{0: two}); err == nil {
		t.Error("another address in the same epoch was accepted")
	}
	w.services[0].epoch++
	if err := w.checkKept(map[int]netip.Addr{0: two}); err != nil {
		t.Error(err)
	}
}

func TestGrowthIsFound(t *testing.T) {
	series := func(first, last size) []size { return []size{first, first, first, first, last, last} }
	base := size{goroutines: 80, heap: 10, resident: 60}
	for name, c := range map[string]struct {
		sizes []size
		want  string
	}{
		"flat":       {series(base, size{goroutines: 85, heap: 12, resident: 70}), ""},
		"smaller":    {series(base, size{goroutines: 50, heap: 5, resident: 30}), ""},
		"goroutines": {series(base, size{goroutines: 95, heap: 10, resident: 60}), "goroutines"},
		"heap":       {series(base, size{goroutines: 80, heap: 20, resident: 60}), "heap"},
		"resident":   {series(base, size{goroutines: 80, heap: 10, resident: 100}), "resident"},
		"too few":    {[]size{base, base}, "2 sizes"},
		"one outlier": {[]size{base, base, base, base, base, base, base,
			{goroutines: 500, heap: 90, resident: 300}, base}, ""},
		"three suffice": {[]size{base, base, {goroutines: 200, heap: 10, resident: 60}}, "goroutines"},
	} {
		err := checkGrowth(c.sizes)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestEveryDeedIsDone(t *testing.T) {
	w := &environment{random: rand.New(rand.NewPCG(1, 0))}
	seen := map[string]bool{}
	for range 2000 {
		seen[w.pick().name] = true
	}
	if len(seen) != len(deeds) {
		t.Errorf("%d deeds of %d were picked in 2000 times", len(seen), len(deeds))
	}
}

// TestShortSoak runs for as long as a verdict needs. S4, S6.
func TestShortSoak(t *testing.T) {
	testutil.NeedRoot(t)
	cluster.NeedKvip(t)
	o, err := parseOptions(func(name string) string {
		return map[string]string{"MINUTES": "0.4", "SERVICES": "40"}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := soak(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}
