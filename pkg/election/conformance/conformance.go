package conformance

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/election"
)

// Run runs the suite. newEnv is called once for each test; what it starts it ends with
// t.Cleanup.
func Run(t *testing.T, newEnv func(t *testing.T) Env) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, env Env)
	}{
		{"CreateMakesAnEmptyLease", create},
		{"CreateDoesNotTouchWhatExists", createTwice},
		{"EveryFieldArrives", fields},
		{"WantAddsOneWish", want},
		{"OldVersionIsAConflict", conflict},
		{"MissingLeaseIsAConflict", missing},
		{"UnseenVersionIsNeverOverwritten", unseen},
		{"ReadIsNeverOld", quorum},
		{"WatchShowsWhatThereIsNot", watchNothing},
		{"WatchShowsDeletionAndRecreation", watchDeletion},
		{"ReleaseIsSeenByTheOther", watchRelease},
		{"ForeignAnnotationsSurvive", foreign},
		{"HistoryIsCapped", history},
		{"DeadlineEndsARequest", deadline},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newEnv(t)) })
	}
}

// E2, E3: what is created is held by nobody, so that everybody waits from it.
func create(t *testing.T, env Env) {
	one, _ := agents(t, env)
	if r := one.read(); r.Exists {
		t.Fatalf("there is a lease already: %+v", r)
	}
	r := one.must(election.Create, election.Record{}, election.Record{Term: 6, Duration: 7 * time.Second})
	if !r.Exists || r.Holder != "" || r.Term != 6 || r.Duration != 7*time.Second || r.Released != (election.Proof{}) {
		t.Errorf("created %+v", r)
	}
}

func createTwice(t *testing.T, env Env) {
	one, two := agents(t, env)
	held := one.holding()
	if got := two.write(election.Create, election.Record{}, election.Record{Duration: 5 * time.Second}); got.Outcome != election.OutcomeConflict {
		t.Errorf("creating what exists ended with outcome %d, want a conflict", got.Outcome)
	}
	if r := two.read(); r != held {
		t.Errorf("creating what exists changed %+v into %+v", held, r)
	}
}

// E3, E6, E9: what one agent writes is what the other reads, field by field.
func fields(t *testing.T, env Env) {
	one, two := agents(t, env)
	empty := one.must(election.Create, election.Record{}, election.Record{Duration: 5 * time.Second})
	var last election.Record
	for _, step := range []struct {
		kind election.Kind
		r    election.Record
	}{
		{election.Claim, election.Record{Holder: "one", Term: 1, Duration: 9 * time.Second, MAC: "02:00:00:00:00:01"}},
		{election.Renew, election.Record{Holder: "one", Term: 1, Duration: 9 * time.Second, MAC: "02:00:00:00:00:02", Degraded: "APIServerNotReady"}},
		{election.Renew, election.Record{Holder: "one", Term: 1, Duration: 8 * time.Second, MAC: "02:00:00:00:00:02"}},
		{election.Release, election.Record{Term: 1, Duration: 8 * time.Second, Released: election.Proof{Holder: "one", Term: 1, Reason: election.ReasonShutdown}}},
		{election.Claim, election.Record{Holder: "one", Term: 2, Duration: 5 * time.Second}}, // without the proof
	} {
		if last = one.must(step.kind, empty, step.r); last.Seq != one.seq-1 {
			t.Errorf("%s number %d is marked %d", step.kind, one.seq-1, last.Seq)
		}
		empty = last
		seen := two.read()
		if seen != last {
			t.Errorf("%s: one reads %+v, two reads %+v", step.kind, last, seen)
		}
		seen.Version, seen.Seq, seen.History, seen.Exists = 0, 0, "", false
		if seen != step.r {
			t.Errorf("%s: wrote %+v, read %+v", step.kind, step.r, seen)
		}
	}
}

// E6: a wish is not a sign of life: it leaves everything of the holder's alone.
func want(t *testing.T, env Env) {
	one, two := agents(t, env)
	tenure := one.tenure(1)
	tenure.Degraded = "APIServerNotReady"
	held := one.must(election.Renew, one.holding(), tenure)
	wish := two.read()
	wish.RequestedBy = "two"
	got := two.must(election.RequestTransfer, held, wish)
	wish.Version = got.Version
	if got != wish {
		t.Errorf("the wish made %+v, want %+v", got, wish)
	}
	if got = one.must(election.Renew, one.read(), one.tenure(1)); got.RequestedBy != "" || got.Degraded != "" {
		t.Errorf("the holder's renewal leaves the wish: %+v", got)
	}
}

