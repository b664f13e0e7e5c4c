package allocator

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
)

const (
	// ReasonAnnounced is the reason of the Event that says which node announces a Service, after each change.
	ReasonAnnounced = "Announced"
	// announceEvery paces those Events: when a node dies, thousands of Services change at once.
	announceEvery = 50 * time.Millisecond
	// announceWithin is for how long a change that this node has seen is told if it becomes the allocator: the
	// former one may have died with the node whose addresses have moved.
	announceWithin = 30 * time.Second
)

// announcement is what is to be told of a Service.
type announcement struct {
	service *svc.Service
	text    string
	at      time.Duration
}

// announcements follows where each Service is announced. Every node does so, and the one that is the allocator tells.
type announcements struct {
	placed uint64                // of Config.Placed, when it was last looked at; of the loop alone
	last   map[ipam.Owner]string // where it was announced last: a text that names the nodes, or ""

	mu      sync.Mutex
	pending map[ipam.Owner]announcement
	telling bool // this node is the allocator
}

func newAnnouncements() *announcements {
	return &announcements{last: map[ipam.Owner]string{}, pending: map[ipam.Owner]announcement{}}
}

// observe notes what has changed since it was called last. telling says that this node is the allocator.
func (a *Allocator) observe(telling bool) {
	n := a.announced
	n.mu.Lock()
	n.telling = telling
	n.mu.Unlock()
	placed := a.cfg.PlacementVersion()
	if placed == n.placed {
		return
	}
	n.placed = placed
	addresses := map[ipam.Owner][]netip.Addr{}
	for addr, holders := range a.cfg.Cache.Ledger() {
		for _, h := range holders {
			addresses[h.Owner] = append(addresses[h.Owner], addr)
		}
	}
	last := make(map[ipam.Owner]string, len(n.last))
	for _, s := range a.cfg.Cache.Services() {
		if s.Managed {
			n.note(s, addresses[s.Owner()], a.cfg.Placement, last, a.cfg.Clock())
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for owner, p := range n.pending {
		if _, exists := last[owner]; !exists || a.cfg.Clock()-p.at > announceWithin && !telling {
			delete(n.pending, owner)
		}
	}
	n.last = last
}

// begin notes that a Service was never told anything: wherever it is announced first is news, also if
// its condition is written before that is seen.
func (n *announcements) begin(owner ipam.Owner) {
	if _, seen := n.last[owner]; !seen {
		n.last[owner] = ""
	}
}

// note compares one Service with what it was, and puts what it is into last. Where nobody knows, nothing is new.
func (n *announcements) note(s *svc.Service, addresses []netip.Addr, placement func(netip.Addr) (placement.Decision, string), last map[ipam.Owner]string, now time.Duration) {
	owner := s.Owner()
	before, seen := n.last[owner]
	text, known := describe(addresses, placement)
	switch {
	case !known || len(addresses) == 0 && len(s.Status) > 0:
		if seen {
			last[owner] = before
		}
		return
	case text != "" && (seen && text != before || !seen && (s.Condition == nil || s.Condition.Reason != ReasonAllocated)):
		n.mu.Lock()
		n.pending[owner] = announcement{s, text, now}
		n.mu.Unlock()
	case text == "":
		n.mu.Lock()
		delete(n.pending, owner)
		n.mu.Unlock()
	}
	last[owner] = text
}

// describe says which nodes announce the addresses, "" if none does; not known where that is so of one of them.
func describe(addresses []netip.Addr, placement func(netip.Addr) (placement.Decision, string)) (text string, known bool) {
	slices.SortFunc(addresses, netip.Addr.Compare)
	var parts []string
	for _, addr := range addresses {
		d, _ := placement(addr)
		if d.Reason == "" {
			return "", false
		}
		if d.Announced() {
			parts = append(parts, addr.String()+" is announced by node "+d.Node)
		}
	}
	return strings.Join(parts, ", "), true
}

// tellAnnouncements posts the Events, the oldest change first, until ctx ends. Of several changes of one Service in the
// meantime the last is told.
func (a *Allocator) tellAnnouncements(ctx context.Context) {
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if next, ok := a.announced.take(); ok {
				limited, cancel := context.WithTimeout(ctx, requestTimeout)
				a.writer.announce(limited, next)
				cancel()
			}
		}
	}
}

// take returns the oldest of what is to be told now.
func (n *announcements) take() (next announcement, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.telling {
		return announcement{}, false
	}
	for _, p := range n.pending {
		if !ok || p.at < next.at || p.at == next.at && p.service.Owner() < next.service.Owner() {
			next, ok = p, true
		}
	}
	if ok {
		delete(n.pending, next.service.Owner())
	}
	return next, ok
}
