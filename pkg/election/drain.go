package election

import (
	"slices"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/quorum"
)

// This file has what a holder does that leaves while its API server still serves (F11): it answers
// for the addresses no more, and serves the connections that it has until they end.

const (
	// serveEvery spaces the renewals of what serves connections, each for serveFor. They come more
	// often in the beginning, which lasts drainBegins.
	serveEvery      = time.Second
	serveOftenEvery = 200 * time.Millisecond
	serveFor        = 2 * time.Second
	// drainBegins is how long a drain without connections goes on for the next holder: clients go
	// there that have no connection yet. drainAtLeast is how long it goes on with one, which may not
	// have announced itself: longer than packets of all hosts are served.
	drainBegins  = time.Second
	drainAtLeast = 600 * time.Millisecond
	// drainAlone is how long a shutdown waits for a next holder. Without one no packet arrives.
	drainAlone = 2 * time.Second
	// MaxDrain limits Config.Drain and Config.ShutdownDrain.
	MaxDrain = time.Hour
)

// drain is the service of connections after a tenure. The zero value is none.
type drain struct {
	active  bool           // the addresses are on the host for it
	silent  bool           // reading back showed that they are not answered for
	began   time.Duration  // when it began
	end     time.Duration  // when the connections that are left are reset
	relays  []string       // hardware addresses of the holders since, as in Record
	serveAt time.Duration  // when to renew it
	serving uint64         // Seq of the unanswered Serve
	flows   quorum.Message // in which the others learn of them
}

// mayDrain reports whether a holder that leaves for a reason can still serve its connections.
func (m *Machine) mayDrain(why Reason) bool {
	switch why {
	case ReasonShutdown, ReasonMoved, ReasonAPIServerShutdown, ReasonAPIServerNotReady,
		ReasonAPIServerSlow:
		return m.drainFor(why) > 0 && m.owns() && len(m.agents) > 1 && !m.node.link.Shared
	}
	return false
}

// drainFor returns how long connections may last after a tenure that ends now. With an API server
// that is not well they are better off elsewhere soon.
func (m *Machine) drainFor(why Reason) time.Duration {
	if why == ReasonMoved || why == ReasonAPIServerShutdown {
		return m.cfg.Drain
	}
	return m.cfg.ShutdownDrain
}

// drainConnections ends the answers for the addresses at once, and keeps the addresses.
func (m *Machine) drainConnections(why Reason, right time.Duration) {
	a := &m.address
	m.inflight.seq++
	a.present, a.cause, a.disowning, a.owned = true, why, m.inflight.seq, false
	a.disowned = m.inflight.seq
	m.drain = drain{
		active: true, began: m.now, end: m.now + m.drainFor(why),
		flows: quorum.Message{
			Kind: quorum.KindFlows, Term: quorum.Term{Number: m.tenure.term, Holder: m.cfg.ID},
		},
	}
	a.goneBy = max(a.goneBy, m.now+serveFor)
	m.emit(Action{
		Kind: Drain, Seq: m.inflight.seq, Deadline: right, Reason: why, Message: m.drain.flows,
	})
}

// serve renews the service of connections once a second, and at once for a new holder, which relays
// their packets. It ends with the last connection, or when its time is over.
func (m *Machine) serve() {
	d, r := &m.drain, m.lease.record
	if !d.active || !d.silent {
		return
	}
	if m.node.shutdown {
		d.end = min(d.end, m.now+m.cfg.ShutdownDrain)
	}
	alone := m.node.shutdown && len(d.relays) == 0 && m.now-d.began >= drainAlone
	if h := m.node.health; m.now >= d.end || alone || h.Verdict == Dead && !h.Leaving {
		m.disown(m.address.cause)
		return
	}
	if r.Holder != "" && r.Holder != m.cfg.ID && r.MAC != "" && !slices.Contains(d.relays, r.MAC) {
		d.relays = append(d.relays, r.MAC)
		d.relays = d.relays[max(0, len(d.relays)-maxRelays):]
		d.serveAt = m.now
	}
	if m.now < d.serveAt || d.serving != 0 {
		return
	}
	m.inflight.seq++
	d.serveAt, d.serving = m.now+serveEvery, m.inflight.seq
	if m.now-d.began < drainBegins {
		d.serveAt = m.now + serveOftenEvery
	}
	m.address.goneBy = max(m.address.goneBy, m.now+serveFor)
	m.emit(Action{
		Kind: Serve, Seq: d.serving, Deadline: m.now + serveFor, MAC: strings.Join(d.relays, ","),
		Message: d.flows,
	})
}

// maxRelays limits how many holders are remembered from which relayed packets may come.
const maxRelays = 8

func (s Served) apply(m *Machine) {
	d := &m.drain
	if !d.active || s.Seq != d.serving {
		return
	}
	d.serving = 0
	least := drainBegins
	if len(d.relays) > 0 {
		least = drainAtLeast
	}
	if !s.OK || s.Connections == 0 && m.now-d.began >= least {
		m.disown(m.address.cause)
	}
}
