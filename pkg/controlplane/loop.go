package controlplane

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/vip"
)

// tickPeriod drives the machine. Go's timers stop while the machine is suspended, so the tick, not
// a timer at the deadline, limits how late a reaction is (E9).
const tickPeriod = 100 * time.Millisecond

// The loop decides with an election.Machine and acts through these interfaces. Each comment names
// the one type that implements it in the program.
type (
	// leaseDriver sends the machine's requests to the API server; *kubelease.Driver.
	leaseDriver interface {
		Execute(ctx context.Context, a election.Action) election.Event
		Events() <-chan election.Event
	}
	// addressOwner writes the addresses to the kernel; *vip.Owner.
	addressOwner interface {
		Update(l link.Link, deadline time.Duration) error
		Delete() error
		DestroySockets()
	}
	// announcer announces the addresses on the link; *vipAnnouncer.
	announcer interface {
		Start(allowed func() bool)
		Stop()
		Defend(addr netip.Addr)
	}
	// conflictDetector finds other machines that use the addresses; *vipAnnouncer.
	conflictDetector interface {
		Probe(ctx context.Context, timeout time.Duration) (map[netip.Addr]net.HardwareAddr, error)
		Conflicts() <-chan arp.Conflict
	}
)

// regainWithin is how long connections outlive addresses that this node may get back: addresses
// whose deadline passed before a renewal was confirmed (E1), or that were removed after a pause
// (E9). A client whose connection the API server lost meanwhile would wait for an answer that never
// comes.
const regainWithin = time.Second

// loop is the one goroutine that uses the machine and the addresses.
type loop struct {
	vips    []netip.Addr
	log     *slog.Logger
	metrics *metrics.Set

	machine   *election.Machine // decide
	lease     leaseDriver
	owner     addressOwner // own
	announcer announcer    // announce
	conflicts conflictDetector
	links     *linkTracker
	recorder  recorder

	events        chan election.Event // from other goroutines
	now           boottime.Clock
	announceUntil atomic.Int64 // deadline up to which announcements may be sent, 0 for none
	ownedSince    atomic.Int64 // 0 while this node does not own the addresses
	status        atomic.Pointer[election.Status]
	requests      sync.WaitGroup
}

// run handles events until the machine emits Exit, which it does some time after ctx has ended.
func (l *loop) run(ctx context.Context) {
	tick := time.NewTicker(tickPeriod)
	defer tick.Stop()
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer l.recorder.posts.Wait()
	defer l.requests.Wait()
	defer cancel()
	done := ctx.Done()
	for {
		var ev election.Event
		var soon <-chan time.Time
		if l.machine.AwaitsTransferRequest() {
			soon = time.After(election.TransferPollInterval)
		}
		select {
		case <-done:
			done, ev = nil, election.Shutdown{}
		case ev = <-l.events:
		case ev = <-l.lease.Events():
		case ev = <-l.links.events:
		case c := <-l.conflicts.Conflicts():
			if ev = l.conflict(c); ev == nil {
				continue
			}
		case <-soon:
			ev = election.Tick{}
		case <-tick.C:
			ev = election.Tick{}
		}
		if l.step(requests, ev) {
			return
		}
	}
}

// step passes one event to the machine and executes the resulting actions, and those that their
// results lead to. It reports whether to exit.
func (l *loop) step(ctx context.Context, ev election.Event) (exit bool) {
	for queue := []election.Event{ev}; len(queue) > 0; queue = queue[1:] {
		now := l.now()
		before := l.machine.Status()
		for _, a := range l.machine.Step(queue[0], now) {
			if a.Kind == election.Exit {
				exit = true
				continue
			}
			l.log.Debug("executing election action", "action", a.String())
			if a.Kind == election.Claim {
				l.recorder.recordClaim(a, now-l.machine.Status().Age)
			}
			if result := l.execute(ctx, a); result != nil {
				queue = append(queue, result)
			}
		}
		after := l.machine.Status()
		l.status.Store(&after)
		l.recorder.recordStep(queue[0], before, after, l.now())
	}
	return exit
}

// conflict turns a foreign announcement into an event, unless it is from before this node owned the
// address: then it is the last holder's.
func (l *loop) conflict(c arp.Conflict) election.Event {
	since := l.ownedSince.Load()
	if since == 0 || int64(c.At) < since {
		return nil
	}
	l.recorder.recordConflict(c)
	return election.Foreign{MAC: c.MAC.String()}
}

