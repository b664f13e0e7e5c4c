package ledger

import (
	"context"
	"net/netip"
	"slices"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

// split says what belongs into each shard. An entry that is there stays where it is; before the last
// shard gets its first, there is another one behind it.
func (b *Book) split(ctx context.Context, leases Leases, next ipam.Ledger) ([]ipam.Ledger, error) {
	parts, sizes, fresh := b.settled(next)
	at := 0
	for _, addr := range fresh {
		size := svc.EntrySize(addr, next[addr])
		for at < len(parts)-1 && sizes[at]+size > b.cfg.MaxShard {
			at++
		}
		if at == len(parts)-1 {
			if err := b.add(ctx, leases); err != nil {
				return nil, err
			}
			parts, sizes = append(parts, ipam.Ledger{}), append(sizes, 0)
		}
		parts[at][addr] = next[addr]
		sizes[at] += size
	}
	return parts, nil
}

// settled says what stays in each shard and how much room that takes, and which addresses are new.
func (b *Book) settled(next ipam.Ledger) (parts []ipam.Ledger, sizes []int, fresh []netip.Addr) {
	parts, sizes = make([]ipam.Ledger, len(b.shards)), make([]int, len(b.shards))
	where := map[netip.Addr]int{}
	for i, s := range b.shards {
		parts[i] = ipam.Ledger{}
		for addr := range s.entries {
			where[addr] = i
		}
	}
	for addr, holders := range next {
		i, known := where[addr]
		if !known {
			fresh = append(fresh, addr)
			continue
		}
		parts[i][addr] = holders
		sizes[i] += svc.EntrySize(addr, holders)
	}
	slices.SortFunc(fresh, netip.Addr.Compare)
	return parts, sizes, fresh
}