// E2: of two writes on one version one is applied, and the other is told.
func conflict(t *testing.T, env Env) {
	one, two := agents(t, env)
	base := one.must(election.Create, election.Record{}, election.Record{Duration: 5 * time.Second})
	two.read()
	won := one.must(election.Claim, base, one.tenure(1))
	for _, kind := range []election.Kind{election.Claim, election.Renew, election.Release, election.RequestTransfer} {
		if got := two.write(kind, base, two.tenure(1)); got.Outcome != election.OutcomeConflict {
			t.Errorf("%s on an old version ended with outcome %d, want a conflict", kind, got.Outcome)
		}
	}
	if r := two.read(); r != won {
		t.Errorf("after the conflicts the lease is %+v, want %+v", r, won)
	}
}

// E2: what was deleted is not written to, and a read says that it is not there.
func missing(t *testing.T, env Env) {
	one, _ := agents(t, env)
	held := one.holding()
	byHand(t, "delete", env.Hand.Delete)
	for _, kind := range []election.Kind{election.Renew, election.Release, election.Claim} {
		if got := one.write(kind, held, one.tenure(1)); got.Outcome != election.OutcomeConflict {
			t.Errorf("%s of a deleted lease ended with outcome %d, want a conflict", kind, got.Outcome)
		}
	}
	if r := one.read(); r != (election.Record{}) {
		t.Errorf("a deleted lease reads as %+v", r)
	}
	again := one.must(election.Create, election.Record{}, election.Record{Term: 1, Duration: 5 * time.Second})
	if again.Version <= held.Version {
		t.Errorf("the lease that was created anew has version %d, the old one had %d", again.Version, held.Version)
	}
	if got := one.write(election.Renew, held, one.tenure(1)); got.Outcome != election.OutcomeConflict {
		t.Errorf("renewing on a version from before the deletion ended with outcome %d", got.Outcome)
	}
}

// E2: a version that this agent heard of elsewhere is no licence to overwrite another.
func unseen(t *testing.T, env Env) {
	one, two := agents(t, env)
	held := one.holding()
	for _, version := range []uint64{held.Version + 1, held.Version - 1, 0} {
		base := held
		base.Version = version
		if got := two.write(election.Claim, base, two.tenure(2)); got.Outcome != election.OutcomeConflict {
			t.Errorf("claim on version %d of a lease at %d ended with outcome %d, want a conflict", version, held.Version, got.Outcome)
		}
	}
	if r := two.read(); r != held {
		t.Errorf("the lease became %+v", r)
	}
}

// E9: a read sent after a write was answered shows it.
func quorum(t *testing.T, env Env) {
	one, two := agents(t, env)
	held := one.holding()
	for range 20 {
		held = one.must(election.Renew, held, one.tenure(1))
		if r := two.read(); r.Version < held.Version {
			t.Fatalf("read version %d after %d was written", r.Version, held.Version)
		}
	}
}

// An agent that starts before there is a lease knows it.
func watchNothing(t *testing.T, env Env) {
	one, two := agents(t, env)
	two.watch()
	absent := two.await("that there is no lease", func(r election.Record) bool { return !r.Exists })
	held := one.holding()
	seen := two.await("the claim", func(r election.Record) bool { return r.Holder == "one" })
	if seen != held || seen.Version <= absent.Version {
		t.Errorf("the watch shows %+v, want %+v, newer than %d", seen, held, absent.Version)
	}
}

// E3: a deletion is seen, and newer than what was deleted; so is what comes after.
func watchDeletion(t *testing.T, env Env) {
	one, two := agents(t, env)
	held := one.holding()
	two.watch()
	two.await("the holder", func(r election.Record) bool { return r.Version == held.Version })
	byHand(t, "delete", env.Hand.Delete)
	gone := two.await("the deletion", func(r election.Record) bool { return !r.Exists })
	if gone.Version <= held.Version {
		t.Errorf("the deletion has version %d, what was deleted %d", gone.Version, held.Version)
	}
	made := two.must(election.Create, gone, election.Record{Term: 1, Duration: 5 * time.Second})
	seen := two.await("what was created", func(r election.Record) bool { return r.Exists })
	if seen != made || seen.Version <= gone.Version {
		t.Errorf("the watch shows %+v, want %+v, newer than %d", seen, made, gone.Version)
	}
}

