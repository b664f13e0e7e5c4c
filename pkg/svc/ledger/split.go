package ledger

import (
	"context"
	"net/netip"
	"slices"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

// layout says what belongs into each shard.
type layout struct {
	parts []ipam.Ledger
	sizes []int
	// full are the shards that have lost an entry to a later one: it was there first, and what counts is the
	// first. They are written after the others, and get nothing.
	full []bool
}

func (l *layout) add() {
	l.parts, l.sizes, l.full = append(l.parts, ipam.Ledger{}), append(l.sizes, 0), append(l.full, false)
}

func (l *layout) put(i int, addr netip.Addr, holders []ipam.Holder) {
	l.parts[i][addr] = holders
	l.sizes[i] += svc.EntrySize(addr, holders)
}

// split says what belongs into each shard. An entry stays in its shard as long as it fits; else it goes to a
// later one. New entries go to the first with room. Before the last shard gets its first entry, there is another
// one behind it.
func (b *Store) split(ctx context.Context, leases Leases, next ipam.Ledger) (layout, error) {
	plan, homeless := b.settled(next)
	for _, h := range homeless {
		size, at := svc.EntrySize(h.addr, next[h.addr]), h.from
		for plan.full[at] || plan.sizes[at] > 0 && plan.sizes[at]+size > b.cfg.MaxShard {
			at++ // the last one is empty
		}
		if at == len(plan.parts)-1 {
			if err := b.add(ctx, leases); err != nil {
				return layout{}, err
			}
			plan.add()
		}
		plan.put(at, h.addr, next[h.addr])
	}
	return plan, nil
}

// homeless is an entry that needs a shard, which is not before from.
type homeless struct {
	addr netip.Addr
	from int
}

// settled says what stays in each shard, and what needs another one, in the order of addresses: new entries,
// and those which have grown and do not fit any more. What did not change comes first.
func (b *Store) settled(next ipam.Ledger) (layout, []homeless) {
	var plan layout
	var rest []homeless
	known := map[netip.Addr]bool{}
	for i, s := range b.shards {
		plan.add()
		var grown []netip.Addr
		for addr, holders := range s.entries {
			known[addr] = true
			switch now, stays := next[addr]; {
			case !stays:
			case svc.EntrySize(addr, now) <= svc.EntrySize(addr, holders):
				plan.put(i, addr, now)
			default:
				grown = append(grown, addr)
			}
		}
		slices.SortFunc(grown, netip.Addr.Compare)
		for _, addr := range grown {
			if plan.sizes[i] > 0 && plan.sizes[i]+svc.EntrySize(addr, next[addr]) > b.cfg.MaxShard {
				plan.full[i] = true
				rest = append(rest, homeless{addr, i + 1})
				continue
			}
			plan.put(i, addr, next[addr])
		}
	}
	for addr := range next {
		if !known[addr] {
			rest = append(rest, homeless{addr: addr})
		}
	}
	slices.SortFunc(rest, func(x, y homeless) int { return x.addr.Compare(y.addr) })
	return plan, rest
}
