package allocator

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

func TestTheBodyOfAnApply(t *testing.T) {
	at := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	s := &svc.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", UID: "u", ResourceVersion: "7"},
		Condition: &metav1.Condition{Type: svc.Condition, Status: metav1.ConditionTrue, Reason: "Allocated", LastTransitionTime: at}}
	for _, row := range []struct {
		name string
		want wish
		body string
	}{
		{"an address", wish{addresses: []netip.Addr{first, netip.MustParseAddr("fd00::1")}, ok: true, reason: "Allocated", message: "m"},
			`{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"a","resourceVersion":"7","uid":"u"},"status":{` +
				`"conditions":[{"type":"kvip.dev/Address","status":"True","lastTransitionTime":"2026-01-02T03:04:05Z","reason":"Allocated","message":"m"}],` +
				`"loadBalancer":{"ingress":[{"ip":"10.0.0.100","ipMode":"VIP"},{"ip":"fd00::1","ipMode":"VIP"}]}}}`},
		{"nothing any more", wish{clear: true},
			`{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"a","resourceVersion":"7","uid":"u"},"status":{}}`},
	} {
		body, err := applied(s, row.want)
		if err != nil || string(body) != row.body {
			t.Errorf("%s: %v\n%s\n%s", row.name, err, body, row.body)
		}
	}
	refused, err := applied(s, wish{reason: "PoolExhausted"})
	var got struct{ Status corev1.ServiceStatus }
	if err == nil {
		err = json.Unmarshal(refused, &got)
	}
	if c := got.Status.Conditions; err != nil || len(c) != 1 || c[0].Status != metav1.ConditionFalse || c[0].LastTransitionTime.Equal(&at) || len(got.Status.LoadBalancer.Ingress) > 0 {
		t.Errorf("refused: %v %s", err, refused)
	}
}

func TestMet(t *testing.T) {
	want := wish{addresses: []netip.Addr{first}, ok: true, reason: "Allocated", message: "m"}
	says := func(change func(*svc.Service)) *svc.Service {
		s := &svc.Service{Status: []netip.Addr{first}, Condition: &metav1.Condition{Status: metav1.ConditionTrue, Reason: "Allocated", Message: "m"}}
		change(s)
		return s
	}
	if !want.met(says(func(*svc.Service) {})) {
		t.Error("what it says is what is wanted")
	}
	for what, change := range map[string]func(*svc.Service){
		"nothing": func(s *svc.Service) { s.Condition = nil }, "another reason": func(s *svc.Service) { s.Condition.Reason = "x" }, "another message": func(s *svc.Service) { s.Condition.Message = "x" },
		"another verdict": func(s *svc.Service) { s.Condition.Status = metav1.ConditionFalse }, "no address": func(s *svc.Service) { s.Status = nil },
		"another address": func(s *svc.Service) { s.Status = []netip.Addr{first.Next()} }, "one too many": func(s *svc.Service) { s.Status = append(s.Status, first) },
	} {
		if want.met(says(change)) {
			t.Errorf("%s counts as what is wanted", what)
		}
	}
	if (wish{clear: true}).met(says(func(*svc.Service) {})) || !(wish{clear: true}).met(says(func(s *svc.Service) { s.Condition = nil })) {
		t.Error("clearing")
	}
}

// S9: without the right to apply, statuses are updated, and the missing right is named once.
func TestS9UpdateWherePatchIsForbidden(t *testing.T) {
	r := newRig(t)
	r.Server.Deny(fakeapi.Denial{Method: http.MethodPatch, Code: 403}, fakeapi.Denial{Path: "/events", Code: 403})
	a, _ := r.seated("x")
	r.PutService("a/web")
	r.PutService("b/web")
	r.says(a, "a/web", "10.0.0.100 Allocated")
	r.says(a, "b/web", "10.0.0.101 Allocated")
	r.Eventually("the pool's status was tried", func() bool { return r.Log.Count("patch ippools/status") > 0 })
	for _, right := range []string{"patch services/status", "patch ippools/status"} {
		if n := r.Log.Count("a right is missing: " + right); n != 1 {
			t.Errorf("%s is named %d times", right, n)
		}
	}
	if r.Log.Count("refuses these credentials") > 0 {
		t.Errorf("the credentials are doubted\n%s", r.Log)
	}
	other := "example.com/lb"
	r.PutService("a/web", func(s *corev1.Service) { s.Spec.LoadBalancerClass = &other })
	r.says(a, "a/web", "")
	// S9: with the right, what was updated before is kvip's still.
	r.Server.Deny()
	r.pass(time.Minute)
	b, k := r.allocator("y")
	r.Eventually("the last renewal of the seat is seen", func() bool {
		var l coordinationv1.Lease
		return r.Lease(fakecluster.Seat, &l) && r.cat.LeaderLease().ResourceVersion == l.ResourceVersion
	})
	k.turn(t.Context())
	r.pass(time.Minute)
	r.sit(k)
	r.hands(b)
	r.PutService("b/web", func(s *corev1.Service) { s.Annotations = map[string]string{svc.AnnotationAddresses: "10.0.0.103"} })
	r.says(b, "b/web", "10.0.0.103 Allocated")
	r.PutService("b/web", func(s *corev1.Service) { s.Spec.LoadBalancerClass = &other })
	r.says(b, "b/web", "")
	r.Eventually("the change is seen", func() bool { return r.cat.Services()[1].Condition == nil })
	writes := r.Store.Writes()
	for range 10 {
		r.look(b)
	}
	r.Never("it is cleared again and again", func() bool { return r.Store.Writes() > writes })
}