// E3: the proof reaches the other agent through its watch, which then takes over on that
// very version.
func watchRelease(t *testing.T, env Env) {
	one, two := agents(t, env)
	held := one.holding()
	two.watch()
	two.await("the holder", func(r election.Record) bool { return r.Holder == "one" })
	proof := election.Proof{Holder: "one", Term: 1, Reason: election.ReasonAPIDead}
	released := one.must(election.Release, held, election.Record{Term: 1, Duration: 5 * time.Second, Released: proof})
	seen := two.await("the release", func(r election.Record) bool { return r.Holder == "" })
	if seen != released || seen.Released != proof {
		t.Errorf("the watch shows %+v, want %+v", seen, released)
	}
	if got := two.write(election.Claim, seen, two.tenure(2)); got.Outcome != election.OutcomeOK {
		t.Errorf("the claim on what the watch showed ended with outcome %d", got.Outcome)
	}
}

// What others keep in the object is theirs.
func foreign(t *testing.T, env Env) {
	const key, value = "example.com/note", "left by hand"
	one, two := agents(t, env)
	held := one.holding()
	byHand(t, "annotate", func(ctx context.Context) error { return env.Hand.Annotate(ctx, key, value) })
	if got := one.write(election.Renew, held, one.tenure(1)); got.Outcome != election.OutcomeConflict {
		t.Errorf("a renewal that has not seen the annotation ended with outcome %d, want a conflict", got.Outcome)
	}
	held = one.must(election.Renew, one.read(), one.tenure(1))
	wish := two.read()
	wish.RequestedBy = "two"
	held = two.must(election.RequestTransfer, held, wish)
	one.read()
	held = one.must(election.Release, held, election.Record{Term: 1, Duration: 5 * time.Second})
	two.read()
	two.must(election.Claim, held, two.tenure(2))
	byHand(t, "read annotation", func(ctx context.Context) error {
		got, err := env.Hand.Annotation(ctx, key)
		if err == nil && got != value {
			err = fmt.Errorf("it is %q, want %q", got, value)
		}
		return err
	})
}

// The history tells of the last changes of holder, and the object does not grow for ever.
func history(t *testing.T, env Env) {
	one, _ := agents(t, env)
	held := one.holding()
	counts := map[int]int{}
	for term := int64(2); term <= 40; term++ {
		held = one.must(election.Claim, held, one.tenure(term))
		counts[env.Transitions(held.History)]++
		if renewed := one.must(election.Renew, held, one.tenure(term)); renewed.History != held.History {
			t.Fatalf("a renewal changed the history from %s to %s", held.History, renewed.History)
		} else {
			held = renewed
		}
	}
	most := env.Transitions(held.History)
	if most < 2 || most > 20 || counts[most] < 10 {
		t.Errorf("after 40 changes of holder the history tells of %d", most)
	}
}

// A request returns by its deadline, and says that it failed.
func deadline(t *testing.T, env Env) {
	one, _ := agents(t, env)
	held := one.holding()
	past := one.env.Now() - time.Second
	ev := one.driver.Do(t.Context(), election.Action{Kind: election.Renew, Seq: 77, Base: held, Record: one.tenure(1), Deadline: past})
	if got, ok := ev.(election.Written); !ok || got.Seq != 77 || got.Outcome != election.OutcomeFailed {
		t.Errorf("a write after its deadline answered %+v", ev)
	}
	ev = one.driver.Do(t.Context(), election.Action{Kind: election.Read, Seq: 78, Deadline: past})
	if got, ok := ev.(election.ReadDone); !ok || got.Seq != 78 || got.OK {
		t.Errorf("a read after its deadline answered %+v", ev)
	}
}

func byHand(t *testing.T, what string, do func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := do(ctx); err != nil {
		t.Fatalf("%s by hand: %v", what, err)
	}
}
