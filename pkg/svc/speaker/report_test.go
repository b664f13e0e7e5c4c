package speaker

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/placement"
)

func TestPage(t *testing.T) {
	r := newRig(t)
	r.serving()
	r.give(vip6, "b/web")
	r.turn()
	for query, want := range map[string]int{"": 2, "?name=a/web": 1, "?name=c/web": 0} {
		w := httptest.NewRecorder()
		r.agent.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/services"+query, nil))
		var got Report
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Header().Get("Content-Type") != "application/json" {
			t.Fatalf("%s: %v: %s", query, err, w.Body)
		}
		if len(got.Addresses) != want || got.Node != "me" || !got.Fresh || len(got.Alive) != 1 {
			t.Errorf("%s: %+v", query, got)
		}
		if want == 1 {
			a := got.Addresses[0]
			if a.Node != "me" || a.Link != "eth0" || a.State != "owned" || a.Since.IsZero() || a.Sentence == "" || len(a.Eligible) != 1 || a.Services[0] != "a/web" {
				t.Errorf("%s: %+v", query, a)
			}
		}
	}
}

// Why no node announces an address is told to the allocator, but not while nobody knows.
func TestPlacementSaysWhyNot(t *testing.T) {
	r := newRig(t)
	r.turn()
	if got, _ := r.agent.Placement(vip4); got.Reason != "" && !got.Announced() {
		t.Errorf("before anything: %q", got)
	}
	r.beat()
	r.links[0].Subnets = r.links[0].Subnets[1:] // no subnet for IPv4
	r.agent.readLinks()
	r.beat()
	r.give(vip4, "a/web")
	placed := r.agent.PlacementVersion()
	r.turn()
	if got, _ := r.agent.Placement(vip4); got.Reason != placement.ReasonNoSubnet || r.agent.PlacementVersion() == placed {
		t.Errorf("it says %q", got)
	}
	if got := r.agent.Report("a/web").Addresses[0]; got.Rejected["me"] == "" || got.Node != "" {
		t.Errorf("the page says %+v", got)
	}
	r.pass(frozenAfter + 1)
	r.turn()
	if got, _ := r.agent.Placement(vip4); got.Reason != "" && !got.Announced() {
		t.Errorf("with a stale view: %q", got)
	}
}

func TestNotReadySaysAllThatIsWrong(t *testing.T) {
	r := newRig(t)
	r.Server.Close()
	r.broken = errTest
	r.turn()
	r.Eventually("the catalogue notices", func() bool { return r.cat.Problem() != "" })
	if got := r.agent.NotReady(); !strings.Contains(got, "connection refused") || !strings.Contains(got, errTest.Error()) {
		t.Errorf("it says %q", got)
	}
}

// curl shows the page, and what it says is in part of other nodes and the API server.
func TestPageIsSafeForATerminal(t *testing.T) {
	r := newRig(t)
	r.turn()
	r.agent.mu.Lock()
	r.agent.shown.problem = "\x1b\u009b2J\u202e"
	r.agent.mu.Unlock()
	w := httptest.NewRecorder()
	r.agent.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/services", nil))
	if body := w.Body.String(); !strings.Contains(body, `\u001b\u009b2J\u202e`) {
		t.Errorf("the page is %q", body)
	}
}
