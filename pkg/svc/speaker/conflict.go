package speaker

import (
	"slices"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/svc"
)

// resolution is what this node does about another host's claim of an address.
type resolution int

const (
	ignore resolution = iota
	release
	yield // release, as this node's own view may be the wrong one
	defend
)

// resolveConflict decides about a claim of a by another host, of which claimedBy is the kvip node,
// "" if it is a foreign one. ARP cannot tell whose information is newer (S3): a node with a stale
// view yields, and the owner with a fresh view defends. Claims from before the node got the address
// mean nothing.
func resolveConflict(a assigned, c arp.Conflict, claimedBy string, fresh bool) resolution {
	switch {
	case c.At < a.since:
		return ignore
	case a.phase == leaving && claimedBy != "":
		return release // the new owner announces it
	case !fresh || a.phase == adopted:
		return yield
	case a.phase == leaving:
		return ignore
	}
	return defend
}

// handleConflict acts on another host's claim of an address. The next reconcile, which is due at
// once, releases a lost address: many claims may arrive together. The address comes back only by a
// fresh decision. A node may claim an address before this one has decided about the change that
// moves it, so this one decides first: a defence would move clients back for an instant.
func (s *Speaker) handleConflict(c arp.Conflict) {
	if !s.applier.have.has(c.Addr) {
		return
	}
	node := s.nodeWithMAC(c.MAC.String())
	if node != "" && s.outdated(s.generation(s.view())) {
		s.reconcile()
		s.wake.Notify() // Run learns the time of the next one
	}
	a, ok := s.applier.have[c.Addr]
	if !ok {
		return
	}
	switch resolveConflict(a, c, node, s.cfg.NodeLease.View().Fresh) {
	case ignore:
		return
	case defend:
		s.cfg.Announcer.Defend(c.Addr)
		s.recorder.conflict(c, node)
		return
	case yield:
		s.recorder.yielded(c, node)
	case release:
		s.cfg.Log.Debug("another node owns the address now", "address", c.Addr, "node", node)
	}
	s.applier.have[c.Addr] = a.leave(s.cfg.Clock())
	s.wake.Notify()
}

// nodeWithMAC returns the kvip node whose Lease lists a MAC, or "".
func (s *Speaker) nodeWithMAC(mac string) string {
	for _, l := range s.cfg.Cache.Leases() {
		if l.Role == svc.RoleNode && slices.ContainsFunc(l.Info.Links, func(one svc.LinkInfo) bool {
			return one.MAC == mac
		}) {
			return l.Info.Node
		}
	}
	return ""
}
