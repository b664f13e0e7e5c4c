package allocator

import (
	"context"
	"net/netip"
	"slices"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

// layout has the entries of each shard.
type layout struct {
	parts []ipam.Ledger
	sizes []int // bytes
	// full shards lose an entry to a later one. The first of two entries counts, so they are written
	// after the others, and get no further entries.
	full []bool
}

func (l *layout) add() {
	l.parts, l.sizes = append(l.parts, ipam.Ledger{}), append(l.sizes, 0)
	l.full = append(l.full, false)
}

func (l *layout) put(i int, addr netip.Addr, entries []ipam.Entry) {
	l.parts[i][addr] = entries
	l.sizes[i] += svc.EntrySize(addr, entries)
}

// unplaced is an entry without a shard. It must not be placed before the shard from.
type unplaced struct {
	addr netip.Addr
	from int
}

// split distributes next. An entry stays in its shard while it fits, else it moves to a later one.
// New entries go to the first shard with room. split adds a shard before the last one gets an
// entry.
func (st *store) split(ctx context.Context, leases leaseClient, next ipam.Ledger) (layout, error) {
	plan, rest := st.inPlace(next)
	for _, u := range rest {
		size, at := svc.EntrySize(u.addr, next[u.addr]), u.from
		for plan.full[at] || plan.sizes[at] > 0 && plan.sizes[at]+size > st.cfg.maxShardBytes {
			at++ // the last one is empty
		}
		if at == len(plan.parts)-1 {
			if err := st.add(ctx, leases); err != nil {
				return layout{}, err
			}
			plan.add()
		}
		plan.put(at, u.addr, next[u.addr])
	}
	return plan, nil
}

// inPlace returns the entries that stay in their shards, and those that need another one, sorted by
// address: new ones, and those that have grown too large. Entries that have not grown come first.
func (st *store) inPlace(next ipam.Ledger) (layout, []unplaced) {
	var plan layout
	var rest []unplaced
	known := map[netip.Addr]bool{}
	for i, s := range st.shards {
		plan.add()
		var grown []netip.Addr
		for addr, entries := range s.entries {
			known[addr] = true
			switch now, stays := next[addr]; {
			case !stays:
			case svc.EntrySize(addr, now) <= svc.EntrySize(addr, entries):
				plan.put(i, addr, now)
			default:
				grown = append(grown, addr)
			}
		}
		slices.SortFunc(grown, netip.Addr.Compare)
		for _, addr := range grown {
			if plan.sizes[i] > 0 && plan.sizes[i]+svc.EntrySize(addr, next[addr]) > st.cfg.maxShardBytes {
				plan.full[i] = true
				rest = append(rest, unplaced{addr, i + 1})
				continue
			}
			plan.put(i, addr, next[addr])
		}
	}
	for addr := range next {
		if !known[addr] {
			rest = append(rest, unplaced{addr: addr})
		}
	}
	slices.SortFunc(rest, func(x, y unplaced) int { return x.addr.Compare(y.addr) })
	return plan, rest
}
