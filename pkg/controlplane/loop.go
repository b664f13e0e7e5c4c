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
	"github.com/kvip/kvip/pkg/quorum"
	"github.com/kvip/kvip/pkg/relay"
	"github.com/kvip/kvip/pkg/vip"
)

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
		UpdateUnfenced(l link.Link, deadline time.Duration) error
		Delete() error
		DestroySockets()
		Connections() ([]link.Socket, error)
		PrepareFence(l link.Link) error
	}
	// addressFence ends the service of the addresses in the kernel; *fence.Fence.
	addressFence interface {
		Extend(deadline time.Duration) error
		Shut() error
		Cut(deadline time.Duration) error
		VerifyShut() error
		Silence(right time.Duration) error
		Serve() error
		Announced() error
		SetRelays(relays []net.HardwareAddr, own []netip.Addr) error
	}
	// relayer relays packets of connections of other hosts; *relay.Relay.
	relayer interface {
		To(on relay.Link, hosts []relay.Host) error
		End() error
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
	// messenger exchanges messages with the other agents, and wakes the loop; *poller. The loop alone
	// uses it, except wake.
	messenger interface {
		// wait returns when a message has come, after a wake since the last wait, or after limit.
		wait(limit time.Duration)
		wake()
		// received returns the next message, false if there is none.
		received() (election.Event, bool)
		// send sends a message to an agent, or to all if to is "".
		send(to string, m quorum.Message)
	}
)

// inboxSize is how many events of other goroutines may wait for the loop.
const inboxSize = 64

// regainWithin is how long connections outlive addresses that this node may get back: addresses
// whose deadline passed before a renewal was confirmed (E1), or that were removed after a pause
// (E9). A client whose connection the API server lost meanwhile would wait for an answer that never
// comes.
const regainWithin = time.Second

// loop is the one goroutine that uses the machine and the addresses. It must not wait for anything
// but events: in mode fast the fence closes after a third of a second without it.
type loop struct {
	vips    []netip.Addr
	log     *slog.Logger
	metrics *metrics.Set

	machine   *election.Machine // decide
	lease     leaseDriver
	owner     addressOwner // own
	fence     addressFence // nil: only the lifetimes of the addresses end them
	relay     relayer
	announcer announcer // announce
	conflicts conflictDetector
	links     *linkTracker
	addresses func() ([]link.HostAddr, error) // of this host
	prepares  bool                            // the fence is to be built when there is a link
	recorder  recorder

	messages  messenger
	allowFast func() // records that mode fast may be used with the Lease (F8)

	inbox         chan func() election.Event // from other goroutines; the loop calls them
	kernel        chan func() election.Event
	notExtended   bool // the last Extend changed nothing
	drain         drain
	served        served // only changes of the kernel use it
	named         named
	now           boottime.Clock
	announceUntil atomic.Int64 // deadline up to which announcements may be sent, 0 for none
	ownedSince    atomic.Int64 // 0 while this node does not own the addresses
	status        atomic.Pointer[election.Status]
	requests      sync.WaitGroup
}

// run handles events until the machine emits Exit, which it does some time after ctx has ended.
func (l *loop) run(ctx context.Context) {
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer l.recorder.posts.Wait()
	defer l.requests.Wait()
	defer cancel()
	l.kernel = make(chan func() election.Event, kernelQueue)
	l.named.received = make(chan election.Received, kernelQueue)
	defer close(l.kernel)
	l.requests.Go(func() { l.changeKernel(requests) })
	l.requests.Go(func() { l.forward(requests, ctx.Done()) })
	for !l.step(requests, l.next(l.machine.Wake())) {
	}
}

