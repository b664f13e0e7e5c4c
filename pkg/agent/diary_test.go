package agent

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/election"
)

// TestTransitionsAreTold to the cluster, the log and the metrics, once each.
func TestTransitionsAreTold(t *testing.T) {
	play(t, func(r *rig) {
		r.released()
		r.pass(3 * time.Second)
		if n := len(r.events); n != 1 {
			t.Fatalf("%d Events were posted, want 1", n)
		}
		ev := <-r.events
		if want := "10.0.0.100,fd00::100 moved from node-b to node-a: node-b says that the agent is shutting down"; ev.Message != want {
			t.Errorf("the Event says %q, want %q", ev.Message, want)
		}
		r.send(election.Link{})
		if !r.logged("level=INFO", "holding the address", "link=eth0", "reason=Released") ||
			!r.logged("level=WARN", "gave the address up", "LinkDown: the link cannot carry the address") {
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
			t.Error("leaving is told by the one that takes over, not by the one that leaves")
		}
	})
}

// TestTheFirstClaimIsNoFailover: nobody had the address before, and the claim waits for a whole lease.
func TestTheFirstClaimIsNoFailover(t *testing.T) {
	play(t, func(r *rig) {
		r.pass(2 * lease)
		page := scrape(t, r.metrics)
		for _, line := range []string{`kvip_transitions_total{reason="Expired"} 1`, "kvip_failover_duration_seconds_count 0"} {
			if !strings.Contains(page, line+"\n") {
				t.Errorf("no metric %s in\n%s", line, page)
			}
		}
	})
}

// TestFenceExpiryIsCounted, and that this node regains the lease is no fail-over.
func TestFenceExpiryIsCounted(t *testing.T) {
	play(t, func(r *rig) {
		r.hold()
		r.lease.setDown(true)
		r.pass(lease)
		r.lease.setDown(false)
		r.pass(4 * time.Second)
		page := scrape(t, r.metrics)
		for _, line := range []string{
			"kvip_fence_expiries_total 1", `kvip_transitions_total{reason="Regained"} 1`, "kvip_failover_duration_seconds_count 1",
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

// TestTwin is another machine under this node's name: said clearly, once it is seen to live.
// Its lease from before a reboot of this machine looks the same and is no reason to worry (E8).
func TestTwin(t *testing.T) {
	const twinID = "node-a_boot_9"
	renew := func(r *rig) {
		r.pass(time.Second)
		r.edit(func(l *election.Record) { l.Holder, l.Term, l.Seq = twinID, 7, l.Seq+1 })
	}
	alarm := []string{"level=ERROR", "under this node's name", "held by " + twinID}
	t.Run("Alive", func(t *testing.T) {
		play(t, func(r *rig) {
			renew(r)
			renew(r)
			if !r.logged(alarm...) || !r.l.twin.Load() {
				t.Error("nobody is told")
			}
			r.log.take()
			renew(r)
			if r.logged(alarm...) {
				t.Error("told again")
			}
			r.edit(func(l *election.Record) { l.Holder, l.Term = other, 8 })
			if r.l.twin.Load() {
				t.Error("another node holds and the alarm stands")
			}
		})
	})
	t.Run("FromBeforeAReboot", func(t *testing.T) {
		play(t, func(r *rig) {
			renew(r)
			r.pass(lease + time.Second)
			r.want(election.Holding)
			if r.logged(alarm...) {
				t.Error("a false alarm")
			}
		})
	})
}

func TestTransitionEvent(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	claim := election.Action{Record: election.Record{Holder: self}, Reason: election.ReasonExpired}
	for from, want := range map[string]string{
		other:  "10.0.0.100 moved from node-b to node-a: the lease had not changed for its whole duration",
		"":     "10.0.0.100 moved from nobody to node-a: the lease had not changed for its whole duration",
		"mine": "10.0.0.100 moved from mine to node-a: the lease had not changed for its whole duration",
	} {
		claim.PreviousHolder = from
		if got := transitionEvent("kube-system", "kvip", "10.0.0.100", claim, now).Message; got != want {
			t.Errorf("from %q: %q, want %q", from, got, want)
		}
	}
	ev := transitionEvent("kube-system", "kvip", "10.0.0.100", claim, now)
	about := corev1.ObjectReference{APIVersion: "coordination.k8s.io/v1", Kind: "Lease", Namespace: "kube-system", Name: "kvip"}
	if ev.InvolvedObject != about || ev.Namespace != about.Namespace || !strings.HasPrefix(ev.Name, "kvip.") {
		t.Errorf("the Event %s/%s is about %+v", ev.Namespace, ev.Name, ev.InvolvedObject)
	}
	if ev.Reason != "Expired" || ev.Type != corev1.EventTypeNormal || ev.Source.Host != "node-a" || !ev.FirstTimestamp.Time.Equal(now) || ev.Count != 1 {
		t.Errorf("%+v", ev)
	}
}

// TestTransitionEventIsSafeForATerminal: the name and the reason of the last holder are from the Lease.
func TestTransitionEventIsSafeForATerminal(t *testing.T) {
	claim := election.Action{Record: election.Record{Holder: self}, PreviousHolder: "\u009b2Jnode-b\n_x", Reason: "\x1b[31m" + election.Reason(strings.Repeat("x", 4000))}
	ev := transitionEvent("kube-system", "kvip", "10.0.0.100", claim, time.Now())
	if ev.Reason != "Released" || len(ev.Message) > 1024 || !strings.HasPrefix(ev.Message, `10.0.0.100 moved from \u009b2Jnode-b\n to node-a: `) ||
		strings.ContainsFunc(ev.Message, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("%q: %q", ev.Reason, ev.Message)
	}
}

func TestVIPs(t *testing.T) {
	if got := vips(nil) + ";" + vips([]netip.Addr{vip4}) + ";" + vips([]netip.Addr{vip4, vip6}); got != ";10.0.0.100;10.0.0.100,fd00::100" {
		t.Error(got)
	}
}

// TestEventThatCannotBePosted is told and delays nothing but the end, and that within a bound.
func TestEventThatCannotBePosted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.l.post = func(ctx context.Context, _ *corev1.Event) error { <-ctx.Done(); return ctx.Err() }
		began := time.Now()
		r.l.reportTransition(election.Action{})
		r.l.requests.Wait()
		if took := time.Since(began); took != eventTimeout {
			t.Errorf("given up after %v", took)
		}
		if !r.logged("level=WARN", "cannot post an Event") || !strings.Contains(scrape(t, r.metrics), `kvip_api_errors_total{code="Timeout",resource="events",verb="create"} 1`) {
			t.Error("nobody is told")
		}
	})
}
