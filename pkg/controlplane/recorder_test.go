package controlplane

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/reporter"
)

// TestTransitionsAreRecorded as an Event, in the log and in metrics, once each.
func TestTransitionsAreRecorded(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.released()
		r.pass(3 * time.Second)
		if n := len(r.events); n != 1 {
			t.Fatalf("%d Events were created, want 1", n)
		}
		ev := <-r.events
		if want := "10.0.0.100,fd00::100 moved from node-b to node-a: node-b reports that the agent is " +
			"shutting down"; ev.Message != want {
			t.Errorf("the Event is %q, want %q", ev.Message, want)
		}
		r.send(election.Link{})
		if !r.logged("level=INFO", "holding the VIP", "link=eth0", "reason=Released") ||
			!r.logged("level=WARN", "stopped holding the VIP",
				"LinkDown: the link cannot carry the address") {
			t.Errorf("logged %s", r.log.take())
		}
		page := scrape(t, r.metrics)
		for _, line := range []string{
			`kvip_transitions_total{reason="Released"} 1`, `kvip_transitions_total{reason="LinkDown"} 1`,
			`kvip_failover_duration_seconds_count 1`, `kvip_renewals_total{result="ok"} 3`,
			`kvip_holder{vip="10.0.0.100"} 0`, `kvip_lease_term 2`, `kvip_degraded 0`,
		} {
			if !strings.Contains(page, line+"\n") {
				t.Errorf("no metric %s", line)
			}
		}
		if len(r.events) != 0 {
			t.Error("the node that leaves created an Event")
		}
	})
}

// TestFastFailoverIsRecorded: a claim of mode fast is an Event and a fail-over too. The loop does
// not run, so that the recorder belongs to the test's goroutine.
func TestFastFailoverIsRecorded(t *testing.T) {
	for _, reason := range []election.Reason{election.ReasonSilent, election.ReasonGoodbye} {
		synctest.Test(t, func(t *testing.T) {
			r := newTestLoop(t)
			claim := election.Action{Kind: election.Claim, Reason: reason, LastHolder: other}
			r.l.recorder.recordClaim(claim, time.Hour)
			r.l.recorder.recordAcquired(election.Status{Reason: reason}, time.Hour+400*time.Millisecond)
			r.l.recorder.posts.Wait()
			page := scrape(t, r.metrics)
			if len(r.events) != 1 ||
				!strings.Contains(page, "kvip_failover_duration_seconds_sum 0.4\n") {
				t.Errorf("%s: %d Events, metrics\n%s", reason, len(r.events), page)
			}
		})
	}
}

// TestFirstClaimIsNotAFailover: no node had the address before, and the claim waits for a whole
// lease.
func TestFirstClaimIsNotAFailover(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.pass(2 * lease)
		page := scrape(t, r.metrics)
		for _, line := range []string{`kvip_transitions_total{reason="Expired"} 1`,
			"kvip_failover_duration_seconds_count 0"} {
			if !strings.Contains(page, line+"\n") {
				t.Errorf("no metric %s in\n%s", line, page)
			}
		}
	})
}

// TestFenceExpiryIsCounted: this node regains the lease, which is not a fail-over.
func TestFenceExpiryIsCounted(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.hold()
		r.lease.setDown(true)
		r.pass(lease)
		r.lease.setDown(false)
		r.pass(4 * time.Second)
		page := scrape(t, r.metrics)
		for _, line := range []string{
			"kvip_fence_expiries_total 1", `kvip_transitions_total{reason="Regained"} 1`,
			"kvip_failover_duration_seconds_count 1",
		} {
			if !strings.Contains(page, line+"\n") {
				t.Errorf("no metric %s", line)
			}
		}
		if n := len(r.events); n != 1 {
			t.Errorf("%d Events for one change of holder", n)
		}
	})
}

