package inspect

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc/speaker"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

// addressOf returns an address of a report.
func addressOf(addr netip.Addr, node string, here bool, on map[string]string) Address {
	report := speaker.AddressReport{Address: addr, Node: node, Present: here}
	return Address{AddressReport: report, On: on}
}

// managed returns the report of a Service of which agent a responds.
func managed(addresses ...Address) Report {
	return Report{Service: web, Managed: true, Responded: []string{"a"}, Addresses: addresses}
}

func TestProblem(t *testing.T) {
	on := func(pairs ...string) map[string]string {
		states := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			states[pairs[i]] = pairs[i+1]
		}
		return states
	}
	onlyStatus, unreachable := managed(), managed(addressOf(vip4, "b", false, nil))
	onlyStatus.Status = []netip.Addr{vip4}
	unreachable.Unreachable = map[string]string{"b": "refused"}
	routed := addressOf(vip4, "a", true, on("b", "owned", "a", "owned"))
	routed.Link = placement.Loopback
	unrouted := routed
	unrouted.Present, unrouted.On = false, nil
	const no4, no6 = "no node announces 192.0.2.10", "no node announces 2001:db8::10"
	for _, row := range []struct {
		name string
		r    Report
		want string
	}{
		{"announced", managed(addressOf(vip4, "a", true, on("a", "owned"))), ""},
		{"moving", managed(addressOf(vip4, "a", true, on("a", "owned", "b", "leaving"))), ""},
		{"the control plane's", managed(addressOf(vip4, "a", true, on("a", "shared"))), ""},
		{"not announced", managed(addressOf(vip4, "", false, nil)), no4},
		{"one of two", managed(addressOf(vip4, "a", true, nil), addressOf(vip6, "a", false, nil)), no6},
		{"both", managed(addressOf(vip4, "a", false, nil), addressOf(vip6, "", false, nil)),
			no4 + "; " + no6},
		{"only in the status", onlyStatus, no4},
		{"assigned to a node that responds", managed(addressOf(vip4, "b", false, nil)), no4},
		{"assigned to an unreachable node", unreachable, ""},
		{"twice", managed(addressOf(vip4, "a", true, on("b", "owned", "a", "owned"))),
			"a and b announce 192.0.2.10 at the same time"},
		{"routed, by all nodes", managed(routed), ""},
		{"routed, by no node", managed(unrouted), no4},
		{"no address", managed(), "no node announces service shop/web: it has no address"},
		{"not served", Report{Service: web, SkipReason: "another class", Status: []netip.Addr{vip4}},
			"no node announces service shop/web: another class"},
		{"without agents", Report{Service: web, Managed: true},
			"no node announces service shop/web: it has no address"},
		{"unknown", Report{
			Managed: true, Status: []netip.Addr{vip4}, Unreachable: map[string]string{"a": "refused"},
		}, ""},
	} {
		if got := row.r.problem(); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
		if unknown := row.r.Err(); errors.Is(unknown, ErrNoResponse) != (row.name == "unknown") {
			t.Errorf("%s: %v", row.name, unknown)
		}
	}
	var out strings.Builder
	r := Report{Managed: true, Problem: "no node announces it"}
	err := r.WriteText(&out, since)
	if err != nil || !strings.Contains(out.String(), "Problem     no node announces it\n") {
		t.Errorf("%v: %s", err, &out)
	}
}

func TestServiceReportsTheProblem(t *testing.T) {
	e := fakecluster.New(t)
	e.PutService(web)
	answer := answerOf("a", true, report(vip4, "b", "", "b has the highest rank"))
	addNode(e, "a", servePage(t, pageOf(answer)), "127.0.0.1")
	got, err := Service(t.Context(), configFor(e, web))
	responded := strings.Join(got.Responded, " ")
	if err != nil || got.Problem != "no node announces "+vip4.String() || responded != "a" {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestServiceNames(t *testing.T) {
	e := fakecluster.New(t)
	e.PutService("shop/web")
	e.PutService("a/web")
	e.PutService("a/other", func(s *corev1.Service) {
		s.Spec.LoadBalancerClass = new("example.com/x")
	})
	e.PutService("a/inside", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP })
	got, err := ServiceNames(t.Context(), configFor(e, web))
	if err != nil || strings.Join(got, " ") != "a/web shop/web" {
		t.Errorf("%v, %q", err, got)
	}
	e.Server.SetMode(fakeapi.Forbidden)
	if got, err := ServiceNames(t.Context(), configFor(e, web)); err == nil || len(got) > 0 {
		t.Errorf("%v, %q", err, got)
	}
}
