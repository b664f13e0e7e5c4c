package svc

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/ipam"
)

// Announcement is how clients find an address of Services.
type Announcement struct {
	// Pool is the name of the pool that decides, "" if there is none. Labels are those of the pool.
	Pool   string
	Labels map[string]string
	// BGP: routes lead to the address. Otherwise one node answers ARP and neighbour solicitations.
	BGP bool
	// Pending: the pools were not read yet, so the rest is unknown. A missing definition of pools is
	// not pending: without pools each address is one of Layer2.
	Pending bool
}

// Announcement returns how an address is announced: as the pool has it that the ledger names for
// the address, if that pool exists, else as the first pool by name that contains the address. The
// same pools and ledger give the same answer on each node (S2). A virtual IP of the control plane
// that Services share stays with its holder (S4).
func (c *Cache) Announcement(addr netip.Addr) Announcement {
	return c.announcements.current(c).of(addr)
}

// announcements remembers the last announcer, since a speaker asks for each of its addresses.
type announcements struct {
	mu   sync.Mutex
	last *announcementIndex
}

// announcementIndex is what decides about announcements, as of one count of changes.
type announcementIndex struct {
	changes uint64
	pending bool
	pools   []*Pool         // by name
	names   map[string]bool // of kube-vip's pools
	ledger  ipam.Ledger
}

// current returns the index of the present content of the cache.
func (a *announcements) current(c *Cache) *announcementIndex {
	changes := c.Changes() // before the rest is read, which may be newer
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last != nil && a.last.changes == changes {
		return a.last
	}
	state := c.pools.state()
	index := &announcementIndex{
		changes: changes, pending: !state.synced && !state.absent,
		pools: c.Pools(), names: map[string]bool{}, ledger: c.Ledger(),
	}
	legacy, _ := c.KubeVIPPools()
	for _, p := range legacy {
		index.names[p.Name] = true
	}
	a.last = index
	return index
}

// of returns how an address is announced.
func (i *announcementIndex) of(addr netip.Addr) Announcement {
	if i.pending {
		return Announcement{Pending: true}
	}
	if ipam.WithControlPlane(i.ledger[addr]) {
		return Announcement{}
	}
	for _, e := range i.ledger[addr] {
		if e.Pool == "" {
			continue
		}
		if p := i.named(e.Pool); p != nil {
			return p.announcement()
		}
		if i.names[e.Pool] {
			return Announcement{Pool: e.Pool}
		}
	}
	for _, p := range i.pools {
		if slices.ContainsFunc(p.ranges, func(r ipam.Range) bool { return r.Contains(addr) }) {
			return p.announcement()
		}
	}
	return Announcement{}
}

func (i *announcementIndex) named(name string) *Pool {
	at, found := slices.BinarySearchFunc(i.pools, name, func(p *Pool, name string) int {
		return strings.Compare(p.ObjectMeta.Name, name)
	})
	if !found {
		return nil
	}
	return i.pools[at]
}

func (p *Pool) announcement() Announcement {
	return Announcement{
		Pool: p.ObjectMeta.Name, Labels: p.Labels, BGP: p.Announcement == v1alpha1.BGP,
	}
}