// TestE8DuplicateNode is another host under this node's name. It is reported when it renews. A
// lease from before a reboot of this machine looks the same and does not renew.
func TestE8DuplicateNode(t *testing.T) {
	const duplicateID = "node-a_boot_9"
	renew := func(r *testLoop) {
		r.pass(time.Second)
		r.edit(func(l *election.Record) { l.Holder, l.Term, l.Seq = duplicateID, 7, l.Seq+1 })
	}
	alarm := []string{"level=ERROR", "under this node's name", "held by " + duplicateID}
	t.Run("Alive", func(t *testing.T) {
		withLoop(t, func(r *testLoop) {
			renew(r)
			renew(r)
			if !r.logged(alarm...) || !r.l.recorder.duplicate {
				t.Error("not reported")
			}
			r.log.take()
			renew(r)
			if r.logged(alarm...) {
				t.Error("logged again")
			}
			r.edit(func(l *election.Record) { l.Holder, l.Term = other, 8 })
			if r.l.recorder.duplicate {
				t.Error("another node holds and the duplicate is still reported")
			}
		})
	})
	t.Run("FromBeforeAReboot", func(t *testing.T) {
		withLoop(t, func(r *testLoop) {
			renew(r)
			r.pass(lease + time.Second)
			r.want(election.Holding)
			if r.logged(alarm...) {
				t.Error("a false report")
			}
		})
	})
}

func TestTransitionEvent(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	claim := election.Action{Record: election.Record{Holder: self}, Reason: election.ReasonExpired}
	for from, want := range map[string]string{
		other: "10.0.0.100 moved from node-b to node-a: the lease had not changed for its whole duration",
		"": "10.0.0.100 moved from no node to node-a: the lease had not changed for its whole " +
			"duration",
		"mine": "10.0.0.100 moved from mine to node-a: the lease had not changed for its whole duration",
	} {
		claim.LastHolder = from
		if got := transitionEvent("kube-system", "kvip", "10.0.0.100", claim, now).Message; got != want {
			t.Errorf("from %q: %q, want %q", from, got, want)
		}
	}
	claim.LastHolder = other
	for reason, want := range map[election.Reason]string{
		election.ReasonSilent:   "a majority of the agents no longer heard the last holder",
		election.ReasonGoodbye:  "the last holder's term was over",
		election.ReasonShutdown: "node-b reports that the agent is shutting down",
	} {
		claim.Reason = reason
		got := transitionEvent("kube-system", "kvip", "10.0.0.100", claim, now).Message
		if want = "10.0.0.100 moved from node-b to node-a: " + want; got != want {
			t.Errorf("for %s: %q, want %q", reason, got, want)
		}
	}
	claim.Reason = election.ReasonExpired
	ev := transitionEvent("kube-system", "kvip", "10.0.0.100", claim, now)
	about := corev1.ObjectReference{APIVersion: "coordination.k8s.io/v1", Kind: "Lease",
		Namespace: "kube-system", Name: "kvip"}
	if ev.InvolvedObject != about || ev.Namespace != about.Namespace ||
		!strings.HasPrefix(ev.Name, "kvip.") {
		t.Errorf("the Event %s/%s is about %+v", ev.Namespace, ev.Name, ev.InvolvedObject)
	}
	if ev.Reason != "Expired" || ev.Type != corev1.EventTypeNormal || ev.Source.Host != "node-a" ||
		!ev.FirstTimestamp.Time.Equal(now) || ev.Count != 1 {
		t.Errorf("%+v", ev)
	}
}

// TestTransitionEventIsSafeForATerminal: name and reason of the last holder are text from the
// Lease.
func TestTransitionEventIsSafeForATerminal(t *testing.T) {
	claim := election.Action{Record: election.Record{Holder: self},
		LastHolder: "\u009b2Jnode-b\n_x", Reason: "\x1b[31m" +
			election.Reason(strings.Repeat("x", 4000))}
	ev := transitionEvent("kube-system", "kvip", "10.0.0.100", claim, time.Now())
	if ev.Reason != "Released" || len(ev.Message) > 1024 ||
		!strings.HasPrefix(ev.Message, `10.0.0.100 moved from \u009b2Jnode-b\n to node-a: `) ||
		strings.ContainsFunc(ev.Message, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("%q: %q", ev.Reason, ev.Message)
	}
}

