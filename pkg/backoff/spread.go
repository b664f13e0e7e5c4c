package backoff

import (
	"math/bits"
	"time"
)

// Spread gives out phases of a period: multiples of the golden ratio, which divide the period
// evenly at any number of them. The first phase of the zero value is 0.
type Spread struct{ n uint64 }

// Next returns the next phase: at least 0 and less than period.
func (s *Spread) Next(period time.Duration) time.Duration {
	const golden = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	phase, _ := bits.Mul64(s.n*golden, uint64(period))
	s.n++
	return time.Duration(phase)
}
