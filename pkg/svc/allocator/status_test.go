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
	s := &svc.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", UID: "u",
		ResourceVersion: "7"},
		Condition: &metav1.Condition{Type: svc.Condition, Status: metav1.ConditionTrue,
			Reason: "Allocated", LastTransitionTime: at}}
	for _, c := range []struct {
		name string
		want desiredStatus
		body string
	}{
		{"an address", desiredStatus{addresses: []netip.Addr{first, netip.MustParseAddr("fd00::1")},
			isReady: true, reason: "Allocated", message: "m"},
			`{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"a","resourceVersion":"7","uid":"u"},"status":{` +
				`"conditions":[{"type":"kvip.dev/Address","status":"True","lastTransitionTime":"2026-01-02T03:04:05Z","reason":"Allocated","message":"m"}],` +
				`"loadBalancer":{"ingress":[{"ip":"10.0.0.100","ipMode":"VIP"},{"ip":"fd00::1","ipMode":"VIP"}]}}}`},
		{"nothing any more", desiredStatus{clear: true},
			`{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"a","resourceVersion":"7","uid":"u"},"status":{}}`},
	} {
		body, err := c.want.applyBody(s)
		if err != nil || string(body) != c.body {
			t.Errorf("%s: %v\n%s\n%s", c.name, err, body, c.body)
		}
	}
	refused, err := desiredStatus{reason: "PoolExhausted"}.applyBody(s)
	var got struct{ Status corev1.ServiceStatus }
	if err == nil {
		err = json.Unmarshal(refused, &got)
	}
	if c := got.Status.Conditions; err != nil || len(c) != 1 || c[0].Status != metav1.ConditionFalse ||
		c[0].LastTransitionTime.Equal(&at) || len(got.Status.LoadBalancer.Ingress) > 0 {
		t.Errorf("refused: %v %s", err, refused)
	}
}

func TestMatches(t *testing.T) {
	want := desiredStatus{addresses: []netip.Addr{first}, isReady: true, reason: "Allocated",
		message: "m"}
	says := func(change func(*svc.Service)) *svc.Service {
		s := &svc.Service{Status: []netip.Addr{first},
			Condition: &metav1.Condition{Status: metav1.ConditionTrue, Reason: "Allocated", Message: "m"}}
		change(s)
		return s
	}
	if !want.matches(says(func(*svc.Service) {})) {
		t.Error("the desired status does not match")
	}
	for what, change := range map[string]func(*svc.Service){
		"nothing":         func(s *svc.Service) { s.Condition = nil },
		"another reason":  func(s *svc.Service) { s.Condition.Reason = "x" },
		"another message": func(s *svc.Service) { s.Condition.Message = "x" },
		"another verdict": func(s *svc.Service) { s.Condition.Status = metav1.ConditionFalse },
		"no address":      func(s *svc.Service) { s.Status = nil },
		"another address": func(s *svc.Service) { s.Status = []netip.Addr{first.Next()} },
		"one too many":    func(s *svc.Service) { s.Status = append(s.Status, first) },
	} {
		if want.matches(says(change)) {
			t.Errorf("%s matches", what)
		}
	}
	if (desiredStatus{clear: true}).matches(says(func(*svc.Service) {})) ||
		!(desiredStatus{clear: true}).matches(says(func(s *svc.Service) { s.Condition = nil })) {
		t.Error("clearing")
	}
}

