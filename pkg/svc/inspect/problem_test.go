package inspect

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/svc/speaker"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

// addressOf returns an address of a report.
func addressOf(addr netip.Addr, node string, here bool, on map[string]string) Address {
	return Address{AddressReport: speaker.AddressReport{Address: addr, Node: node, Present: here}, On: on}
}

func TestProblem(t *testing.T) {
	responded := []string{"a"}
	for _, row := range []struct {
		name string
		r    Report
		want string
	}{
		{"announced", Report{Managed: true, Responded: responded, Addresses: []Address{addressOf(vip4, "a", true, map[string]string{"a": "owned"})}}, ""},
		{"moving", Report{Managed: true, Responded: responded, Addresses: []Address{addressOf(vip4, "a", true, map[string]string{"a": "owned", "b": "leaving"})}}, ""},
		{"the control plane's", Report{Managed: true, Responded: responded, Addresses: []Address{addressOf(vip4, "a", true, map[string]string{"a": "shared"})}}, ""},
		{"not announced", Report{Managed: true, Responded: responded, Addresses: []Address{addressOf(vip4, "", false, nil)}}, "no node announces " + vip4.String()},
		{"one of two", Report{Managed: true, Responded: responded, Addresses: []Address{addressOf(vip4, "a", true, nil), addressOf(vip6, "a", false, nil)}}, "no node announces " + vip6.String()},
		{"only in the status", Report{Managed: true, Responded: responded, Status: []netip.Addr{vip4}}, "no node announces " + vip4.String()},
		{"assigned to a node that responds", Report{Managed: true, Responded: responded, Addresses: []Address{addressOf(vip4, "b", false, nil)}}, "no node announces " + vip4.String()},
		{"assigned to an unreachable node", Report{Managed: true, Responded: responded, Unreachable: map[string]string{"b": "refused"}, Addresses: []Address{addressOf(vip4, "b", false, nil)}}, ""},
		{"twice", Report{Managed: true, Responded: responded, Addresses: []Address{addressOf(vip4, "a", true, map[string]string{"b": "owned", "a": "owned"})}}, "a and b announce " + vip4.String() + " at the same time"},
		{"no address", Report{Service: web, Managed: true, Responded: responded}, "no node announces service shop/web: it has no address"},
		{"not served", Report{Service: web, SkipReason: "it has another class", Status: []netip.Addr{vip4}}, "no node announces service shop/web: it has another class"},
		{"without agents", Report{Service: web, Managed: true}, "no node announces service shop/web: it has no address"},
		{"unknown", Report{Managed: true, Status: []netip.Addr{vip4}, Unreachable: map[string]string{"a": "refused"}}, ""},
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
	if err := r.WriteText(&out, since); err != nil || !strings.Contains(out.String(), "Problem     no node announces it\n") {
		t.Errorf("%v: %s", err, &out)
	}
}

func TestServiceReportsTheProblem(t *testing.T) {
	e := fakecluster.New(t)
	e.PutService(web)
	addNode(e, "a", servePage(t, pageOf(answerOf("a", true, view(vip4, "b", "", "b has the highest rank")))), "127.0.0.1")
	got, err := Service(t.Context(), configFor(e, web))
	if err != nil || got.Problem != "no node announces "+vip4.String() || len(got.Responded) != 1 || got.Responded[0] != "a" {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestServiceNames(t *testing.T) {
	e := fakecluster.New(t)
	e.PutService("shop/web")
	e.PutService("a/web")
	e.PutService("a/other", func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("example.com/x") })
	e.PutService("a/inside", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP })
	got, err := ServiceNames(t.Context(), configFor(e, web))
	if err != nil || strings.Join(got, " ") != "a/web shop/web" {
		t.Errorf("%v, %q", err, got)
	}
	e.Server.Be(fakeapi.Forbidden)
	if got, err := ServiceNames(t.Context(), configFor(e, web)); err == nil || len(got) > 0 {
		t.Errorf("%v, %q", err, got)
	}
}