// A Service that goes to another class is cleared, but not of what its new program has written since.
func TestAnotherClass(t *testing.T) {
	r := newRig(t)
	a, _ := r.seated("x")
	r.PutService("a/web")
	r.says(a, "a/web", "10.0.0.100 Allocated")
	other := "example.com/lb"
	r.PutService("a/web", func(s *corev1.Service) { s.Spec.LoadBalancerClass = &other })
	r.says(a, "a/web", "")
	r.until(a, "its address is free", func() bool { return len(r.cat.Ledger()) == 0 })
	o := &corev1.Service{Status: corev1.ServiceStatus{
		LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}}, Conditions: []metav1.Condition{{Type: svc.Condition}, {Type: "Other"}},
	}}
	update(o, &svc.Service{}, wish{clear: true})
	if len(o.Status.LoadBalancer.Ingress) != 1 || len(o.Status.Conditions) != 1 || o.Status.Conditions[0].Type != "Other" {
		t.Errorf("S9: the status is %+v", o.Status)
	}
}

func TestEventsAreBounded(t *testing.T) {
	r := newRig(t)
	a, _ := r.allocator("x")
	e := a.writer.status.events
	if !e.fresh("k") || e.fresh("k") {
		t.Error("the same again is fresh")
	}
	r.pass(sameEvent)
	if !e.fresh("k") {
		t.Error("after a while it is not fresh")
	}
	for i := range maxEvents + 10 {
		e.fresh(string(rune(i)))
	}
	if len(e.posted) > maxEvents {
		t.Errorf("%d Events are remembered", len(e.posted))
	}
}

// What has no counterpart in kvip is said in the condition (S9).
func TestNotesAreTold(t *testing.T) {
	r := newRig(t)
	a, _ := r.seated("x")
	r.PutService("a/web", func(s *corev1.Service) { s.Annotations = map[string]string{"kube-vip.io/something-new": "true"} })
	r.says(a, "a/web", "10.0.0.100 Allocated")
	var s corev1.Service
	r.Service("a/web", &s)
	if got := s.Status.Conditions[0].Message; !strings.Contains(got, "has 10.0.0.100; ") || !strings.Contains(got, "kube-vip.io/something-new") {
		t.Errorf("it says %q", got)
	}
}

// A status that cannot be written does not have all Services planned anew each second, and is written when it can be.
func TestAStatusThatCannotBeWritten(t *testing.T) {
	r := newRig(t)
	r.Server.Deny(fakeapi.Denial{Path: "/services/web/status", Code: http.StatusUnprocessableEntity})
	a, _ := r.seated("x")
	r.PutService("a/web")
	r.PutService("b/other")
	r.says(a, "b/other", "10.0.0.101 Allocated")
	turns := 0
	second := func() {
		r.pass(time.Second)
		r.sit(a.cfg.Elector)
		if a.turn(t.Context()) {
			turns++
		}
		time.Sleep(5 * time.Millisecond)
	}
	for range 120 {
		second()
	}
	if turns > 30 {
		t.Errorf("%d turns in two minutes", turns)
	}
	r.Server.Deny()
	for i := 0; r.Says("a/web") != "10.0.0.100 Allocated"; i++ {
		if second(); i > 100 {
			t.Fatalf("it is not written: %s\n%s", r.Says("a/web"), r.Log)
		}
	}
}
