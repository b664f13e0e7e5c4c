package conformance

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/election"
)

// Run runs the suite. It calls newEnv once for each test. What newEnv starts, it ends with
// t.Cleanup.
func Run(t *testing.T, newEnv func(t *testing.T) Env) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, env Env)
	}{
		{"CreateMakesAnEmptyLease", create},
		{"CreateRefusesAnExistingLease", createTwice},
		{"FieldsArriveUnchanged", fields},
		{"TransferRequestChangesNothingElse", transfer},
		{"OldVersionIsAConflict", conflict},
		{"MissingLeaseIsAConflict", missing},
		{"UnseenVersionIsNeverOverwritten", unseenVersion},
		{"ReadIsNeverOld", quorumRead},
		{"WatchShowsAMissingLease", watchMissing},
		{"WatchShowsDeletionAndCreation", watchDeletion},
		{"WatchShowsTheProof", watchRelease},
		{"ForeignAnnotationsSurvive", foreignAnnotations},
		{"HistoryIsLimited", history},
		{"DeadlineEndsARequest", requestDeadline},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newEnv(t)) })
	}
}

// E2, E3: a created Lease has no holder, so that all nodes wait from it.
func create(t *testing.T, env Env) {
	one, _ := twoAgents(t, env)
	if r := one.read(); r.Exists {
		t.Fatalf("the Lease exists already: %+v", r)
	}
	got := one.create(election.Record{Term: 6, Duration: 7 * time.Second})
	want := election.Record{
		Exists: true, Term: 6, Duration: 7 * time.Second,
		Version: got.Version, Seq: got.Seq, History: got.History,
	}
	if got != want {
		t.Errorf("created %+v, want %+v", got, want)
	}
}

func createTwice(t *testing.T, env Env) {
	one, two := twoAgents(t, env)
	held := one.holding()
	two.mustConflict(election.Create, election.Record{}, election.Record{Duration: 5 * time.Second})
	if r := two.read(); r != held {
		t.Errorf("the refused creation changed %+v to %+v", held, r)
	}
}

