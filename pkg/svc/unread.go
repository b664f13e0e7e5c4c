package svc

import (
	"slices"
	"strings"
)

// HasSynced is whether everything was read once without which nothing may be decided: pools may be
// missing, as their definition may not be installed.
func (c *Cache) HasSynced() bool { return len(c.unread()) == 0 }

// HasSyncedPools is whether pools, and the networks of the cluster, were read as well, or it is known why they cannot be: their definition is
// not installed, or the right is missing. Addresses are given out only then.
func (c *Cache) HasSyncedPools() bool {
	states := []state{c.pools.state(), c.legacy.state()}
	if c.cfg.Reader.KubeVIP {
		states = append(states, c.cidrs.state())
	}
	for _, s := range states {
		if !s.synced && !s.absent {
			return false
		}
	}
	return c.HasSynced()
}

// Problem says what cannot be read at present, or "".
func (c *Cache) Problem() string {
	var all []string
	if kinds := c.unread(); len(kinds) > 0 {
		all = append(all, "not read yet: "+strings.Join(kinds, ", "))
	}
	for _, s := range c.needed() {
		if s.problem != "" && !slices.Contains(all, s.problem) {
			all = append(all, s.problem)
		}
	}
	return strings.Join(all, "; ")
}

// unread names the kinds that were not read yet.
func (c *Cache) unread() (kinds []string) {
	for _, s := range c.needed() {
		if !s.synced {
			kinds = append(kinds, s.kind)
		}
	}
	return kinds
}

type kindState struct {
	kind string
	state
}

// needed are the states of all kinds without which nothing may be decided.
func (c *Cache) needed() []kindState {
	return []kindState{
		{c.slices.kind, c.slices.state()}, {c.leases.kind, c.leases.state()}, {c.seat.kind, c.seat.state()},
		{c.nodes.kind, c.nodes.state()}, {c.services.kind, c.services.state()},
	}
}
