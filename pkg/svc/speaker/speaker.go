// Package speaker is the Services part of one node. It renews the node's Lease, decides by
// pkg/placement which addresses of the ledger belong to this node, and makes kernel, packet filter
// and announcements agree. It does not allocate addresses to Services.
package speaker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/bgp/advertiser"
	"github.com/kvip/kvip/pkg/bgp/objects"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/liveness"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/vip"
)

const (
	// minPause is the shortest time between two reconciles, in which changes are batched. A
	// longer reconcile is followed by a pause of the same length: thousands of changes cost
	// half a core at most.
	minPause = 20 * time.Millisecond
	// resyncInterval is the longest time between two reconciles.
	resyncInterval = time.Second
	// filterInterval is the time between two writes of an unchanged packet filter, which renew
	// its timeouts.
	filterInterval = 30 * time.Second
	// filterMargin is the time that a write of the filter may be late without the filter
	// expiring before the addresses.
	filterMargin = 10 * time.Second
)

// outlived is a pause that every address of Services outlives (S8).
const outlived = objects.MaxServicesHoldTime

// FilterTimeout returns the timeout that elements of the packet filter need for addresses of the
// given lifetime. If this process is killed, no element expires before the address it protects,
// even if the address was refreshed last and the filter written filterInterval earlier (S5).
func FilterTimeout(lifetime time.Duration) time.Duration {
	return lifetime + filterInterval + filterMargin
}

// Speaker is the Services part of this node. Only its Run changes what the node has. Report,
// Placement and the other methods that read are safe for concurrent use.
type Speaker struct {
	cfg      Config
	wake     backoff.Signal
	pauses   pauseDetector
	host     *host
	applier  *applier
	recorder *recorder
	page     page

	leftoversRead bool // the addresses of an earlier process were read
	linksChanged  bool // since they were read
	dirty         bool // this host changed since the last reconcile
	observed      observedGeneration
	last          snapshot
	retryAt       time.Duration // of the next reconcile after a failure; 0: nothing failed
	problem       string        // what failed in the last reconcile
}

// observedGeneration identifies the inputs of a reconcile. While it stays the same there is
// nothing to decide.
type observedGeneration struct {
	changes uint64 // of the cache
	synced  bool
	fresh   bool
	alive   string
	foreign string // holder of the allocator's Lease
}

// New returns a Speaker. It touches nothing before Run.
func New(cfg Config) (*Speaker, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &Speaker{cfg: cfg, wake: backoff.NewSignal(), dirty: true}
	s.recorder = newRecorder(&s.cfg)
	s.host = newHost(&s.cfg, s.recorder)
	s.applier = newApplier(&s.cfg, s.host, s.recorder)
	cfg.NodeLease.OnChange(s.wake.Notify)
	return s, nil
}

// Run reconciles until ctx ends, and returns nil. The addresses stay on this host: Release gives
// them up (S6).
func (s *Speaker) Run(ctx context.Context) error {
	var watching sync.WaitGroup
	watching.Go(func() { s.watchPauses(ctx) })
	defer watching.Wait()
	changed := s.cfg.Cache.Subscribe()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-s.cfg.Announcer.Conflicts():
			s.handleConflict(c)
			continue
		case ev := <-s.cfg.LinkEvents:
			s.handleLinkEvent(ev)
			continue
		case <-changed:
		case <-s.wake:
		case <-timer.C:
		}
		began := s.cfg.Clock()
		timer.Reset(s.reconcile())
		rest := max(minPause, s.cfg.Clock()-began)
		if s.checkPause() { // the reconcile did not take all of that time
			rest = minPause
		}
		if !s.pause(ctx, rest) {
			return nil
		}
	}
}

// pause batches changes for d and handles conflicts meanwhile. It reports whether ctx is running.
func (s *Speaker) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case c := <-s.cfg.Announcer.Conflicts():
			s.handleConflict(c)
		case ev := <-s.cfg.LinkEvents:
			s.handleLinkEvent(ev)
		case <-timer.C:
			return true
		}
	}
}

// checkPause reports whether there was a pause since the last reconcile began. Then the next one is
// due at once.
func (s *Speaker) checkPause() bool {
	paused := s.pauses.check(s.cfg.Clock())
	if paused {
		s.wake.Notify()
	}
	return paused
}

// watchPauses gives signs until ctx ends.
func (s *Speaker) watchPauses(ctx context.Context) {
	for backoff.Sleep(ctx, signInterval) {
		s.checkPause()
	}
}

