package netlab

import "time"

// Outage returns the longest gap between the starts of successful requests that overlaps the
// window. Requests come in order of their starts. The last success before the window and the
// first one after it bound the outer gaps; where there is none, the window does. Without any
// loss the result is the interval of the requests, not zero.
func Outage(reqs []Request, from, to time.Time) time.Duration {
	var gap time.Duration
	last := from
	for _, r := range reqs {
		switch {
		case !r.OK():
			continue
		case r.Start.Before(from):
			last = r.Start
			continue
		}
		gap = max(gap, r.Start.Sub(last))
		last = r.Start
		if !r.Start.Before(to) {
			return gap
		}
	}
	return max(gap, to.Sub(last))
}
