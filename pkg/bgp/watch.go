package bgp

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/bfd"
)

// pathWatch is the BFD session of a peer. It begins with the first connection, whose addresses it
// uses, and outlives BGP sessions: it reports when the path is there again. The goroutine of the
// peer uses it, except for changed and status.
type pathWatch struct {
	server *bfd.Server // nil: paths are not watched
	wake   backoff.Signal
	log    *slog.Logger

	cfg           PeerConfig
	local, remote netip.Addr    // invalid before the first connection
	retryAt       time.Duration // after the session could not begin
	problem       string        // why

	mu       sync.Mutex   // guards the following fields
	session  *bfd.Session // nil: none
	number   int          // of the session; changes of earlier ones are void
	state    bfd.State
	reported bfd.State
	why      string
	// remoteStopped reports that the peer has ended BFD itself, which is not a failure (B8).
	remoteStopped bool
	wasUp         bool // in the present BGP session
}

// start watches the path between two addresses, if the configuration requires that.
func (w *pathWatch) start(cfg PeerConfig, local, remote netip.Addr) {
	if w.local != local || w.remote != remote {
		w.stop()
		w.local, w.remote = local, remote
	}
	w.update(cfg)
}

// update changes timers, or begins or ends to watch.
func (w *pathWatch) update(cfg PeerConfig) {
	before := w.cfg.BFD
	w.cfg = cfg
	switch {
	case w.session == nil || before == nil || cfg.BFD != nil && *before == *cfg.BFD:
	case cfg.BFD == nil || before.MinTTL != cfg.BFD.MinTTL:
		w.stop()
	default:
		if err := w.session.SetTimers(cfg.BFD.Timers); err != nil {
			w.log.Warn("cannot change the timers of BFD", "address", w.remote, "err", err)
		}
	}
}

// maintain begins to watch. While the server refuses it, as it does until the end of a former
// session of these addresses, maintain tries again once a second.
func (w *pathWatch) maintain(now time.Duration) {
	if w.server == nil || w.session != nil || w.cfg.BFD == nil || !w.remote.IsValid() ||
		now < w.retryAt {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.number++
	number := w.number
	session := w.cfg.bfdConfig(w.local, w.remote)
	session.OnChange = func(s bfd.Status) { w.changed(number, s) }
	s, err := w.server.Add(session)
	if err != nil {
		w.retryAt = now + time.Second
		if text := err.Error(); text != w.problem {
			w.problem = text
			w.log.Warn("cannot watch the path to a BGP peer", "address", w.remote, "err", err)
		}
		return
	}
	w.session, w.problem = s, ""
}

// stop ends the session in order: the peer does not take it for a failure (B8).
func (w *pathWatch) stop() {
	w.mu.Lock()
	session := w.session
	w.session, w.state, w.reported, w.wasUp = nil, bfd.Down, bfd.Down, false
	w.number++
	w.mu.Unlock()
	if session != nil {
		session.Stop(bfd.AdministrativelyDown)
	}
}

// changed receives a change of a session.
func (w *pathWatch) changed(number int, s bfd.Status) {
	w.mu.Lock()
	if number == w.number {
		w.state, w.remoteStopped = s.State, s.Remote.State == bfd.AdminDown
		w.why = s.Diagnostic.String()
	}
	w.mu.Unlock()
	w.wake.Notify()
}

// established begins a BGP session.
func (w *pathWatch) established() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wasUp = w.state == bfd.Up
}

// changes returns the events since the last call. A session that was not up in this BGP session
// does not end it.
func (w *pathWatch) changes() (events []Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state == w.reported {
		return nil
	}
	switch {
	case w.state == bfd.Up:
		w.wasUp = true
		events = append(events, PathUp{})
	case w.reported == bfd.Up && w.wasUp && !w.remoteStopped:
		w.wasUp = false
		events = append(events, PathDown{"BFD is down: " + w.why})
	}
	w.reported = w.state
	return events
}

// status returns the session's, nil without one.
func (w *pathWatch) status() *bfd.Status {
	w.mu.Lock()
	session := w.session
	w.mu.Unlock()
	if session == nil {
		return nil
	}
	s := session.Status()
	return &s
}