// handleLinkEvent has the next reconcile, which is due at once, read the links if the event is
// relevant: many events may arrive together.
func (s *Speaker) handleLinkEvent(ev link.Event) {
	if s.host.relevant(ev, s.applier.have.has(ev.Addr)) {
		s.linksChanged = true
		s.wake.Notify()
	}
}

func (s *Speaker) readLinks() {
	s.fail(s.host.read())
	s.updateLeaseInfo()
}

// reconcile compares what this node should have with what it has, if an input changed, and acts.
// It returns the time until the next reconcile.
func (s *Speaker) reconcile() time.Duration {
	now := s.cfg.Clock()
	paused := s.pauses.reset(now)
	s.applier.paused = paused > 0
	defer s.cfg.Health.Heartbeat() // not before: after a pause the last decision is old (B6)
	defer s.reportHealth()
	view := s.view()
	if paused > 0 {
		s.applier.have.markAdopted()
		s.dirty, view.Fresh = true, false
	}
	if paused > outlived { // addresses may have ended: no route before they are there again (B3)
		s.cfg.Routes.SetAddresses(advertiser.Services, nil)
	}
	if s.host.refreshDue(now) || s.linksChanged {
		s.dirty, s.linksChanged = s.dirty || s.linksChanged, false
		s.readLinks()
	}
	g := s.generation(view)
	s.recorder.foreignHolder(g.foreign)
	if s.outdated(g) || s.retryAt != 0 && now >= s.retryAt || s.applier.due(now) {
		s.observed, s.dirty = g, false
		s.decide(view, now)
	}
	return s.refresh(now)
}

// view returns the failure detector's view, which is fresh only if the cache has synced too.
func (s *Speaker) view() liveness.View {
	view := s.cfg.NodeLease.View()
	view.Fresh = view.Fresh && s.cfg.Cache.HasSynced()
	return view
}

// outdated reports whether the last decision had other inputs than g.
func (s *Speaker) outdated(g observedGeneration) bool {
	return s.dirty || s.linksChanged || g != s.observed
}

func (s *Speaker) generation(view liveness.View) observedGeneration {
	return observedGeneration{
		changes: s.cfg.Cache.Changes(), synced: s.cfg.Cache.HasSynced(),
		fresh: view.Fresh, alive: strings.Join(view.Alive, " "), foreign: s.cfg.ForeignHolder(),
	}
}

// decide computes what this node has next, and applies it.
func (s *Speaker) decide(view liveness.View, now time.Duration) {
	if s.problem == "" && s.applier.faults.none() {
		s.recorder.recovered()
	}
	s.retryAt, s.problem = 0, ""
	if !s.prepareHost() {
		s.updatePage(s.last, nil)
		return
	}
	snap := takeSnapshot(&s.cfg, view)
	view = snap.view
	s.setHeartbeat(view)
	decisions := map[netip.Addr]placement.Decision{}
	if view.Fresh && s.observed.foreign == "" {
		decisions = placement.All(snap.addresses(), snap.nodes)
	}
	next := transition(s.applier.have, decisions, snap, now)
	if view.Fresh && len(view.Alive) > 0 {
		s.applier.confirmFilter()
	}
	s.last = snap
	s.apply(next)
	if at := s.applier.faults.nextEvent(now); at != 0 && (s.retryAt == 0 || at < s.retryAt) {
		s.retryAt = at
	}
	s.updateLeaseInfo()
	s.updatePage(snap, decisions)
}

func (s *Speaker) apply(next assignments) {
	for _, err := range s.applier.apply(next, s.last) {
		s.fail(err)
	}
}

// prepareHost reports whether the links and the addresses of an earlier process were read. Before
// that nothing on this host changes.
func (s *Speaker) prepareHost() bool {
	if s.host.unread {
		s.readLinks()
	}
	if !s.leftoversRead {
		s.fail(s.adopt())
	}
	return s.leftoversRead && s.host.links != nil
}

