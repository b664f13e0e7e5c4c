package controlplane

import (
	"fmt"
	"time"

	"github.com/kvip/kvip/pkg/link"
)

const (
	// defaultRouteWait is how long to wait at the start for a better reason than the default route:
	// at boot, addresses appear one after the other. A restarted agent does not wait: without a
	// link it would give up the address that it is to keep (E8).
	defaultRouteWait = 5 * time.Second
	// lostBasisWait is how long a link is kept after the reason for it is gone: a program that
	// reconfigures a link removes its addresses first.
	lostBasisWait = 5 * time.Second
)

// linkChooser chooses the link that carries the addresses. An address does not move only because
// another link came up. It moves if there is a better reason for another link, if the link in use
// became a port of another or is not usable while the other is, or if the reason for the link in
// use has been gone for a while. It reads no clock and not the kernel.
type linkChooser struct {
	started   time.Time
	leftover  int         // index of the link with an address of an earlier agent, 0 for none
	current   link.Choice // in use; Index 0: none
	lostSince time.Time   // of the reason for the link in use; zero: it is not lost
	pending   bool        // another link is to be used as soon as this node does not hold
}

// next returns the link to use. current is the present state of the link in use, nil if it is gone.
// While holding, a link that is to be left is returned as not usable: the machine leaves in order.
func (c *linkChooser) next(now time.Time, current *link.Link, candidates []link.Choice,
	holding bool) link.Link {
	if c.started.IsZero() {
		c.started = now
	}
	c.pending = false
	if current == nil {
		return c.first(now, candidates)
	}
	c.current.Link = *current
	if len(candidates) == 0 {
		return c.current.Link
	}
	best := candidates[0]
	why := c.reasonToMove(now, best, candidates)
	switch {
	case why == "":
		return c.current.Link
	case holding:
		c.pending = true
		leaving := *current
		leaving.Usable = false
		leaving.Reason = fmt.Sprintf("leaving it for %s: %s", best.Name, why)
		return leaving
	}
	c.use(best)
	return c.current.Link
}

// first chooses if no link is in use.
func (c *linkChooser) first(now time.Time, candidates []link.Choice) link.Link {
	c.use(link.Choice{})
	if len(candidates) == 0 {
		return link.Link{}
	}
	best := candidates[0]
	if best.Basis == link.ByDefaultRoute && best.Index != c.leftover &&
		now.Sub(c.started) < defaultRouteWait {
		return link.Link{Reason: fmt.Sprintf("only the default route selects a link, %s; "+
			"waiting up to %v for an address or a route", best.Name, defaultRouteWait)}
	}
	c.use(best)
	return c.current.Link
}

func (c *linkChooser) use(next link.Choice) { c.current, c.lostSince = next, time.Time{} }

// reasonToMove returns why best is to replace the link in use, "" to keep it.
func (c *linkChooser) reasonToMove(now time.Time, best link.Choice,
	candidates []link.Choice) string {
	if best.Index == c.current.Index && !c.current.Better(best) {
		c.use(best)
		return ""
	}
	present := link.Choice{} // the link in use as a candidate now
	for _, one := range candidates {
		if one.Index == c.current.Index {
			present = one
		}
	}
	switch {
	case best.Index == c.current.Index:
	case c.current.Master != 0:
		return c.current.Name + " became a port of it"
	case best.Better(c.current):
		return fmt.Sprintf("chosen by %s, and %s by %s", best.Basis, c.current.Name, c.current.Basis)
	case !c.current.Usable && best.Usable:
		return c.current.Name + " is not usable: " + c.current.Reason
	}
	if !c.current.Better(present) {
		c.lostSince = time.Time{}
		return ""
	}
	if c.lostSince.IsZero() {
		c.lostSince = now
	}
	if now.Sub(c.lostSince) < lostBasisWait {
		return ""
	}
	if best.Index == c.current.Index {
		c.use(best)
		return ""
	}
	return fmt.Sprintf("%s was chosen by %s, which is gone", c.current.Name, c.current.Basis)
}
