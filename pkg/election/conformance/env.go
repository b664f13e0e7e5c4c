// Package conformance is a test suite for drivers of the election. It runs against a fake and a
// real API server. It tests what the machine relies on, not how a driver does it.
package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/election"
)

// Driver executes the machine's requests and delivers observations of the Lease.
type Driver interface {
	// Run watches the Lease until ctx ends.
	Run(ctx context.Context) error
	// Execute executes one Create, Claim, Renew, Release, RequestTransfer or Read.
	Execute(ctx context.Context, a election.Action) election.Event
	// Events delivers what the watch shows, as election.Observed.
	Events() <-chan election.Event
}

// Editor changes the Lease as people and other programs do, without the drivers.
type Editor interface {
	Delete(ctx context.Context) error
	// Annotate sets an annotation that does not belong to kvip.
	Annotate(ctx context.Context, key, value string) error
	// Annotation reads it; empty if it does not exist.
	Annotation(ctx context.Context, key string) (string, error)
}

// Env is the environment of one test: two drivers and an editor of one Lease. The Lease does not
// exist yet, and no other test uses it.
type Env struct {
	One, Two Driver
	Editor   Editor
	Now      func() time.Duration // clock of the actions' deadlines
	// Transitions returns the number of changes of holder in a Record's History.
	Transitions func(history string) int
}

// timeout limits each wait of the suite. The suite does not measure how fast a driver is.
const timeout = 30 * time.Second

// agent is a driver with an identity.
type agent struct {
	t      *testing.T
	env    Env
	driver Driver
	name   string
	seq    uint64
}

func twoAgents(t *testing.T, env Env) (one, two *agent) {
	return &agent{t, env, env.One, "one", 1000}, &agent{t, env, env.Two, "two", 2000}
}

// do executes an action with a new number and a deadline.
func (a *agent) do(action election.Action) election.Event {
	a.t.Helper()
	a.seq++
	action.Seq = a.seq
	if action.Kind != election.RequestTransfer && action.Kind != election.Read {
		action.Record.Seq = action.Seq
	}
	action.Deadline = a.env.Now() + timeout
	return a.driver.Execute(a.t.Context(), action)
}

// read returns the result of a quorum read.
func (a *agent) read() election.Record {
	a.t.Helper()
	got, ok := a.do(election.Action{Kind: election.Read}).(election.ReadDone)
	if !ok || !got.OK || got.Seq != a.seq {
		a.t.Fatalf("%s: read answered %+v", a.name, got)
	}
	return got.Record
}

// write executes a write of r on top of base and returns its answer.
func (a *agent) write(kind election.Kind, base, r election.Record) election.Written {
	a.t.Helper()
	r.Exists = true
	got, ok := a.do(election.Action{
		Kind: kind, Base: base, Record: r, LastHolder: base.Holder, Reason: election.ReasonExpired,
	}).(election.Written)
	if !ok || got.Seq != a.seq {
		a.t.Fatalf("%s: %s answered %+v", a.name, kind, got)
	}
	return got
}

// mustWrite executes a write that must succeed, and returns the Lease after it.
func (a *agent) mustWrite(kind election.Kind, base, r election.Record) election.Record {
	a.t.Helper()
	got := a.write(kind, base, r)
	if got.Outcome != election.OutcomeOK {
		a.t.Fatalf("%s: %s on version %d: outcome %d", a.name, kind, base.Version, got.Outcome)
	}
	now := a.read()
	if now.Version != got.Version || now.Version <= base.Version {
		a.t.Fatalf("%s: %s on version %d answered version %d, a read shows %d",
			a.name, kind, base.Version, got.Version, now.Version)
	}
	return now
}

// mustConflict executes a write that must be refused.
func (a *agent) mustConflict(kind election.Kind, base, r election.Record) {
	a.t.Helper()
	if got := a.write(kind, base, r); got.Outcome != election.OutcomeConflict {
		a.t.Errorf("%s: %s on version %d: outcome %d, want a conflict",
			a.name, kind, base.Version, got.Outcome)
	}
}

// create creates the Lease.
func (a *agent) create(r election.Record) election.Record {
	a.t.Helper()
	return a.mustWrite(election.Create, election.Record{}, r)
}

// holding creates the Lease and claims it.
func (a *agent) holding() election.Record {
	a.t.Helper()
	created := a.create(election.Record{Duration: 5 * time.Second})
	return a.mustWrite(election.Claim, created, a.tenure(1))
}

// tenure returns the content of a Lease that a holds.
func (a *agent) tenure(term int64) election.Record {
	return election.Record{
		Holder: a.name, Term: term, Duration: 5 * time.Second, MAC: "02:00:00:00:00:01",
	}
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
		case <-time.After(timeout):
			a.t.Errorf("%s: Run does not return after its context ended", a.name)
		}
	})
}

// await returns the first observation of the watch for which is returns true.
func (a *agent) await(what string, is func(election.Record) bool) election.Record {
	a.t.Helper()
	end := time.After(timeout)
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
			a.t.Fatalf("%s: timed out waiting for the watch to show %s, last %+v", a.name, what, last)
		}
	}
}
