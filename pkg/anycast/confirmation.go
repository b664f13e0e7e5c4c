package anycast

import "time"

// observed is a Health with the instant at which it was read.
type observed struct {
	Health
	at time.Duration
}

// confirmation decides whether decisions count (B6): after a pause of the loop they do once it has
// seen a health that was read since. What waits in a channel after a pause is of before. It is
// pure.
type confirmation struct {
	turnAt, resumedAt time.Duration
	observed          time.Duration // when the health was read that the loop has seen last
}

// turn records that the loop runs.
func (c *confirmation) turn(now time.Duration) {
	if c.turnAt != 0 && now-c.turnAt > maxStamp {
		c.resumedAt = now
	}
	c.turnAt = now
}

// given reports whether decisions count.
func (c *confirmation) given() bool { return c.observed >= c.resumedAt }
