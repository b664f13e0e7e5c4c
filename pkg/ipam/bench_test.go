package ipam

import (
	"fmt"
	"net/netip"
	"testing"
)

const many = 5000

// BenchmarkPlan: every change of a Service needs a Plan, so it must be cheap at any scale.
func BenchmarkPlan(b *testing.B) {
	web := []Port{{"TCP", 80}, {"TCP", 443}}
	for name, c := range map[string]struct {
		pool    Pool
		request Request
		kept    bool // from the ledger
	}{
		"new": {Pool{Ranges: []Range{{netip.MustParseAddr("10.0.0.0"),
			netip.MustParseAddr("10.0.255.255")}}}, Request{}, false},
		"kept": {Pool{Ranges: []Range{{netip.MustParseAddr("10.0.0.0"),
			netip.MustParseAddr("10.0.255.255")}}}, Request{}, true},
		"exhausted": {Pool{Ranges: []Range{{netip.MustParseAddr("10.0.0.0"),
			netip.MustParseAddr("10.0.0.9")}}}, Request{}, false},
		"IPv6": {Pool{Ranges: []Range{{netip.MustParseAddr("2001:db8::"),
			netip.MustParseAddr("2001:db8::ffff:ffff:ffff:ffff")}}, Descending: true},
			Request{Families: []Family{IPv6}}, false},
		"shared pool": {Pool{Ranges: []Range{{netip.MustParseAddr("10.0.0.0"),
			netip.MustParseAddr("10.0.255.255")}}, Shared: true}, Request{}, false},
		"one key": {Pool{Ranges: []Range{{netip.MustParseAddr("10.0.0.0"),
			netip.MustParseAddr("10.0.255.255")}}}, Request{ShareKey: "k"}, false},
	} {
		b.Run(name, func(b *testing.B) {
			requests := make([]Request, many)
			for i := range requests {
				requests[i] = c.request
				requests[i].Service, requests[i].Namespace,
					requests[i].Ports = ServiceKey(fmt.Sprintf("ns-%d/web-%d", i%100, i)),
					fmt.Sprintf("ns-%d", i%100),
					web
				if requests[i].Families == nil {
					requests[i].Families = []Family{IPv4}
				}
			}
			c.pool.Name = "p"
			var ledger Ledger
			if c.kept {
				ledger = Plan(nil, []Pool{c.pool}, Reserved{}, requests).Ledger
			}
			b.ReportAllocs()
			for b.Loop() {
				Plan(ledger, []Pool{c.pool}, Reserved{}, requests)
			}
		})
	}
}

// BenchmarkPlanOneAddress has all Services at one address, each with its own port.
func BenchmarkPlanOneAddress(b *testing.B) {
	requests := make([]Request, many)
	for i := range requests {
		requests[i] = Request{Service: ServiceKey(fmt.Sprintf("a/%d", i)), Namespace: "a",
			Families: []Family{IPv4}, ShareKey: "k", Ports: []Port{{"TCP", uint16(i)}}}
	}
	pools := []Pool{{Name: "p",
		Ranges: []Range{{netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("10.0.255.255")}}}}
	ledger := Plan(nil, pools, Reserved{}, requests).Ledger
	for b.Loop() {
		Plan(ledger, pools, Reserved{}, requests)
	}
}