// next returns the next event, or a Tick at an instant if there is none before. The machine asks
// for a step at least every TickPeriod, which limits how late a reaction is when timers stood still
// because the machine was suspended (E9).
func (l *loop) next(until time.Duration) election.Event {
	if l.notExtended {
		l.notExtended = false
		return election.NotExtended{}
	}
	for {
		select {
		case do := <-l.inbox:
			if ev := do(); ev != nil {
				return ev
			}
			continue
		default:
		}
		if ev, ok := l.messages.received(); ok {
			return ev
		}
		left := until - l.now()
		if left <= 0 {
			return election.Tick{}
		}
		l.messages.wait(left)
	}
}

// forward passes events on to the loop until ctx ends.
func (l *loop) forward(ctx context.Context, shutdown <-chan struct{}) {
	for {
		var ev election.Event
		select {
		case <-shutdown:
			shutdown, ev = nil, election.Shutdown{}
		case ev = <-l.lease.Events():
		case ev = <-l.links.events:
		case c := <-l.conflicts.Conflicts():
			l.post(ctx, func() election.Event { return l.conflict(c) })
			continue
		case <-ctx.Done():
			return
		}
		l.post(ctx, func() election.Event { return ev })
	}
}

// post makes the loop call do and handle the event that it returns, nil for none. It waits while
// the inbox is full, until ctx ends.
func (l *loop) post(ctx context.Context, do func() election.Event) {
	select {
	case l.inbox <- do:
		l.messages.wake()
	case <-ctx.Done():
	}
}

// offer passes an event on, unless the inbox is full.
func (l *loop) offer(ev election.Event) {
	select {
	case l.inbox <- func() election.Event { return ev }:
		l.messages.wake()
	default:
	}
}

// step passes one event to the machine and executes the resulting actions. It reports whether to
// exit.
func (l *loop) step(ctx context.Context, ev election.Event) (exit bool) {
	if l.receiveFlows(ev) {
		return false
	}
	if on, ok := ev.(election.Link); ok && on.Usable && l.prepares {
		l.prepares = false
		l.kernel <- l.prepareFence
	}
	now := l.now()
	before := l.machine.Status()
	for _, a := range l.machine.Step(ev, now) {
		switch a.Kind {
		case election.Exit:
			exit = true
			continue
		case election.Claim:
			l.recorder.recordClaim(a, l.machine.FreeSince())
		}
		l.execute(ctx, a)
	}
	after := l.machine.Status()
	l.status.Store(&after)
	l.recorder.recordStep(ev, before, after, l.now())
	return exit
}

// conflict turns a foreign announcement into an event, unless it is from before this node owned the
// address: then it is the last holder's.
func (l *loop) conflict(c arp.Conflict) election.Event {
	since := l.ownedSince.Load()
	l.announced(c)
	if since == 0 || int64(c.At) < since {
		return nil
	}
	l.recorder.recordConflict(c)
	return election.Foreign{MAC: c.MAC.String()}
}

