package agent

import (
	"fmt"
	"time"

	"github.com/kvip/kvip/pkg/link"
)

const (
	// defaultRouteWait is how long a better reason than the default route is waited for at the start:
	// at boot, addresses come one after the other. An agent that was restarted need not wait: to find
	// no link would make it give the address up that it is to keep (E8).
	defaultRouteWait = 5 * time.Second
	// lostReasonWait is how long a link is kept whose reason is gone: who reconfigures a link removes
	// its addresses first.
	lostReasonWait = 5 * time.Second
)

// chooser decides which link carries the addresses. An address never moves between links only
// because another one came up: it does for a better reason to choose that one, when the link in use
// became the port of another or is not usable while that one is, and when the reason for the link in
// use has been gone for a while. It reads no clock and asks no kernel.
type chooser struct {
	began   time.Time
	left    int         // index of the link with an address that an earlier agent left, 0 for none
	now     link.Choice // in use; Index 0: none
	lost    time.Time   // since when less speaks for the link in use than once did; zero: it does not
	pending bool        // another link is to be used as soon as this node does not hold
}

// next returns the link to use. current is what the link in use is like now, nil if it is gone. While
// holding, a link that is to be given up is returned as not usable: the machine then leaves in order.
func (c *chooser) next(now time.Time, current *link.Link, candidates []link.Choice, holding bool) link.Link {
	if c.began.IsZero() {
		c.began = now
	}
	c.pending = false
	if current == nil {
		return c.first(now, candidates)
	}
	c.now.Link = *current
	if len(candidates) == 0 {
		return c.now.Link
	}
	best := candidates[0]
	why := c.better(now, best, candidates)
	switch {
	case why == "":
		return c.now.Link
	case holding:
		c.pending = true
		leaving := *current
		leaving.Usable, leaving.Reason = false, fmt.Sprintf("leaving it for %s: %s", best.Name, why)
		return leaving
	}
	c.take(best)
	return c.now.Link
}

// first chooses where no link is in use.
func (c *chooser) first(now time.Time, candidates []link.Choice) link.Link {
	c.now, c.lost = link.Choice{}, time.Time{}
	if len(candidates) == 0 {
		return link.Link{}
	}
	if candidates[0].Basis == link.ByDefaultRoute && candidates[0].Index != c.left && now.Sub(c.began) < defaultRouteWait {
		return link.Link{Reason: fmt.Sprintf("only the default route, on %s, speaks for a link; waiting up to %v for an address or a route",
			candidates[0].Name, defaultRouteWait)}
	}
	c.take(candidates[0])
	return c.now.Link
}

func (c *chooser) take(next link.Choice) { c.now, c.lost = next, time.Time{} }

// better returns why best is to be used in place of the link in use, or "".
func (c *chooser) better(now time.Time, best link.Choice, candidates []link.Choice) string {
	if best.Index == c.now.Index && !c.now.Better(best) {
		c.take(best)
		return ""
	}
	present := link.Choice{} // the reason for the link in use, as of now
	for _, one := range candidates {
		if one.Index == c.now.Index {
			present = one
		}
	}
	switch {
	case best.Index == c.now.Index:
	case c.now.Master != 0:
		return c.now.Name + " became a port of it"
	case best.Better(c.now):
		return fmt.Sprintf("chosen by %s, and %s by %s", best.Basis, c.now.Name, c.now.Basis)
	case !c.now.Usable && best.Usable:
		return c.now.Name + " is not usable: " + c.now.Reason
	}
	if !c.now.Better(present) {
		c.lost = time.Time{}
		return ""
	}
	if c.lost.IsZero() {
		c.lost = now
	}
	if now.Sub(c.lost) < lostReasonWait {
		return ""
	}
	if best.Index == c.now.Index {
		c.take(best)
		return ""
	}
	return fmt.Sprintf("%s was chosen by %s, which is gone", c.now.Name, c.now.Basis)
}
