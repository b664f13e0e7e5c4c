package fence

import (
	"sort"
	"time"
)

// step is the distance of the short lifetimes, up to fineUpTo. Beyond that each is a
// thirty-second longer than the one before, so that a renewal loses at most 3 %.
const (
	step     = 20 * time.Millisecond
	fineUpTo = 2 * time.Second
	coarse   = 32
)

// lifetimes returns the lifetimes for which there are rules, ascending, none longer than longest.
// They are whole milliseconds.
func lifetimes(longest time.Duration) (list []time.Duration) {
	for life := step; life <= longest; {
		list = append(list, life)
		if life < fineUpTo {
			life += step
		} else {
			life += (life / coarse).Truncate(time.Millisecond)
		}
	}
	return list
}

// longestWithin returns the index of the longest lifetime that is not longer than limit, and
// whether there is one.
func longestWithin(list []time.Duration, limit time.Duration) (index int, ok bool) {
	index = sort.Search(len(list), func(i int) bool { return list[i] > limit }) - 1
	return index, index >= 0
}
