package allocator

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
)

const (
	// ReasonAnnounced is the reason of the Event that names the node of a Service, after each change.
	ReasonAnnounced = "Announced"
	// nodeChangePause is the time between two of these Events: if a node fails, thousands of Services
	// change at once.
	nodeChangePause = 50 * time.Millisecond
	// nodeChangeMaxAge is how long a change is kept until this node becomes the leader: the former
	// leader may have failed with the node whose addresses moved.
	nodeChangeMaxAge = 30 * time.Second
)

// nodeChange is a change of the node of a Service that needs an Event.
type nodeChange struct {
	service *svc.Service
	text    string
	at      time.Duration
}

// nodeChanges follow which nodes announce each Service. Every node does this, and the leader
// posts the Events.
type nodeChanges struct {
	// of the placement last observed; used by the reconcile loop only
	version uint64
	last    map[ipam.ServiceKey]string // names the nodes; "" if no node announces the Service

	mu      sync.Mutex
	pending map[ipam.ServiceKey]nodeChange
	leader  bool // this node posts
}

func newNodeChanges() *nodeChanges {
	return &nodeChanges{last: map[ipam.ServiceKey]string{}, pending: map[ipam.ServiceKey]nodeChange{}}
}

// observeNodeChanges records what changed since the last call.
func (a *Allocator) observeNodeChanges(leader bool) {
	n, now := a.nodeChanges, a.cfg.Clock()
	n.mu.Lock()
	n.leader = leader
	n.mu.Unlock()
	version := a.cfg.PlacementVersion()
	if version == n.version {
		return
	}
	n.version = version
	addresses := map[ipam.ServiceKey][]netip.Addr{}
	for addr, entries := range a.cfg.Cache.Ledger() {
		for _, e := range entries {
			addresses[e.Service] = append(addresses[e.Service], addr)
		}
	}
	next := make(map[ipam.ServiceKey]string, len(n.last))
	for _, s := range a.cfg.Cache.Services() {
		if !s.Managed {
			continue
		}
		text, known := describe(addresses[s.Key()], a.cfg.Placement)
		if known && (len(addresses[s.Key()]) > 0 || len(s.Status) == 0) {
			n.compare(s, text, now)
			next[s.Key()] = text
		} else if before, seen := n.last[s.Key()]; seen { // unknown: no change
			next[s.Key()] = before
		}
	}
	n.replace(next, now)
}

// add records that a Service has no condition yet: its first node is a change, even if the
// condition is written before the node is observed.
func (n *nodeChanges) add(key ipam.ServiceKey) {
	if _, seen := n.last[key]; !seen {
		n.last[key] = ""
	}
}

// compare records a change if text differs from the last one.
func (n *nodeChanges) compare(s *svc.Service, text string, now time.Duration) {
	key := s.Key()
	before, seen := n.last[key]
	isNew := !seen && (s.Condition == nil || s.Condition.Reason != ReasonAllocated)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case text == "":
		delete(n.pending, key)
	case seen && text != before || isNew:
		n.pending[key] = nodeChange{s, text, now}
	}
}

// replace sets the present state, and drops changes of deleted Services. Without leadership it
// drops old ones, too.
func (n *nodeChanges) replace(next map[ipam.ServiceKey]string, now time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for key, p := range n.pending {
		if _, exists := next[key]; !exists || now-p.at > nodeChangeMaxAge && !n.leader {
			delete(n.pending, key)
		}
	}
	n.last = next
}

// describe names the nodes that announce the addresses, "" if none does. It is unknown if that is
// so for one of them.
func describe(
	addresses []netip.Addr, placement func(netip.Addr) (placement.Decision, string),
) (text string, known bool) {
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

// postNodeChanges posts the Events until ctx ends, the oldest change first. Of several changes of
// one Service it posts the last.
func (a *Allocator) postNodeChanges(ctx context.Context) {
	tick := time.NewTicker(nodeChangePause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if next, ok := a.nodeChanges.next(); ok {
				limited, cancel := context.WithTimeout(ctx, requestTimeout)
				a.events.postChange(limited, next.service, corev1.EventTypeNormal, ReasonAnnounced, next.text)
				cancel()
			}
		}
	}
}

// next removes and returns the oldest change, if this node is the leader.
func (n *nodeChanges) next() (oldest nodeChange, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.leader {
		return nodeChange{}, false
	}
	for _, p := range n.pending {
		if !ok || p.at < oldest.at || p.at == oldest.at && p.service.Key() < oldest.service.Key() {
			oldest, ok = p, true
		}
	}
	if ok {
		delete(n.pending, oldest.service.Key())
	}
	return oldest, ok
}
