package ipam

import (
	"fmt"
	"iter"
	"slices"
)

// entry is one range and where it is written.
type entry struct {
	Range
	pool string
}

// Overlaps names for each pool what it has in common with others, as "pool NAME: RANGE", sorted, for
// its status. That is legal (S4): pools that overlap take from the same addresses.
func Overlaps(pools []Pool) map[string][]string {
	found := map[string][]string{}
	for a, b := range overlapping(pools) {
		if a.pool == b.pool {
			continue
		}
		common := Range{b.First, a.Last}
		if b.Last.Less(a.Last) {
			common.Last = b.Last
		}
		found[a.pool] = append(found[a.pool], fmt.Sprintf("pool %s: %s", b.pool, common))
		found[b.pool] = append(found[b.pool], fmt.Sprintf("pool %s: %s", a.pool, common))
	}
	for name, texts := range found {
		slices.Sort(texts)
		found[name] = slices.Compact(texts)
	}
	return found
}

// Merged is the same addresses in ranges that do not overlap, sorted: for a source of pools that allows
// it, as the ConfigMap of kube-vip's cloud provider does. Ranges that only touch stay apart.
func Merged(ranges []Range) []Range {
	var merged []Range
	for _, r := range slices.SortedFunc(slices.Values(ranges), func(a, b Range) int { return a.First.Compare(b.First) }) {
		if n := len(merged) - 1; n >= 0 && merged[n].Contains(r.First) {
			if merged[n].Last.Less(r.Last) {
				merged[n].Last = r.Last
			}
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// overlapping yields all pairs of ranges with a common address, the one that begins earlier first.
// After sorting, whatever overlaps a range stands right behind it.
func overlapping(pools []Pool) iter.Seq2[entry, entry] {
	var all []entry
	for _, p := range pools {
		for _, r := range p.Ranges {
			all = append(all, entry{r, p.Name})
		}
	}
	slices.SortStableFunc(all, func(a, b entry) int { return a.First.Compare(b.First) })
	return func(yield func(entry, entry) bool) {
		for i, a := range all {
			for _, b := range all[i+1:] {
				if !a.Contains(b.First) {
					break
				}
				if !yield(a, b) {
					return
				}
			}
		}
	}
}