// adopt takes over the addresses of an earlier process. They stay, unannounced, until a fresh view
// decides who owns them (S6). Kernels before 5.18 keep no marks; there only the ledger identifies
// these addresses from others.
func (s *Speaker) adopt() error {
	marks, err := s.cfg.Addresses.KeepsMarks()
	if err == nil && !marks && !s.cfg.Cache.HasSynced() {
		return nil // retried when it has
	}
	var present []vip.Marked
	if err == nil {
		present, err = s.cfg.Addresses.Present()
	}
	if err != nil {
		return fmt.Errorf("read the addresses of an earlier process: %w", err)
	}
	s.leftoversRead = true
	for _, m := range present {
		s.applier.have[m.Addr] = newAssigned(m.Addr, m.LinkName, adopted, s.cfg.Clock())
	}
	s.recorder.adopted(len(present))
	return nil
}

// refresh extends the lifetimes of addresses and returns the time until the next reconcile.
func (s *Speaker) refresh(now time.Duration) time.Duration {
	next, err := s.cfg.Addresses.Refresh(now)
	s.fail(err)
	wait := min(resyncInterval, max(next-now, minPause))
	for _, a := range s.applier.have {
		if a.phase == leaving {
			wait = min(wait, max(a.until-now, minPause))
		}
	}
	return wait
}

// fail records an error and schedules a retry. A nil error is ignored.
func (s *Speaker) fail(err error) {
	if err == nil {
		return
	}
	s.retryAt = s.cfg.Clock() + resyncInterval
	if text := err.Error(); !strings.Contains(s.problem, text) {
		s.problem = joinTexts(s.problem, text)
	}
	s.recorder.failure(err)
}

// updateLeaseInfo writes the links and the faults of this host into the node's Lease.
func (s *Speaker) updateLeaseInfo() {
	info := s.host.info
	if info.Node == "" {
		return // not known yet
	}
	info.Unavailable, info.FailedAddresses = s.applier.faults.published(s.cfg.Clock())
	s.cfg.NodeLease.SetInfo(info.Bounded())
}

// HandOver releases the addresses that other nodes are to have, as after a cordon, and reports
// whether this node has none left. An address that no other node can have stays. Run must have
// returned.
func (s *Speaker) HandOver(ctx context.Context) bool {
	s.reconcile()
	timeout := time.NewTimer(overlap)
	defer timeout.Stop()
	for s.applier.have.anyLeaving() && s.awaitOwner(ctx, timeout.C) {
		continue
	}
	s.expire()
	return len(s.applier.have) == 0
}

// Release gives up everything (S6). It releases the Lease, keeps each address until its new owner
// is heard, 1 s at most, and removes addresses, packet filter and Lease. Run must have returned.
// Without an API server the host is still cleaned up, and other nodes take over when the
// Lease expires.
func (s *Speaker) Release(ctx context.Context) error {
	s.cfg.Routes.SetAddresses(advertiser.Services, nil) // before anything that may take long (B4)
	withdrawn := s.cfg.Clock()
	s.cfg.Health.Heartbeat()
	released := s.cfg.NodeLease.Release(ctx)
	s.cfg.Health.Heartbeat()
	timeout := time.NewTimer(overlap)
	defer timeout.Stop()
	s.applier.have = s.applier.have.where(func(a assigned) bool { return a.phase != shared })
	for addr, a := range s.applier.have {
		s.applier.have[addr] = a.leave(s.cfg.Clock() + overlap)
	}
	s.applier.announce(s.applier.have)
	for (released == nil || s.applier.have.anyRouted()) && len(s.applier.have) > 0 &&
		s.awaitOwner(ctx, timeout.C) {
		continue
	}
	if left := withdrawn + overlap - s.cfg.Clock(); s.applier.have.anyRouted() && ctx.Err() != nil {
		time.Sleep(min(left, overlap)) // routers still use the routes
	}
	err := errors.Join(released, s.applier.clear())
	if released == nil { // else the Lease may be another host's with the same node name
		err = errors.Join(err, s.cfg.NodeLease.Delete(ctx))
	}
	return err
}

// awaitOwner waits for an announcement of a new owner, and releases what expired. It reports
// whether there is time left.
func (s *Speaker) awaitOwner(ctx context.Context, timeout <-chan time.Time) bool {
	select {
	case <-ctx.Done():
		return false
	case <-timeout:
		return false
	case c := <-s.cfg.Announcer.Conflicts():
		s.handleConflict(c)
	case <-time.After(minPause):
		s.expire()
	}
	return true
}

// expire releases the addresses whose time to leave is over.
func (s *Speaker) expire() {
	if next := s.applier.have.unexpired(s.cfg.Clock()); len(next) < len(s.applier.have) {
		s.apply(next)
	}
}
