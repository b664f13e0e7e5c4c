package liveness

import "time"

const (
	// minInterval is the least time between two renewals of one node.
	minInterval = time.Second
	// writesPerSecond is what all nodes together may cost the API server (S1).
	writesPerSecond = 20
	// intervals a Lease lasts (S1).
	intervals = 5
	// firstBackoff is the pause after a first failed renewal.
	firstBackoff = 250 * time.Millisecond
)

// Interval is the time between two renewals of one node's Lease among so many announcing
// nodes: a second up to 20 nodes, and so long beyond that all together write 20 times a second (S1).
func Interval(nodes int) time.Duration {
	return max(minInterval, time.Duration(nodes)*time.Second/writesPerSecond)
}

// Duration is how long a Lease lasts: five intervals (S1), rounded up to the whole seconds
// that a Lease can say.
func Duration(nodes int) time.Duration {
	return (intervals*Interval(nodes) + time.Second - 1).Truncate(time.Second)
}

// Backoff is the pause after so many failed renewals in a row of a Lease of the given
// duration: a quarter of a second, doubled by each failure, at most a tenth of the duration. Jitter
// may shorten it and must not lengthen it: a node that an outage interrupted has to renew before one that was
// lucky may judge it (S2).
func Backoff(failures int, duration time.Duration) time.Duration {
	if failures <= 0 {
		return 0
	}
	longest := duration / 10
	pause := firstBackoff
	for ; failures > 1 && pause < longest; failures-- {
		pause *= 2
	}
	return min(pause, longest)
}

// maxGap is how far apart two confirmed renewals may be before the time between them counts as an
// outage. An interval, this and the longest backoff are together less than a duration (0.95 of it), so that no peer is
// silent for a whole duration only because of an outage too short to be noticed (S2). It is as long as that allows: etcd
// writes nothing for a second or two when the node dies that its leader is on, and if that counted as an outage, the dead
// node would get its duration anew.
func maxGap(duration time.Duration) time.Duration { return duration * 13 / 20 }