// E3, E6, E9: one agent reads each field as the other wrote it.
func fields(t *testing.T, env Env) {
	one, two := twoAgents(t, env)
	base := one.create(election.Record{Duration: 5 * time.Second})
	const mac1, mac2 = "02:00:00:00:00:01", "02:00:00:00:00:02"
	proof := election.Proof{Holder: "one", Term: 1, Reason: election.ReasonShutdown}
	for _, step := range []struct {
		kind election.Kind
		r    election.Record
	}{
		{election.Claim, election.Record{Holder: "one", Term: 1, Duration: 9 * time.Second, MAC: mac1}},
		{election.Renew, election.Record{
			Holder: "one", Term: 1, Duration: 9 * time.Second, MAC: mac2, Degraded: "APIServerSlow",
			Latency: 2 * time.Second, SlowMoves: 3,
		}},
		{election.Renew, election.Record{Holder: "one", Term: 1, Duration: 8 * time.Second, MAC: mac2}},
		{election.Release, election.Record{Term: 1, Duration: 8 * time.Second, Released: proof}},
		// The next claim removes the proof.
		{election.Claim, election.Record{Holder: "one", Term: 2, Duration: 5 * time.Second}},
	} {
		last := one.mustWrite(step.kind, base, step.r)
		if last.Seq != one.seq-1 {
			t.Errorf("%s number %d is marked %d", step.kind, one.seq-1, last.Seq)
		}
		base = last
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

// E6: a transfer request is not a sign of life of the holder. It changes none of the holder's
// fields.
func transfer(t *testing.T, env Env) {
	one, two := twoAgents(t, env)
	tenure := one.tenure(1)
	tenure.Degraded = "APIServerNotReady"
	held := one.mustWrite(election.Renew, one.holding(), tenure)
	request := two.read()
	request.RequestedBy, request.RequestedLatency = "two", 3*time.Millisecond
	got := two.mustWrite(election.RequestTransfer, held, request)
	request.Version = got.Version
	if got != request {
		t.Errorf("the request made %+v, want %+v", got, request)
	}
	got = one.mustWrite(election.Renew, one.read(), one.tenure(1))
	if got.RequestedBy != "" || got.RequestedLatency != 0 || got.Degraded != "" {
		t.Errorf("the holder's renewal keeps the request: %+v", got)
	}
}

// E2: of two writes on one version, one is applied and the other is a conflict.
func conflict(t *testing.T, env Env) {
	one, two := twoAgents(t, env)
	base := one.create(election.Record{Duration: 5 * time.Second})
	two.read()
	won := one.mustWrite(election.Claim, base, one.tenure(1))
	for _, kind := range []election.Kind{
		election.Claim, election.Renew, election.Release, election.RequestTransfer,
	} {
		two.mustConflict(kind, base, two.tenure(1))
	}
	if r := two.read(); r != won {
		t.Errorf("after the conflicts the Lease is %+v, want %+v", r, won)
	}
}

// E2: a deleted Lease is not written, and a read shows that it does not exist.
func missing(t *testing.T, env Env) {
	one, _ := twoAgents(t, env)
	held := one.holding()
	edit(t, "delete", env.Editor.Delete)
	for _, kind := range []election.Kind{election.Renew, election.Release, election.Claim} {
		one.mustConflict(kind, held, one.tenure(1))
	}
	if r := one.read(); r != (election.Record{}) {
		t.Errorf("a deleted Lease reads as %+v", r)
	}
	again := one.create(election.Record{Term: 1, Duration: 5 * time.Second})
	if again.Version <= held.Version {
		t.Errorf("the Lease that was created again has version %d, the old one had %d",
			again.Version, held.Version)
	}
	one.mustConflict(election.Renew, held, one.tenure(1)) // on a version from before the deletion
}

// E2: a version that this driver has not seen is never overwritten.
func unseenVersion(t *testing.T, env Env) {
	one, two := twoAgents(t, env)
	held := one.holding()
	for _, version := range []uint64{held.Version + 1, held.Version - 1, 0} {
		base := held
		base.Version = version
		two.mustConflict(election.Claim, base, two.tenure(2))
	}
	if r := two.read(); r != held {
		t.Errorf("the Lease became %+v", r)
	}
}

// E9: a read that was sent after the answer to a write shows that write.
func quorumRead(t *testing.T, env Env) {
	one, two := twoAgents(t, env)
	held := one.holding()
	for range 20 {
		held = one.mustWrite(election.Renew, held, one.tenure(1))
		if r := two.read(); r.Version < held.Version {
			t.Fatalf("read version %d after %d was written", r.Version, held.Version)
		}
	}
}

// A driver that starts without a Lease delivers that there is none.
func watchMissing(t *testing.T, env Env) {
	one, two := twoAgents(t, env)
	two.watch()
	absent := two.await("that there is no Lease", func(r election.Record) bool { return !r.Exists })
	held := one.holding()
	seen := two.await("the claim", func(r election.Record) bool { return r.Holder == "one" })
	if seen != held || seen.Version <= absent.Version {
		t.Errorf("the watch shows %+v, want %+v, newer than %d", seen, held, absent.Version)
	}
}

// E3: the watch shows a deletion, as newer than the deleted version, and the next creation.
func watchDeletion(t *testing.T, env Env) {
	one, two := twoAgents(t, env)
	held := one.holding()
	two.watch()
	two.await("the holder", func(r election.Record) bool { return r.Version == held.Version })
	edit(t, "delete", env.Editor.Delete)
	gone := two.await("the deletion", func(r election.Record) bool { return !r.Exists })
	if gone.Version <= held.Version {
		t.Errorf("the deletion has version %d, the deleted Lease %d", gone.Version, held.Version)
	}
	content := election.Record{Term: 1, Duration: 5 * time.Second}
	created := two.mustWrite(election.Create, gone, content)
	seen := two.await("the creation", func(r election.Record) bool { return r.Exists })
	if seen != created || seen.Version <= gone.Version {
		t.Errorf("the watch shows %+v, want %+v, newer than %d", seen, created, gone.Version)
	}
}

// E3: the other agent's watch shows the proof, and that version can be claimed.
func watchRelease(t *testing.T, env Env) {
	one, two := twoAgents(t, env)
	held := one.holding()
	two.watch()
	two.await("the holder", func(r election.Record) bool { return r.Holder == "one" })
	proof := election.Proof{Holder: "one", Term: 1, Reason: election.ReasonAPIServerDead}
	released := one.mustWrite(election.Release, held,
		election.Record{Term: 1, Duration: 5 * time.Second, Released: proof})
	seen := two.await("the release", func(r election.Record) bool { return r.Holder == "" })
	if seen != released || seen.Released != proof {
		t.Errorf("the watch shows %+v, want %+v", seen, released)
	}
	if got := two.write(election.Claim, seen, two.tenure(2)); got.Outcome != election.OutcomeOK {
		t.Errorf("the claim on the version of the watch: outcome %d", got.Outcome)
	}
}

// Annotations of other programs survive each kind of write.
func foreignAnnotations(t *testing.T, env Env) {
	const key, value = "example.com/note", "written by another program"
	one, two := twoAgents(t, env)
	held := one.holding()
	edit(t, "annotate", func(ctx context.Context) error {
		return env.Editor.Annotate(ctx, key, value)
	})
	one.mustConflict(election.Renew, held, one.tenure(1)) // it has not seen the annotation
	held = one.mustWrite(election.Renew, one.read(), one.tenure(1))
	request := two.read()
	request.RequestedBy = "two"
	held = two.mustWrite(election.RequestTransfer, held, request)
	one.read()
	held = one.mustWrite(election.Release, held, election.Record{Term: 1, Duration: 5 * time.Second})
	two.read()
	two.mustWrite(election.Claim, held, two.tenure(2))
	edit(t, "read annotation", func(ctx context.Context) error {
		got, err := env.Editor.Annotation(ctx, key)
		if err == nil && got != value {
			err = fmt.Errorf("%q, want %q", got, value)
		}
		return err
	})
}

// The history lists the last changes of holder, and does not grow without a limit.
func history(t *testing.T, env Env) {
	one, _ := twoAgents(t, env)
	held := one.holding()
	counts := map[int]int{}
	for term := int64(2); term <= 40; term++ {
		held = one.mustWrite(election.Claim, held, one.tenure(term))
		counts[env.Transitions(held.History)]++
		renewed := one.mustWrite(election.Renew, held, one.tenure(term))
		if renewed.History != held.History {
			t.Fatalf("a renewal changed the history from %s to %s", held.History, renewed.History)
		}
		held = renewed
	}
	most := env.Transitions(held.History)
	if most < 2 || most > 20 || counts[most] < 10 {
		t.Errorf("after 40 changes of holder the history lists %d", most)
	}
}

// A request whose deadline has passed fails at once.
func requestDeadline(t *testing.T, env Env) {
	one, _ := twoAgents(t, env)
	held := one.holding()
	past := one.env.Now() - time.Second
	ev := one.driver.Execute(t.Context(), election.Action{
		Kind: election.Renew, Seq: 77, Base: held, Record: one.tenure(1), Deadline: past,
	})
	if want := (election.Written{Seq: 77, Outcome: election.OutcomeFailed}); ev != want {
		t.Errorf("a write after its deadline answered %+v", ev)
	}
	ev = one.driver.Execute(t.Context(), election.Action{Kind: election.Read, Seq: 78, Deadline: past})
	if want := (election.ReadDone{Seq: 78}); ev != want {
		t.Errorf("a read after its deadline answered %+v", ev)
	}
}

func edit(t *testing.T, what string, do func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	if err := do(ctx); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
