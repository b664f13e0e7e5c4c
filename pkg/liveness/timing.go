package liveness

import (
	"time"

	"github.com/kvip/kvip/pkg/backoff"
)

const (
	// minInterval is the shortest time between two renewals of one node.
	minInterval = time.Second
	// writesPerSecond limits the writes of all nodes together (S1).
	writesPerSecond = 20
	// intervals that a Lease lasts (S1).
	intervals = 5
	// minBackoff is the pause after the first failed renewal.
	minBackoff = 250 * time.Millisecond
)

// Interval returns the time between two renewals of one node's Lease for a number of nodes: 1 s up
// to 20 nodes, and beyond that such that all together write 20 times per second (S1).
func Interval(nodes int) time.Duration {
	return max(minInterval, time.Duration(nodes)*time.Second/writesPerSecond)
}

// Duration returns how long a Lease lasts for a number of nodes: five intervals (S1), rounded up
// to the whole seconds of spec.leaseDurationSeconds.
func Duration(nodes int) time.Duration {
	return (intervals*Interval(nodes) + time.Second - 1).Truncate(time.Second)
}

// Backoff returns the pause after a number of failed renewals in a row of a Lease of the given
// duration: 250 ms, doubled with each failure, at most a tenth of the duration. Jitter may shorten
// it and must not lengthen it: a node that an outage interrupted has to renew before a node that
// it did not interrupt may judge it (S2).
func Backoff(failures int, duration time.Duration) time.Duration {
	if duration <= 0 {
		return 0
	}
	return backoff.Backoff{Min: minBackoff, Max: duration / 10}.After(failures)
}

// maxGap returns how far apart two confirmed renewals may be before the time between them counts as
// an outage. An interval, this gap and the longest backoff are together less than a duration (0.95
// of it), so no other node is silent for a whole duration because of an outage too short to be
// noticed (S2). The gap is as long as that allows: when the node of etcd's leader dies, etcd
// accepts no writes for a second or two, and if that counted as an outage, the dead node would get
// its duration again.
func maxGap(duration time.Duration) time.Duration { return duration * 13 / 20 }
