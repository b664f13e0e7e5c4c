package svc_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

func nodeState(t *testing.T, e *fakecluster.Env, name string) (s v1alpha1.BGPNodeState, ok bool) {
	t.Helper()
	ok, err := e.Store.Get(fakecluster.BGPPath(v1alpha1.BGPNodeStatePlural, name), &s)
	if err != nil {
		t.Fatal(err)
	}
	return s, ok
}

func session(peer string, state v1alpha1.SessionState) v1alpha1.BGPSession {
	return v1alpha1.BGPSession{Peer: peer, State: state, Since: metav1.Unix(1000, 0)}
}

func TestNodeStateIsCreatedAndChanged(t *testing.T) {
	e := fakecluster.New(t)
	e.PutNode("n1", "10.0.0.1")
	c := e.RunCache()
	state := svc.NewNodeState("n1", c.Node("n1"))
	state.Status.Sessions = []v1alpha1.BGPSession{
		session("a", v1alpha1.SessionEstablished), session("b", v1alpha1.SessionActive),
	}
	state.Status.RoutesRefused = 3
	write := func() v1alpha1.BGPNodeState {
		t.Helper()
		if err := svc.WriteNodeState(t.Context(), e.Router, state); err != nil {
			t.Fatal(err)
		}
		got, _ := nodeState(t, e, "n1")
		return got
	}
	got := write()
	owners := got.OwnerReferences
	if len(owners) != 1 || owners[0].UID != c.Node("n1").UID || owners[0].Kind != "Node" ||
		owners[0].Name != "n1" || owners[0].APIVersion != "v1" {
		t.Errorf("owners %+v", owners)
	}
	if s := got.Status; s.SessionsUp != "1/2" || len(s.Sessions) != 2 || s.RoutesRefused != 3 {
		t.Errorf("status %+v", s)
	}
	state.Status.Sessions, state.Status.RoutesRefused = state.Status.Sessions[:1], 0
	if s := write().Status; s.SessionsUp != "1/1" || len(s.Sessions) != 1 || s.RoutesRefused != 0 {
		t.Errorf("the changed status is %+v", s)
	}
	if n := e.Server.RequestCount(http.MethodPost, "/bgpnodestates"); n != 1 {
		t.Errorf("created %d times", n)
	}
	e.Store.Delete(fakecluster.BGPPath(v1alpha1.BGPNodeStatePlural, "n1"))
	if s := write().Status; s.SessionsUp != "1/1" {
		t.Errorf("after a deletion the status is %+v", s)
	}
	if owners := svc.NewNodeState("n2", nil).OwnerReferences; owners != nil {
		t.Errorf("the owners of a state of an unknown Node are %v", owners)
	}
}

// An API server refuses an object beyond the limits of its kind.
func TestNodeStateIsBounded(t *testing.T) {
	e := fakecluster.New(t)
	state := svc.NewNodeState("n1", nil)
	long := strings.Repeat("\u00e9\n", 2000)
	for range v1alpha1.MaxNodeSessions + 3 {
		s := session(long, v1alpha1.SessionIdle)
		s.Reason, s.Address, s.Interface, s.Since = long, long, long, metav1.Time{}
		s.Families = []v1alpha1.SessionFamily{{NextHop: long}, {}, {}}
		s.BFD = &v1alpha1.BFDSession{Diagnostic: long}
		state.Status.Sessions = append(state.Status.Sessions, s)
	}
	if err := svc.WriteNodeState(t.Context(), e.Router, state); err != nil {
		t.Fatal(err)
	}
	got, _ := nodeState(t, e, "n1")
	if len(got.Status.Sessions) != v1alpha1.MaxNodeSessions || got.Status.SessionsUp != "0/67" {
		t.Fatalf("%d sessions, %s", len(got.Status.Sessions), got.Status.SessionsUp)
	}
	s := got.Status.Sessions[0]
	for _, row := range []struct {
		text string
		most int
	}{
		{s.Reason, v1alpha1.MaxReasonLength}, {s.BFD.Diagnostic, v1alpha1.MaxReasonLength},
		{s.Peer, 253}, {s.Address, 64}, {s.Interface, 15}, {s.Families[0].NextHop, 64},
	} {
		if len(row.text) > row.most || len(row.text) < row.most/2 {
			t.Errorf("%d bytes, want at most %d: %q", len(row.text), row.most, row.text)
		}
	}
	if len(s.Families) != 2 || s.Since.IsZero() || strings.Contains(s.Reason, "\n") {
		t.Errorf("session %+v", s)
	}
	if len(state.Status.Sessions[0].Reason) != len(long) {
		t.Error("the caller's state was changed")
	}
}

// What only an administrator can change is one error, and does not make the credentials suspect.
func TestNodeStateThatCannotBeWritten(t *testing.T) {
	for _, row := range []struct {
		name   string
		deny   fakeapi.DenyRule
		absent bool
	}{
		{"no definition", fakeapi.DenyRule{Path: "/bgpnodestates", Code: http.StatusNotFound}, true},
		{"no right to patch", fakeapi.DenyRule{Method: http.MethodPatch, Path: "/bgpnodestates",
			Code: http.StatusForbidden}, true},
		{"no right to create", fakeapi.DenyRule{Method: http.MethodPost, Path: "/bgpnodestates",
			Code: http.StatusForbidden}, true},
		{"unavailable", fakeapi.DenyRule{Path: "/bgpnodestates",
			Code: http.StatusServiceUnavailable}, false},
	} {
		e := fakecluster.New(t)
		e.Server.Deny(row.deny)
		began := time.Now()
		err := svc.WriteNodeState(t.Context(), e.Router, svc.NewNodeState("n1", nil))
		if err == nil || errors.Is(err, svc.ErrNodeStateAbsent) != row.absent {
			t.Errorf("%s: %v", row.name, err)
		}
		if e.Log.Count("refuses these credentials") > 0 || time.Since(began) > 5*time.Second {
			t.Errorf("%s: after %v, log:\n%s", row.name, time.Since(began), e.Log)
		}
		e.Server.Deny()
		if err := svc.WriteNodeState(t.Context(), e.Router, svc.NewNodeState("n1", nil)); err != nil {
			t.Errorf("%s, later: %v", row.name, err)
		}
	}
}
