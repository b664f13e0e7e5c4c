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
	return Address{AddressReport: speaker.AddressReport{Address: addr, Node: node, Here: here}, On: on}
}

func TestJudge(t *testing.T) {
	heard := []string{"a"}
	for _, row := range []struct {
		name string
		r    Report
		want string
	}{
		{"announced", Report{Ours: true, Answered: heard, Addresses: []Address{at(vip4, "a", true, map[string]string{"a": "owned"})}}, ""},
		{"moving", Report{Ours: true, Answered: heard, Addresses: []Address{at(vip4, "a", true, map[string]string{"a": "owned", "b": "leaving"})}}, ""},
		{"the control plane's", Report{Ours: true, Answered: heard, Addresses: []Address{at(vip4, "a", true, map[string]string{"a": "shared"})}}, ""},
		{"by nobody", Report{Ours: true, Answered: heard, Addresses: []Address{at(vip4, "", false, nil)}}, "no node announces " + vip4.String()},
		{"one of two", Report{Ours: true, Answered: heard, Addresses: []Address{at(vip4, "a", true, nil), at(vip6, "a", false, nil)}}, "no node announces " + vip6.String()},
		{"in the status alone", Report{Ours: true, Answered: heard, Status: []netip.Addr{vip4}}, "no node announces " + vip4.String()},
		{"by a node that has not said so", Report{Ours: true, Answered: heard, Addresses: []Address{at(vip4, "b", false, nil)}}, "no node announces " + vip4.String()},
		{"by a node that is silent", Report{Ours: true, Answered: heard, Silent: map[string]string{"b": "refused"}, Addresses: []Address{at(vip4, "b", false, nil)}}, ""},
		{"twice", Report{Ours: true, Answered: heard, Addresses: []Address{at(vip4, "a", true, map[string]string{"b": "owned", "a": "owned"})}}, "a and b announce " + vip4.String() + " at the same time"},
		{"no address", Report{Service: web, Ours: true, Answered: heard}, "no node announces service shop/web: it has no address"},
		{"not served", Report{Service: web, Why: "it is another's", Status: []netip.Addr{vip4}}, "no node announces service shop/web: it is another's"},
		{"without agents", Report{Service: web, Ours: true}, "no node announces service shop/web: it has no address"},
		{"unknown", Report{Ours: true, Status: []netip.Addr{vip4}, Silent: map[string]string{"a": "refused"}}, ""},
	} {
		if got := row.r.judge(); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
		if unknown := row.r.Unknown(); errors.Is(unknown, ErrSilent) != (row.name == "unknown") {
			t.Errorf("%s: %v", row.name, unknown)
		}
	}
	var out strings.Builder
	r := Report{Ours: true, Problem: "no node announces it"}
	if err := r.WriteText(&out, since); err != nil || !strings.Contains(out.String(), "Problem     no node announces it\n") {
		t.Errorf("%v: %s", err, &out)
	}
}

func TestServiceJudges(t *testing.T) {
	e := fakecluster.New(t)
	e.PutService(web)
	join(e, "a", serving(t, answering(says("a", true, view(vip4, "b", "", "b is better")))), "127.0.0.1")
	got, err := Service(t.Context(), question(e, web))
	if err != nil || got.Problem != "no node announces "+vip4.String() || len(got.Answered) != 1 || got.Answered[0] != "a" {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestNames(t *testing.T) {
	e := fakecluster.New(t)
	e.PutService("shop/web")
	e.PutService("a/web")
	e.PutService("a/other", func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("example.com/x") })
	e.PutService("a/inside", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP })
	got, err := Names(t.Context(), question(e, web))
	if err != nil || strings.Join(got, " ") != "a/web shop/web" {
		t.Errorf("%v, %q", err, got)
	}
	e.Server.Be(fakeapi.Forbidden)
	if got, err := Names(t.Context(), question(e, web)); err == nil || len(got) > 0 {
		t.Errorf("%v, %q", err, got)
	}
}