// execute executes one action. Actions on the kernel are done at once and return their result;
// requests over the network send theirs to events later.
func (l *loop) execute(ctx context.Context, a election.Action) election.Event {
	switch a.Kind {
	case election.Own:
		return l.own(ctx, a)
	case election.Disown:
		return l.disown(ctx, a)
	case election.Defend:
		l.log.Warn("another host claims the address; defending it",
			"vip", l.recorder.vips, "mac", a.MAC)
		for _, addr := range l.vips {
			l.announcer.Defend(addr)
		}
	case election.Probe:
		l.request(ctx, func() election.Event { return l.probe(ctx, a) })
	default:
		l.request(ctx, func() election.Event { return l.lease.Execute(ctx, a) })
	}
	return nil
}

// request runs do on a goroutine of its own and sends its result to events.
func (l *loop) request(ctx context.Context, do func() election.Event) {
	l.requests.Go(func() {
		ev := do()
		select {
		case l.events <- ev:
		case <-ctx.Done():
		}
	})
}

// own puts the addresses on the link or refreshes them, then announces them.
func (l *loop) own(ctx context.Context, a election.Action) election.Event {
	on := l.links.link()
	err := l.owner.Update(on, a.Deadline)
	expired := errors.Is(err, vip.ErrDeadline)
	if expired { // nothing is on the link, so the next success is a new ownership
		l.stopAnnouncing()
		l.destroySockets(ctx, regainWithin)
	}
	if err != nil {
		l.log.Warn("cannot own the address", "vip", l.recorder.vips, "link", on.Name, "err", err)
		return election.Owned{Seq: a.Seq, Expired: expired}
	}
	l.announceUntil.Store(int64(a.Deadline))
	if l.ownedSince.Load() == 0 {
		l.ownedSince.Store(int64(l.now()))
		l.announcer.Start(l.mayAnnounce)
	}
	return election.Owned{Seq: a.Seq, OK: true}
}

// mayAnnounce is called before every frame. It compares the clock with the deadline: the state of
// the machine may be out of date (E4).
func (l *loop) mayAnnounce() bool { return int64(l.now()) < l.announceUntil.Load() }

// disown stops announcing, then deletes the addresses.
func (l *loop) disown(ctx context.Context, a election.Action) election.Event {
	l.stopAnnouncing()
	err := l.owner.Delete()
	if err != nil {
		l.log.Error("cannot confirm that the address is gone", "vip", l.recorder.vips, "err", err)
	}
	wait := time.Duration(0)
	switch a.Reason {
	case election.ReasonFenceExpired:
		l.metrics.FenceExpired()
		wait = regainWithin
	case election.ReasonPaused:
		wait = regainWithin
	}
	l.destroySockets(ctx, wait)
	return election.Disowned{Seq: a.Seq, Confirmed: err == nil}
}

// destroySockets destroys the connections to the removed addresses in the background, after wait
// and unless this node owns the addresses again by then. The end of ctx ends the wait.
func (l *loop) destroySockets(ctx context.Context, wait time.Duration) {
	l.requests.Go(func() {
		backoff.Sleep(ctx, wait)
		if l.ownedSince.Load() == 0 {
			l.owner.DestroySockets()
		}
	})
}

// stopAnnouncing ends the announcement. No frame is sent after it returns.
func (l *loop) stopAnnouncing() {
	l.announceUntil.Store(0)
	l.ownedSince.Store(0)
	l.announcer.Stop()
}

// probe asks on the link whether another host answers for the addresses. A probe that cannot be
// sent proves nothing and stops nothing: the lease has expired or was released.
func (l *loop) probe(ctx context.Context, a election.Action) election.Event {
	found, err := l.conflicts.Probe(ctx, a.Deadline-l.now())
	if err != nil {
		l.log.Warn("cannot probe for the address", "err", err)
	}
	result := election.Probed{}
	for addr, mac := range found {
		l.log.Warn("another host answers for the address", "vip", addr, "mac", mac.String())
		// The last holder's answer counts for both families.
		if result.MAC == "" || election.ContainsMAC(a.MAC, mac.String()) {
			result.MAC = mac.String()
		}
	}
	return result
}
