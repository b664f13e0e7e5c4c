package speaker

import (
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/svc"
)

// strangerAgain is for how long one stranger that claims an address is not logged again.
const strangerAgain = time.Minute

// sighted judges another machine's announcement of an address that this node has. ARP cannot say who is
// newer (S3): who is not sure yields, and who has a fresh view that says "mine" defends.
func (a *Speaker) sighted(s arp.Conflict) {
	h, ours := a.have[s.VIP]
	if !ours || s.At < h.since {
		return
	}
	node := a.nodeOf(s.MAC.String())
	switch {
	case h.leaving && node != "": // the new owner has it
		a.drop(s, "taken over by "+node)
	case !a.cfg.NodeLease.View().Fresh || h.adopted || a.suspect:
		a.cfg.Log.Warn("another machine announces an address of this node, which has no fresh view: yielding", "vip", s.VIP, "reason", claimant(node, s))
		a.drop(s, "yielded")
	case !h.leaving:
		a.cfg.Announcer.Defend(s.VIP)
		a.stranger(s, node)
	}
}

// drop gives one address up with the next turn, which is due at once: many may come together. It comes
// back only by a fresh decision.
func (a *Speaker) drop(s arp.Conflict, why string) {
	h := a.have[s.VIP]
	h.leaving, h.until = true, a.cfg.Clock()
	a.have[s.VIP] = h
	a.cfg.Log.Debug("dropping an address", "vip", s.VIP, "reason", why)
	a.rouse()
}

// expire gives up what is leaving and whose time is up.
func (a *Speaker) expire() {
	next, now := holdings{}, a.cfg.Clock()
	for addr, h := range a.have {
		if !h.leaving || now < h.until {
			next[addr] = h
		}
	}
	if len(next) < len(a.have) {
		a.become(next, a.last)
	}
}

// nodeOf returns the kvip node that has a MAC, by its Lease; "" if none has.
func (a *Speaker) nodeOf(mac string) string {
	for _, l := range a.cfg.Cache.Leases() {
		if l.Role != svc.RoleNode {
			continue
		}
		for _, link := range l.Info.Links {
			if link.MAC == mac {
				return l.Info.Node
			}
		}
	}
	return ""
}

// stranger reports a machine that claims an address and is no kvip node.
func (a *Speaker) stranger(s arp.Conflict, node string) {
	a.cfg.Metrics.ServiceConflict()
	key := s.VIP.String() + " " + s.MAC.String()
	now := a.cfg.Clock()
	if at, told := a.reported[key]; told && now-at < strangerAgain {
		return
	}
	if len(a.reported) > 1000 { // a flood of invented MACs must not fill the memory
		clear(a.reported)
	}
	a.reported[key] = now
	a.cfg.Log.Warn("another machine claims an address of this node; defending it", "vip", s.VIP, "reason", claimant(node, s))
}

func claimant(node string, s arp.Conflict) string {
	if node == "" {
		return "claimed by " + s.MAC.String() + ", which no kvip node's Lease carries"
	}
	return "claimed by node " + node + " (" + s.MAC.String() + ")"
}
