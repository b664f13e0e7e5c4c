package inspect

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/svc/speaker"
)

// announced returns an address that a node has announced on eth0 for 90 seconds, of a and b.
func announced(addr netip.Addr, node string) Address {
	v := report(addr, node, "owned", "it has the highest rank")
	v.Link, v.Eligible = "eth0", []string{"a", "b"}
	return Address{AddressReport: v, On: map[string]string{node: "owned"}}
}

// withStatus returns the report of a managed Service with one address, which is in its status.
func withStatus(addr netip.Addr, one Address) Report {
	return Report{
		Service: "default/web", Managed: true, Status: []netip.Addr{addr}, Addresses: []Address{one},
	}
}

var texts = []struct {
	name   string
	report func() Report
	want   string
}{
	{"served, two families", func() Report {
		return Report{
			Service: "default/web", Managed: true, Status: []netip.Addr{vip4, vip6},
			Condition: &metav1.Condition{Reason: "Allocated", Message: "from pool main"},
			Addresses: []Address{announced(vip4, "a"), announced(vip6, "b")},
		}
	}, `
Service      default/web
In status    192.0.2.10, 2001:db8::10
Condition    Allocated: from pool main
Address      192.0.2.10 announced by a on eth0 since 2026-03-01T12:00:00Z (1m30s)
  why        it has the highest rank
  eligible   a, b
Address      2001:db8::10 announced by b on eth0 since 2026-03-01T12:00:00Z (1m30s)
  why        it has the highest rank
  eligible   a, b
`},
	{"routed", func() Report {
		one := announced(vip4, "b")
		one.Link, one.Sentence = "lo", "every eligible node announces it to its routers"
		one.On = map[string]string{"b": "owned", "a": "owned", "c": "leaving"}
		return withStatus(vip4, one)
	}, `
Service      default/web
In status    192.0.2.10
Address      192.0.2.10 announced to routers by a, b
  why        every eligible node announces it to its routers
  also on    c (leaving)
  eligible   a, b
`},
	{"routed, of the control plane", func() Report {
		one := announced(vip4, "b")
		one.Link, one.State, one.On = "lo", "shared", map[string]string{"b": "shared"}
		return withStatus(vip4, one)
	}, `
Service      default/web
In status    192.0.2.10
Address      192.0.2.10 announced by b on lo since 2026-03-01T12:00:00Z (1m30s)
  why        it has the highest rank
  eligible   a, b
`},
	{"not managed", func() Report {
		return Report{
			Service:    "default/web",
			SkipReason: "its loadBalancerClass x is not kvip.dev/kvip, which kvip serves",
		}
	}, `
Service      default/web
Not served   its loadBalancerClass x is not kvip.dev/kvip, which kvip serves
In status    none
`},
	{"not in the ledger", func() Report {
		condition := &metav1.Condition{Reason: "OutsidePools", Message: "no pool has 192.0.2.1"}
		return Report{Service: "default/web", Managed: true, Condition: condition}
	}, `
Service     default/web
In status   none
Condition   OutsidePools: no pool has 192.0.2.1
Address     not in the ledger yet, or no agent answers
`},
	{"not announced", func() Report {
		v := report(vip4, "", "", "no ready endpoint")
		v.Rejected = map[string]string{"b": "the node is cordoned", "a": "the node has no usable link"}
		return withStatus(vip4, Address{AddressReport: v})
	}, `
Service     default/web
In status   192.0.2.10
Address     192.0.2.10 not announced
  why       no ready endpoint
  not a     the node has no usable link
  not b     the node is cordoned
`},
	{"its agent does not respond, another one has a problem", func() Report {
		v := report(vip4, "b", "", "it is the only eligible node")
		r := withStatus(vip4, Address{AddressReport: v})
		r.Problems = map[string]string{"a": "write table: no space"}
		r.Unreachable = map[string]string{"c": "no page", "b": "connection refused"}
		return r
	}, `
Service     default/web
In status   192.0.2.10
Address     192.0.2.10 assigned to b, which does not announce it yet
  why       it is the only eligible node
Problem     a: write table: no space
No answer   b: connection refused
No answer   c: no page
`},
	{"shared by two Services, and leaving another node", func() Report {
		one := announced(vip4, "b")
		one.Services, one.On["a"] = []string{"default/web", "shop/web"}, "leaving"
		return withStatus(vip4, one)
	}, `
Service       default/web
In status     192.0.2.10
Address       192.0.2.10 announced by b on eth0 since 2026-03-01T12:00:00Z (1m30s)
  why         it has the highest rank
  also on     a (leaving)
  eligible    a, b
  shared by   default/web, shop/web
`},
	{"adopted", func() Report { // by the assigned node, after its restart (S6)
		v := report(vip6, "a", "", "")
		return withStatus(vip6, Address{AddressReport: v, On: map[string]string{"a": "adopted"}})
	}, `
Service     default/web
In status   2001:db8::10
Address     2001:db8::10 assigned to a, which does not announce it yet
  kept on   a (adopted)
`},
	{"a clock that is ahead", func() Report {
		one := Address{AddressReport: speaker.AddressReport{
			Address: vip4, Node: "a", Present: true, State: "shared", Since: since.Add(time.Hour),
		}}
		return withStatus(vip4, one)
	}, `
Service     default/web
In status   192.0.2.10
Address     192.0.2.10 announced by a on none since 2026-03-01T13:00:00Z (0s)
`},
}

func TestWriteText(t *testing.T) {
	for _, row := range texts {
		t.Run(row.name, func(t *testing.T) {
			var out strings.Builder
			if err := row.report().WriteText(&out, since.Add(90*time.Second)); err != nil {
				t.Fatal(err)
			}
			if got := "\n" + out.String(); got != row.want {
				t.Errorf("got%s\nwant%s", got, row.want)
			}
		})
	}
}

var errFull = errors.New("disk full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWriteTextFails(t *testing.T) {
	err := Report{Service: "default/web"}.WriteText(full{}, since)
	if !errors.Is(err, errFull) || !strings.Contains(err.Error(), "default/web") {
		t.Errorf("got %v", err)
	}
}