// S9: without the permission to apply, statuses are updated, and each missing permission is logged
// once.
func TestS9UpdateWherePatchIsForbidden(t *testing.T) {
	r := newFixture(t)
	r.Server.Deny(fakeapi.DenyRule{Method: http.MethodPatch, Code: 403},
		fakeapi.DenyRule{Path: "/events", Code: 403})
	a, _ := r.leader("x")
	r.PutService("a/web")
	r.PutService("b/web")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	r.expect(a, "b/web", "10.0.0.101 Allocated")
	r.Eventually("the pool's status was tried",
		func() bool { return r.Log.Count("patch ippools/status") > 0 })
	for _, right := range []string{"patch services/status", "patch ippools/status"} {
		if n := r.Log.Count(`permission="` + right + `"`); n != 1 {
			t.Errorf("%s is logged %d times", right, n)
		}
	}
	if r.Log.Count("refuses these credentials") > 0 {
		t.Errorf("the credentials are suspected\n%s", r.Log)
	}
	other := "example.com/lb"
	r.PutService("a/web", func(s *corev1.Service) { s.Spec.LoadBalancerClass = &other })
	r.expect(a, "a/web", "")
	// S9: with the right, what was updated before is kvip's still.
	r.Server.Deny()
	r.advance(time.Minute)
	b, k := r.allocator("y")
	r.Eventually("the last renewal of the Lease is seen", func() bool {
		var l coordinationv1.Lease
		return r.Lease(fakecluster.LeaseName, &l) &&
			r.cache.LeaderLease().ResourceVersion == l.ResourceVersion
	})
	k.reconcile(t.Context())
	r.advance(time.Minute)
	r.elect(k)
	r.runWriters(b)
	r.PutService("b/web",
		func(s *corev1.Service) {
			s.Annotations = map[string]string{svc.AnnotationAddresses: "10.0.0.103"}
		})
	r.expect(b, "b/web", "10.0.0.103 Allocated")
	r.PutService("b/web", func(s *corev1.Service) { s.Spec.LoadBalancerClass = &other })
	r.expect(b, "b/web", "")
	r.Eventually("the change is seen", func() bool { return r.cache.Services()[1].Condition == nil })
	writes := r.Store.WriteCount()
	for range 10 {
		r.reconcile(b)
	}
	r.Never("it is cleared again and again", func() bool { return r.Store.WriteCount() > writes })
}

// A Service that moves to another class is cleared, except what its new program has written since.
func TestAnotherClass(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutService("a/web")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	other := "example.com/lb"
	r.PutService("a/web", func(s *corev1.Service) { s.Spec.LoadBalancerClass = &other })
	r.expect(a, "a/web", "")
	r.until(a, "its address is free", func() bool { return len(r.cache.Ledger()) == 0 })
	o := &corev1.Service{Status: corev1.ServiceStatus{
		LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}},
		Conditions:   []metav1.Condition{{Type: svc.Condition}, {Type: "Other"}},
	}}
	desiredStatus{clear: true}.update(o, &svc.Service{})
	if len(o.Status.LoadBalancer.Ingress) != 1 || len(o.Status.Conditions) != 1 ||
		o.Status.Conditions[0].Type != "Other" {
		t.Errorf("S9: the status is %+v", o.Status)
	}
}

func TestEventsAreBounded(t *testing.T) {
	r := newFixture(t)
	a, _ := r.allocator("x")
	e := a.queue.client.events
	if !e.isDue("k") || e.isDue("k") {
		t.Error("an equal Event is due")
	}
	r.advance(eventInterval)
	if !e.isDue("k") {
		t.Error("it is not due after a while")
	}
	for i := range maxEvents + 10 {
		e.isDue(string(rune(i)))
	}
	if len(e.posted) > maxEvents {
		t.Errorf("%d Events are remembered", len(e.posted))
	}
}

// S9: the condition names settings without a counterpart in kvip.
func TestNotesAreInTheCondition(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutService("a/web",
		func(s *corev1.Service) {
			s.Annotations = map[string]string{"kube-vip.io/something-new": "true"}
		})
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	var s corev1.Service
	r.Service("a/web", &s)
	if got := s.Status.Conditions[0].Message; !strings.Contains(got, "has 10.0.0.100; ") ||
		!strings.Contains(got, "kube-vip.io/something-new") {
		t.Errorf("the status is %q", got)
	}
}

// A status that cannot be written does not cause a reconcile each second, and is written when that
// is possible.
func TestAStatusThatCannotBeWritten(t *testing.T) {
	r := newFixture(t)
	r.Server.Deny(fakeapi.DenyRule{Path: "/services/web/status", Code: http.StatusUnprocessableEntity})
	a, _ := r.leader("x")
	r.PutService("a/web")
	r.PutService("b/other")
	r.expect(a, "b/other", "10.0.0.101 Allocated")
	turns := 0
	second := func() {
		r.advance(time.Second)
		r.elect(a.cfg.Elector)
		if a.reconcile(t.Context()) {
			turns++
		}
		time.Sleep(5 * time.Millisecond)
	}
	for range 120 {
		second()
	}
	if turns > 30 {
		t.Errorf("%d reconciles in two minutes", turns)
	}
	r.Server.Deny()
	for i := 0; r.ServiceStatus("a/web") != "10.0.0.100 Allocated"; i++ {
		if second(); i > 100 {
			t.Fatalf("it is not written: %s\n%s", r.ServiceStatus("a/web"), r.Log)
		}
	}
}
