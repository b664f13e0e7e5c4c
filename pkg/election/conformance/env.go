// Package conformance is a suite of tests that every driver of the election passes,
// against a fake API server and against the real one alike. It tests what the machine
// relies on, and nothing about how a driver does it.
package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/election"
)

// Driver carries the machine's requests and reports what the Lease says.
type Driver interface {
	// Run watches until ctx ends.
	Run(ctx context.Context) error
	// Do executes one Create, Claim, Renew, Release, Want or Read.
	Do(ctx context.Context, a election.Action) election.Event
	// Events delivers what the watch sees, as election.Observed.
	Events() <-chan election.Event
}

// Hand changes the Lease behind the drivers' backs, as people and other programs do.
type Hand interface {
	Delete(ctx context.Context) error
	// Annotate sets an annotation that is none of kvip's.
	Annotate(ctx context.Context, key, value string) error
	// Annotation reads it; empty if it is not there.
	Annotation(ctx context.Context, key string) (string, error)
}

// Env is what one test of the suite works with: two agents and a hand on one Lease,
// which does not exist yet and which no other test uses.
type Env struct {
	One, Two Driver
	Hand     Hand
	Now      func() time.Duration // the clock of the actions' deadlines
	// Transitions is how many changes of holder a Record's History tells of.
	Transitions func(history string) int
}

// patience bounds every wait of the suite; nothing in it is about how fast a driver is.
const patience = 30 * time.Second

// agent is a driver as the suite uses it, with a name to claim under.
type agent struct {
	t      *testing.T
	env    Env
	driver Driver
	name   string
	seq    uint64
}

func agents(t *testing.T, env Env) (one, two *agent) {
	return &agent{t, env, env.One, "one", 1000}, &agent{t, env, env.Two, "two", 2000}
}

// do executes a with a fresh number and a deadline.
func (a *agent) do(action election.Action) election.Event {
	a.t.Helper()
	if action.Seq == 0 {
		a.seq++
		action.Seq = a.seq
	}
	if action.Kind != election.RequestTransfer && action.Kind != election.Read {
		action.Record.Seq = action.Seq
	}
	action.Deadline = a.env.Now() + patience
	return a.driver.Do(a.t.Context(), action)
}

// read is a quorum read.
func (a *agent) read() election.Record {
	a.t.Helper()
	got, ok := a.do(election.Action{Kind: election.Read}).(election.ReadDone)
	if !ok || !got.OK || got.Seq != a.seq {
		a.t.Fatalf("%s: read answered %+v", a.name, got)
	}
	return got.Record
}

// write executes a write of r on top of base and returns how it ended.
func (a *agent) write(kind election.Kind, base, r election.Record) election.Written {
	a.t.Helper()
	r.Exists = true
	got, ok := a.do(election.Action{Kind: kind, Base: base, Record: r, PreviousHolder: base.Holder, Reason: election.ReasonExpired}).(election.Written)
	if !ok || got.Seq != a.seq {
		a.t.Fatalf("%s: %s answered %+v", a.name, kind, got)
	}
	return got
}

// must is write where it has to succeed; it returns what the Lease says then.
func (a *agent) must(kind election.Kind, base, r election.Record) election.Record {
	a.t.Helper()
	got := a.write(kind, base, r)
	if got.Outcome != election.OutcomeOK {
		a.t.Fatalf("%s: %s on version %d ended with outcome %d", a.name, kind, base.Version, got.Outcome)
	}
	now := a.read()
	if now.Version != got.Version || now.Version <= base.Version {
		a.t.Fatalf("%s: %s on version %d answered version %d and a read %d", a.name, kind, base.Version, got.Version, now.Version)
	}
	return now
}

// holding makes the Lease and claims it.
func (a *agent) holding() election.Record {
	a.t.Helper()
	empty := a.must(election.Create, election.Record{}, election.Record{Duration: 5 * time.Second})
	return a.must(election.Claim, empty, a.tenure(1))
}

// tenure is the content of a Lease that a holds.
func (a *agent) tenure(term int64) election.Record {
	return election.Record{Holder: a.name, Term: term, Duration: 5 * time.Second, MAC: "02:00:00:00:00:01"}
}

// watch runs the driver until the test ends.
func (a *agent) watch() {
	a.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.driver.Run(ctx) }()
	a.t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				a.t.Errorf("%s: Run returned %v after its context ended", a.name, err)
			}
		case <-time.After(patience):
			a.t.Errorf("%s: Run does not return after its context ended", a.name)
		}
	})
}

// await reads what the watch sees until it is what the test waits for.
func (a *agent) await(what string, is func(election.Record) bool) election.Record {
	a.t.Helper()
	end := time.After(patience)
	var last election.Record
	for {
		select {
		case ev := <-a.driver.Events():
			seen, ok := ev.(election.Observed)
			if !ok {
				a.t.Fatalf("%s: the watch delivered %+v", a.name, ev)
			}
			if last = seen.Record; is(last) {
				return last
			}
		case <-end:
			a.t.Fatalf("%s: the watch never showed %s, last it showed %+v", a.name, what, last)
		}
	}
}
