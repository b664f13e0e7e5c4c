package speaker

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/placement"
)

// get returns the page for a query.
func get(t *testing.T, f *fixture, query string) (r Report, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	f.speaker.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/services"+query, nil))
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
		t.Fatalf("%s: %v: %s", query, err, w.Body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("the page is %s", got)
	}
	return r, w.Body.String()
}

func TestPage(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.assign(vip6, "b/web")
	f.reconcile()
	for query, want := range map[string]int{"": 2, "?name=a/web": 1, "?name=c/web": 0} {
		got, _ := get(t, f, query)
		if len(got.Addresses) != want || got.Node != "me" || !got.Fresh || len(got.Alive) != 1 {
			t.Errorf("%s: %+v", query, got)
		}
		for _, a := range got.Addresses {
			if a.Node != "me" || a.Link != "eth0" || !a.Present || a.State != "owned" ||
				a.Since.IsZero() || a.Sentence == "" || len(a.Services) != 1 {
				t.Errorf("%s: %+v", query, a)
			}
			if explained := len(a.Eligible) == 1; explained != (query != "") {
				t.Errorf("%s: eligible %v, rejected %v", query, a.Eligible, a.Rejected)
			}
		}
	}
	got, _ := get(t, f, "")
	if got.Addresses[0].Address != vip4 || got.Addresses[1].Address != vip6 {
		t.Errorf("the order is %v, %v", got.Addresses[0].Address, got.Addresses[1].Address)
	}
}

// Since is when this node got the address, in wall-clock time.
func TestPageTellsSinceWhen(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.advance(2 * time.Second)
	got, _ := get(t, f, "")
	age := time.Since(got.Addresses[0].Since)
	if age < 2*time.Second || age > 30*time.Second {
		t.Errorf("owned for %v, want 2s", age)
	}
}

// The allocator learns why no node announces an address, but only from a fresh view.
func TestPlacementOfAnAddressWithoutANode(t *testing.T) {
	f := newFixture(t)
	f.reconcile()
	before, reason := f.speaker.Placement(vip4)
	if !reflect.DeepEqual(before, placement.Decision{}) || reason != "" {
		t.Errorf("before the first view: %+v, %q", before, reason)
	}
	f.renew()
	f.links[0].Subnets = f.links[0].Subnets[1:] // no subnet for IPv4
	f.speaker.readLinks()
	f.renew()
	f.assign(vip4, "a/web")
	version := f.speaker.PlacementVersion()
	f.reconcile()
	got, why := f.speaker.Placement(vip4)
	if got.Reason != placement.ReasonNoSubnet || why != got.Reason.Sentence() {
		t.Errorf("placement %+v, %q", got, why)
	}
	if f.speaker.PlacementVersion() == version {
		t.Error("the version of the placement did not change")
	}
	if got := f.speaker.Report("a/web").Addresses[0]; got.Rejected["me"] == "" || got.Node != "" {
		t.Errorf("report %+v", got)
	}
	f.advance(pausedAfter + 1)
	f.reconcile()
	if got, _ := f.speaker.Placement(vip4); !reflect.DeepEqual(got, placement.Decision{}) {
		t.Errorf("with a stale view: %+v", got)
	}
}

// S2: with a stale view the report has the decisions of the last fresh one.
func TestReportWithAStaleView(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.advanceRunning(time.Minute)
	f.reconcile()
	got := f.speaker.Report("")
	if got.Fresh || len(got.Addresses) != 1 || got.Addresses[0].Node != "me" {
		t.Errorf("report %+v", got)
	}
}

func TestNotReadyHasAllProblems(t *testing.T) {
	f := newFixture(t)
	f.Server.Close()
	f.linksErr = errTest
	f.reconcile()
	f.Eventually("the cache has a problem", func() bool { return f.cache.Problem() != "" })
	got := f.notReady()
	if !strings.Contains(got, "connection refused") || !strings.Contains(got, errTest.Error()) {
		t.Errorf("not ready: %q", got)
	}
}

// People look at the page with curl, and parts of it come from other nodes and the API server.
func TestPageIsSafeForATerminal(t *testing.T) {
	f := newFixture(t)
	f.reconcile()
	f.speaker.page.problem = "\x1b\u009b2J\u202e"
	if _, body := get(t, f, ""); !strings.Contains(body, `\u001b\u009b2J\u202e`) {
		t.Errorf("the page is %q", body)
	}
}

func TestJoinTexts(t *testing.T) {
	for want, texts := range map[string][]string{
		"": {"", ""}, "a": {"", "a", ""}, "a; b": {"a", "", "b"},
	} {
		if got := joinTexts(texts...); got != want {
			t.Errorf("%q: %q, want %q", texts, got, want)
		}
	}
}
