package reporter

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// fixture is a Registry on a clock that the test sets.
func fixture() (*Registry, *time.Duration) {
	now := time.Hour
	return NewRegistry(func() time.Duration { return now }), &now
}

// TestE12Stuck: only a missing heartbeat makes a component stuck, whatever else it reports.
func TestE12Stuck(t *testing.T) {
	r, now := fixture()
	loop, driver := r.Component("election loop"), r.Component("lease driver")
	driver.SetTimeout(time.Minute)
	driver.Stopped("the API server is away")
	check := func(want string) {
		t.Helper()
		if got := r.Stuck(); got != want {
			t.Errorf("at %v: %q, want %q", *now, got, want)
		}
	}
	*now += 24 * time.Hour
	check("") // before the first heartbeat
	if at := loop.LastHeartbeat(); at != 0 {
		t.Errorf("the last heartbeat before the first one: %v", at)
	}
	loop.Heartbeat()
	if at := loop.LastHeartbeat(); at != *now {
		t.Errorf("the last heartbeat: %v, want %v", at, *now)
	}
	driver.Heartbeat()
	*now += DefaultTimeout
	check("")
	*now += time.Second
	check("election loop has made no progress for 16s")
	loop.Heartbeat()
	check("")
	for range 9 {
		*now += 5 * time.Second
		loop.Heartbeat()
	}
	check("lease driver has made no progress for 1m1s")
	driver.SetTimeout(2 * time.Minute)
	check("")
	loop.Stopped("link is down")
	loop.Impaired("no other node is ready")
	check("")
}

func TestNotReady(t *testing.T) {
	r, now := fixture()
	election, lease, token := r.Component("election loop"), r.Component("lease"), r.Component("token")
	for _, step := range []struct {
		name   string
		report func()
		want   string
	}{
		{"nothing reported", func() {}, ""},
		{"one stopped", func() { lease.Stopped("watch lease: forbidden") }, "watch lease: forbidden"},
		{"degraded is ready", func() { token.Impaired("no token") }, "watch lease: forbidden"},
		{"two stopped, in order", func() { election.Stopped("link is down") },
			"link is down; watch lease: forbidden"},
		{"another reason", func() { election.Stopped("API is dead") },
			"API is dead; watch lease: forbidden"},
		{"one works again", func() { lease.OK() }, "API is dead"},
		{"stopped to degraded", func() { election.Impaired("API is not ready") }, ""},
		{"an empty reason is OK", func() { lease.Stopped("") }, ""},
		{"time alone changes nothing", func() { *now += time.Hour }, ""},
	} {
		step.report()
		if got := r.NotReady(); got != step.want {
			t.Errorf("%s: %q, want %q", step.name, got, step.want)
		}
	}
}

func TestStatus(t *testing.T) {
	r, _ := fixture()
	c := r.Component("token")
	check := func(state State, reason string) {
		t.Helper()
		if s, why := c.Status(); s != state || why != reason {
			t.Errorf("%v %q, want %v %q", s, why, state, reason)
		}
	}
	check(OK, "")
	c.Impaired("expires soon")
	check(Impaired, "expires soon")
	c.Stopped("expired")
	check(Stopped, "expired")
	c.Impaired("")
	check(OK, "")
	c.Stopped("expired")
	c.OK()
	check(OK, "")
	if r.Component("token") != c || r.Component("other") == c {
		t.Error("a name does not stand for one component")
	}
}

// TestStoppedFor: a failure ends by itself unless it is repeated.
func TestStoppedFor(t *testing.T) {
	r, now := fixture()
	c := r.Component("lease requests")
	for range 3 {
		c.StoppedFor(time.Minute, "connection refused")
		*now += 59 * time.Second
		if got := r.NotReady(); got != "connection refused" {
			t.Fatalf("within the minute: %q", got)
		}
	}
	*now += time.Second
	if state, reason := c.Status(); state != OK || reason != "" || r.NotReady() != "" {
		t.Errorf("after the minute: %v %q", state, reason)
	}
	c.StoppedFor(time.Minute, "connection refused")
	c.Stopped("forbidden")
	*now += time.Hour
	if got := r.NotReady(); got != "forbidden" {
		t.Errorf("a report without an end: %q", got)
	}
}

// TestNil: components need no Registry, as in tests of their packages.
func TestNil(t *testing.T) {
	var r *Registry
	c := r.Component("any")
	c.Heartbeat()
	c.SetTimeout(time.Second)
	c.Stopped("no reason")
	c.OK()
	if state, reason := c.Status(); state != OK || reason+r.Stuck()+r.NotReady() != "" ||
		c.LastHeartbeat() != 0 {
		t.Errorf("a nil Registry keeps %v %q", state, reason)
	}
	if d := NewRegistry(nil).clock(); d <= 0 {
		t.Errorf("without a clock the time since boot is %v", d)
	}
}

// TestE12StuckNamesTheFirstComponentAdded if several are stuck, so that the text is stable.
func TestE12StuckNamesTheFirstComponentAdded(t *testing.T) {
	r, now := fixture()
	first, second := r.Component("first"), r.Component("second")
	second.Heartbeat()
	first.Heartbeat()
	*now += DefaultTimeout + time.Second
	if got := r.Stuck(); got != "first has made no progress for 16s" {
		t.Errorf("both are stuck: %q", got)
	}
	first.Heartbeat()
	if got := r.Stuck(); got != "second has made no progress for 16s" {
		t.Errorf("one is stuck: %q", got)
	}
}

// TestRegistriesAreIndependent: the control plane's part and the Services' part are ready or not by
// themselves, also if their components have the same name.
func TestRegistriesAreIndependent(t *testing.T) {
	one, now := fixture()
	two := NewRegistry(func() time.Duration { return *now })
	a, b := one.Component("loop"), two.Component("loop")
	a.Heartbeat()
	*now += time.Minute
	b.Heartbeat()
	b.Stopped("starting")
	if one.Stuck() == "" || two.Stuck() != "" {
		t.Errorf("stuck: %q and %q, want the first one alone", one.Stuck(), two.Stuck())
	}
	if one.NotReady() != "" || two.NotReady() != "starting" {
		t.Errorf("not ready: %q and %q, want the second one alone", one.NotReady(), two.NotReady())
	}
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	r := NewRegistry(nil)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			c := r.Component(fmt.Sprint("component ", i/2))
			for range 100 {
				c.Heartbeat()
				c.SetTimeout(time.Minute)
				c.Stopped("reason")
				_ = r.NotReady() + r.Stuck()
				c.OK()
			}
		})
	}
	group.Wait()
	if got := r.NotReady() + r.Stuck(); got != "" || len(r.components) != 4 {
		t.Errorf("%d components, %q", len(r.components), got)
	}
}