// TestFailedEvent is logged, and delays only the shutdown, within a limit.
func TestFailedEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestLoop(t)
		r.l.recorder.createEvent = func(ctx context.Context,
			_ *corev1.Event) error {
			<-ctx.Done()
			return ctx.Err()
		}
		began := time.Now()
		r.l.recorder.postTransition(election.Action{})
		r.l.recorder.posts.Wait()
		if took := time.Since(began); took != eventTimeout {
			t.Errorf("cancelled after %v", took)
		}
		if !r.logged("level=WARN", "cannot create an Event") {
			t.Error("the failure is not logged")
		}
		r.did("failed create-event: context deadline exceeded")
	})
}

// TestShutdownIsLoggedAsInfo: an agent that is ended on purpose does not warn.
func TestShutdownIsLoggedAsInfo(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.hold()
		r.send(election.Shutdown{})
		r.pass(time.Second)
		if !r.logged("level=INFO", "stopped holding the VIP", "Shutdown: ") {
			t.Errorf("logged %s", r.log.take())
		}
	})
}

// TestReport has every state of the election loop, as /readyz shows it.
func TestReport(t *testing.T) {
	standby := func(reason election.Reason) election.Status {
		return election.Status{State: election.Standby, Reason: reason, Holder: other}
	}
	held := election.Status{State: election.Holding, Owned: true, Holder: self}
	degraded := held
	degraded.Degraded = string(election.ReasonAPIServerSlow)
	acquiring := held
	acquiring.Owned, acquiring.Reason = false, election.ReasonReleased
	leaving := election.Status{State: election.Leaving, Reason: election.ReasonShutdown, Holder: self}
	for _, c := range []struct {
		name   string
		now    election.Status
		probe  string // reason of the health probe
		double bool   // a duplicate node holds
		state  reporter.State
		want   string
	}{
		{"Holder", held, "", false, reporter.OK, ""},
		{"DegradedHolder", degraded, "slow", false, reporter.Impaired,
			election.ReasonAPIServerSlow.Sentence()},
		{"HolderWithoutAddress", acquiring, "", false, reporter.Stopped, "Released: "},
		{"Follower", standby(election.ReasonHeldByOther), "", false, reporter.OK, ""},
		{"Waiting", standby(election.ReasonWaitingForExpiry), "", false, reporter.OK, ""},
		{"Duplicate", standby(election.ReasonHeldByOther), "", true, reporter.Stopped,
			"under this node's name: " + other},
		{"LinkDown", standby(election.ReasonLinkDown), "", false, reporter.Stopped,
			"LinkDown: the link cannot carry the address"},
		{"DeadAPIServer", standby(election.ReasonAPIServerDead), "nothing listens on 127.0.0.1:6443",
			false,
			reporter.Stopped, "APIServerDead: the API server of this node is dead " +
				"(nothing listens on 127.0.0.1:6443)"},
		{"Leaving", leaving, "", false, reporter.Stopped, "Shutdown: the agent is shutting down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			health := reporter.NewRegistry(nil)
			r := &recorder{health: health.Component("loop"), probe: health.Component("probe")}
			r.probe.Impaired(c.probe)
			r.duplicate = c.double
			r.report(c.now)
			state, reason := r.health.Status()
			if state != c.state || !strings.Contains(reason, c.want) || (reason == "") != (c.want == "") {
				t.Errorf("%v %q, want %v %q", state, reason, c.state, c.want)
			}
		})
	}
}

// TestE12LoopHeartbeat: each step sends one, and the loop steps at least every tick.
func TestE12LoopHeartbeat(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		loop := r.health.Component("election loop")
		loop.SetTimeout(election.TickPeriod + time.Millisecond)
		for range 600 {
			r.pass(election.TickPeriod)
			if stuck := r.health.Stuck(); stuck != "" {
				t.Fatal(stuck)
			}
		}
	})
}
