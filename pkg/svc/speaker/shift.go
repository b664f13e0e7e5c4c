package speaker

import (
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/placement"
)

// overlap is how long the old owner keeps an address in a planned move, if it does not hear the new one
// sooner (S3).
const overlap = time.Second

// held is an address that this node has.
type held struct {
	link  string
	since time.Duration // since boot
	// why it is here, and who else could have it.
	decision placement.Decision
	// adopted says that it is from before a restart and nobody has confirmed it since: it is kept and
	// not announced (S6).
	adopted bool
	// leaving says that another node is to have it. It is kept until then, silently.
	leaving bool
	until   time.Duration // when leaving, the latest
	shared  bool          // the control plane's: it is filtered here, and owned and announced by others
}

// holdings are the addresses of this node.
type holdings map[netip.Addr]held

// shift says what this node has next. It is pure: what it has now, what was decided, and the time.
//
// Without a fresh view nothing moves (S2): addresses that are leaving go when their time is up, and no
// other comes or goes. With one, an address that is another node's by plan is kept for the overlap, and
// one that is nobody's goes at once.
func shift(now holdings, decisions map[netip.Addr]placement.Decision, s situation, at time.Duration) holdings {
	next := holdings{}
	for addr, h := range now {
		if !s.verdict.Fresh || len(s.verdict.Alive) == 0 {
			if !h.leaving || at < h.until {
				next[addr] = h
			}
			continue
		}
		d, wanted := decisions[addr]
		if !wanted || d.Node == "" || h.shared {
			continue
		}
		if d.Node == s.self {
			continue // below
		}
		if !h.leaving {
			h.leaving, h.until, h.decision = true, at+overlap, d
		}
		if at < h.until {
			next[addr] = h
		}
	}
	if !s.verdict.Fresh || len(s.verdict.Alive) == 0 {
		return next
	}
	for addr, d := range decisions {
		if d.Node != s.self {
			continue
		}
		h, had := now[addr]
		if !had || h.leaving || h.link != d.Link {
			h = held{since: at}
		}
		h.link, h.decision, h.adopted = d.Link, d, false
		_, h.shared = s.control[addr]
		next[addr] = h
	}
	return next
}