// execute executes one action. What waits for the kernel or the network sends its result to events
// later: changes of addresses one after the other, requests at the same time.
//
// Frames to the fence (Extend, and the ends of answers in Disown and Drain) act at once. They
// overtake changes of addresses that are queued: the fence of a Disown is shut before the address
// is deleted, and an Extend that follows an Own may meet no table yet, so that the machine extends
// again when the address is owned. A Cut is verified, whatever Extend gave before.
func (l *loop) execute(ctx context.Context, a election.Action) {
	switch a.Kind {
	case election.Extend:
		l.extend(a.Deadline)
		return
	case election.Send:
		l.messages.send(a.To, a.Message)
		return
	case election.AllowFast:
		l.allowFast()
		return
	}
	l.log.Debug("executing election action", "action", a.String())
	switch a.Kind {
	case election.Own:
		l.kernel <- func() election.Event { return l.own(ctx, a) }
	case election.Disown:
		l.shut()
		l.kernel <- func() election.Event { return l.disown(ctx, a) }
		l.kernel <- l.endRelay // the goodbye does not wait for it
	case election.Drain:
		l.silence(a.Deadline)
		l.kernel <- func() election.Event { return l.drainConnections(ctx, a) }
	case election.Serve:
		l.kernel <- func() election.Event { return l.serve(ctx, a) }
	case election.Cut:
		l.kernel <- func() election.Event { return l.cut(a) }
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
}

// kernelQueue is the number of changes that may wait for the kernel. The machine asks for a few a
// second.
const kernelQueue = 256

// changeKernel executes changes of addresses in order, until the queue is closed: a change may wait
// for those of other programs, and the loop does not.
func (l *loop) changeKernel(ctx context.Context) {
	for change := range l.kernel {
		ev := change()
		l.post(ctx, func() election.Event { return ev })
	}
}

// request runs do on a goroutine of its own and sends its result to events.
func (l *loop) request(ctx context.Context, do func() election.Event) {
	l.requests.Go(func() {
		ev := do()
		l.post(ctx, func() election.Event { return ev })
	})
}

// own puts the addresses on the link or refreshes them.
func (l *loop) own(ctx context.Context, a election.Action) election.Event {
	on := l.links.link()
	l.noteFlows()
	l.relayFlows(on)
	update := l.owner.Update
	if a.Unfenced {
		update = l.owner.UpdateUnfenced
	}
	err := update(on, a.Deadline)
	expired := errors.Is(err, vip.ErrDeadline)
	if expired { // nothing is on the link, so the next success is a new ownership
		l.destroySockets(ctx, regainWithin)
	}
	if err != nil {
		l.log.Warn("cannot own the address", "vip", l.recorder.vips, "link", on.Name, "err", err)
		return election.Owned{Seq: a.Seq, Expired: expired}
	}
	return election.Owned{Seq: a.Seq, OK: true}
}

// extend lets the kernel serve the addresses until a deadline, and announces them until then.
func (l *loop) extend(deadline time.Duration) {
	if l.fence != nil {
		if err := l.fence.Extend(deadline); err != nil {
			l.notExtended = true
			l.recorder.recordNotExtended(err, l.now())
			return
		}
		l.recorder.shutSince = 0
	}
	l.announceUntil.Store(int64(deadline))
	l.drain = drain{}
	if l.ownedSince.Load() == 0 {
		l.ownedSince.Store(int64(l.now()))
		l.announcer.Start(l.mayAnnounce)
	}
}

// prepareFence builds the fence before it is needed.
func (l *loop) prepareFence() election.Event {
	if err := l.owner.PrepareFence(l.links.link()); err != nil {
		l.log.Warn("cannot build the fence yet", "vip", l.recorder.vips, "err", err)
	}
	return nil
}

// cut makes the fence end by a deadline.
func (l *loop) cut(a election.Action) election.Event {
	if l.fence == nil {
		return election.CutDone{Seq: a.Seq}
	}
	err := l.fence.Cut(a.Deadline)
	if err != nil {
		l.log.Warn("cannot cut the fence", "vip", l.recorder.vips, "err", err)
	}
	return election.CutDone{Seq: a.Seq, OK: err == nil}
}

// shut stops announcing and serving the addresses at once.
func (l *loop) shut() {
	l.endAnswers(drain{}, func() error {
		if l.fence == nil {
			return nil
		}
		return l.fence.Shut()
	})
}

// endAnswers ends announcements and then, in the kernel, the answers. The deletion or the drain
// that follows verifies it.
func (l *loop) endAnswers(next drain, end func() error) {
	l.announceUntil.Store(0)
	l.ownedSince.Store(0)
	l.recorder.shutSince = 0
	l.drain = next
	l.announcer.Stop() // no frame is sent after it returns
	if err := end(); err != nil {
		l.log.Warn("cannot shut the fence", "vip", l.recorder.vips, "err", err)
	}
}

// disown deletes the addresses.
func (l *loop) disown(ctx context.Context, a election.Action) election.Event {
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

// mayAnnounce is called before every frame. It compares the clock with the deadline: the state of
// the machine may be out of date (E4).
func (l *loop) mayAnnounce() bool { return int64(l.now()) < l.announceUntil.Load() }

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
