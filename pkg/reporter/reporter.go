// Package reporter collects the health of the components of one process: whether their loops make
// progress, and whether they do their job. It serves liveness and readiness from that. It does not
// check anything itself, and does not restart components.
package reporter

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/boottime"
)

// DefaultTimeout is the longest time between two heartbeats of a component that makes progress.
// Loops send one at least every second (E12); the margin is for a slow machine.
const DefaultTimeout = 15 * time.Second

// State is the health of a component.
type State uint8

// States of a component.
const (
	// OK: the component does its job. This is the state before the first report: a component
	// that needs time to start reports Stopped first.
	OK State = iota
	// Impaired: the component does its job, but something needs attention. The process is ready.
	Impaired
	// Stopped: the component does not do its job at present. The process is not ready.
	Stopped
)

// Registry has the components of one process, or of one part of it that is ready or not by itself.
// It is safe for concurrent use. A nil Registry has no components and discards what is reported.
type Registry struct {
	clock boottime.Clock

	mu         sync.Mutex
	components []*Reporter
}

// NewRegistry returns an empty Registry. A nil clock is boottime.Now.
func NewRegistry(clock boottime.Clock) *Registry {
	if clock == nil {
		clock = boottime.Now
	}
	return &Registry{clock: clock}
}

// Component returns the Reporter of the component called name, which it adds if there is none.
// People read the name, as in "lease driver".
func (r *Registry) Component(name string) *Reporter {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.components {
		if c.name == name {
			return c
		}
	}
	c := &Reporter{name: name, clock: r.clock, timeout: DefaultTimeout}
	r.components = append(r.components, c)
	return c
}

// Stuck names a component without a heartbeat for longer than its timeout, and returns "" if there
// is none. A component that has not sent its first heartbeat is not stuck. A process with a stuck
// component should be restarted; no other state is a reason to restart it (E12).
func (r *Registry) Stuck() string {
	for _, c := range r.all() {
		if age, stuck := c.overdue(); stuck {
			return fmt.Sprintf("%s has made no progress for %v", c.name, age.Round(time.Second))
		}
	}
	return ""
}

// NotReady returns the reasons of all stopped components, in the order in which they were added.
// It returns "" if there is none: the process is ready.
func (r *Registry) NotReady() string {
	var reasons []string
	for _, c := range r.all() {
		if state, reason := c.Status(); state == Stopped {
			reasons = append(reasons, reason)
		}
	}
	return strings.Join(reasons, "; ")
}

func (r *Registry) all() []*Reporter {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.components[:len(r.components):len(r.components)]
}

// Reporter takes the reports of one component. Make it with Registry.Component. It is safe for
// concurrent use. A nil Reporter discards what is reported.
type Reporter struct {
	name  string
	clock boottime.Clock

	mu        sync.Mutex
	heartbeat time.Duration // since boot, 0 before the first
	timeout   time.Duration
	state     State
	reason    string
	until     time.Duration // since boot, when the state becomes OK; 0: it does not
}

// Heartbeat reports that the component's loop makes progress. From the first heartbeat on, the
// next one is due within the timeout.
func (r *Reporter) Heartbeat() {
	if r == nil {
		return
	}
	now := r.clock()
	r.mu.Lock()
	r.heartbeat = now
	r.mu.Unlock()
}

// LastHeartbeat returns the instant of the last heartbeat since boot, 0 before the first one.
func (r *Reporter) LastHeartbeat() time.Duration {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heartbeat
}

// SetTimeout sets the longest time between two heartbeats. It must be positive; without a call it
// is DefaultTimeout.
func (r *Reporter) SetTimeout(d time.Duration) {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.timeout = d
	r.mu.Unlock()
}

// OK reports that the component does its job.
func (r *Reporter) OK() { r.set(OK, "", 0) }

// Impaired reports that the component does its job, and what needs attention. An empty reason
// reports OK.
func (r *Reporter) Impaired(reason string) { r.set(Impaired, reason, 0) }

// Stopped reports why the component does not do its job. An empty reason reports OK.
func (r *Reporter) Stopped(reason string) { r.set(Stopped, reason, 0) }

// StoppedFor is Stopped with an end: without another report, the state is OK after d. It is for
// failures that are repeated if they still matter.
func (r *Reporter) StoppedFor(d time.Duration, reason string) { r.set(Stopped, reason, d) }

func (r *Reporter) set(state State, reason string, d time.Duration) {
	if r == nil {
		return
	}
	if reason == "" {
		state = OK
	}
	until := time.Duration(0)
	if d > 0 {
		until = r.clock() + d
	}
	r.mu.Lock()
	r.state, r.reason, r.until = state, reason, until
	r.mu.Unlock()
}

// Status returns what was reported last. The reason is empty if the state is OK.
func (r *Reporter) Status() (State, string) {
	if r == nil {
		return OK, ""
	}
	now := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until != 0 && now >= r.until {
		return OK, ""
	}
	return r.state, r.reason
}

// overdue returns the age of the last heartbeat, and whether the next one should have come.
func (r *Reporter) overdue() (age time.Duration, overdue bool) {
	now := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	age = now - r.heartbeat
	return age, r.heartbeat != 0 && age > r.timeout
}
