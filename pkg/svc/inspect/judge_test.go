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

// at is an address as a report has it.
func at(addr netip.Addr, node string, here bool, on map[string]string) Address {
	return Address{AddressReport: speaker.AddressReport{Address: addr, Node: node, Present: here}, On: on}
}

func TestJudge(t *testing.T) {
	heard := []string{"a"}
	for _, row := range []struct {
		name string
		r    Report
		want string
	}{
		{"announced", Report{Managed: true, Responded: heard, Addresses: []Address{at(vip4, "a", true, map[string]string{"a": "owned"})}}, ""},
		{"moving", Report{Managed: true, Responded: heard, Addresses: []Address{at(vip4, "a", true, map[string]string{"a": "owned", "b": "leaving"})}}, ""},
		{"the control plane's", Report{Managed: true, Responded: heard, Addresses: []Address{at(vip4, "a", true, map[string]string{"a": "shared"})}}, ""},
		{"by nobody", Report{Managed: true, Responded: heard, Addresses: []Address{at(vip4, "", false, nil)}}, "no node announces " + vip4.String()},
		{"one of two", Report{Managed: true, Responded: heard, Addresses: []Address{at(vip4, "a", true, nil), at(vip6, "a", false, nil)}}, "no node announces " + vip6.String()},
		{"in the status alone", Report{Managed: true, Responded: heard, Status: []netip.Addr{vip4}}, "no node announces " + vip4.String()},
		{"by a node that has not said so", Report{Managed: true, Responded: heard, Addresses: []Address{at(vip4, "b", false, nil)}}, "no node announces " + vip4.String()},
		{"by a node that is silent", Report{Managed: true, Responded: heard, Unreachable: map[string]string{"b": "refused"}, Addresses: []Address{at(vip4, "b", false, nil)}}, ""},
		{"twice", Report{Managed: true, Responded: heard, Addresses: []Address{at(vip4, "a", true, map[string]string{"b": "owned", "a": "owned"})}}, "a and b announce " + vip4.String() + " at the same time"},
		{"no address", Report{Service: web, Managed: true, Responded: heard}, "no node announces service shop/web: it has no address"},
		{"not served", Report{Service: web, SkipReason: "it is another's", Status: []netip.Addr{vip4}}, "no node announces service shop/web: it is another's"},
		{"without agents", Report{Service: web, Managed: true}, "no node announces service shop/web: it has no address"},
		{"unknown", Report{Managed: true, Status: []netip.Addr{vip4}, Unreachable: map[string]string{"a": "refused"}}, ""},
	} {
		if got := row.r.judge(); got != row.want {
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

func TestServiceJudges(t *testing.T) {
	e := fakecluster.New(t)
	e.PutService(web)
	join(e, "a", serving(t, answering(says("a", true, view(vip4, "b", "", "b is better")))), "127.0.0.1")
	got, err := Service(t.Context(), question(e, web))
	if err != nil || got.Problem != "no node announces "+vip4.String() || len(got.Responded) != 1 || got.Responded[0] != "a" {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestNames(t *testing.T) {
	e := fakecluster.New(t)
	e.PutService("shop/web")
	e.PutService("a/web")
	e.PutService("a/other", func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("example.com/x") })
	e.PutService("a/inside", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP })
	got, err := ServiceNames(t.Context(), question(e, web))
	if err != nil || strings.Join(got, " ") != "a/web shop/web" {
		t.Errorf("%v, %q", err, got)
	}
	e.Server.Be(fakeapi.Forbidden)
	if got, err := ServiceNames(t.Context(), question(e, web)); err == nil || len(got) > 0 {
		t.Errorf("%v, %q", err, got)
	}
}
