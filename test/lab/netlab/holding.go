package netlab

import (
	"net/netip"
	"slices"
	"time"
)

// HolderReport is what a Sampler saw in a window.
type HolderReport struct {
	Samples int // how often it looked
	// TwoHolders counts samples in which two hosts that can reach each other had the same
	// address; TwoHoldersAny also counts hosts cut off from each other.
	TwoHolders, TwoHoldersAny int
	// MaxGap is the longest time between two looks: more than a few times SampleEvery means
	// that the machine was too busy to be sure.
	MaxGap   time.Duration
	Timeline []Change
}

// Change is the moment from which other hosts than before had an address.
type Change struct {
	At      time.Time
	VIP     netip.Addr
	Holders []string // names; nil: nobody
}

// Window returns what the sampler saw from one instant to another; zero instants are open ends.
// The timeline begins with the state at the first sample.
func (s *Sampler) Window(from, to time.Time) HolderReport {
	s.mu.Lock()
	samples := s.samples[s.index(from):]
	s.mu.Unlock()
	var h HolderReport
	var before sample
	for i, sm := range samples {
		if !to.IsZero() && sm.at.After(to) {
			break
		}
		h.count(sm)
		if i > 0 {
			h.MaxGap = max(h.MaxGap, sm.at.Sub(before.at))
		}
		for v, vip := range s.vips {
			if old, now := s.holders(before.mask, v), s.holders(sm.mask, v); i == 0 || !slices.Equal(old, now) {
				h.Timeline = append(h.Timeline, Change{At: sm.at, VIP: vip, Holders: names(now)})
			}
		}
		before = sm
	}
	return h
}

// index finds the first sample at or after an instant. The caller holds the lock.
func (s *Sampler) index(from time.Time) int {
	i, _ := slices.BinarySearchFunc(s.samples, from, func(sm sample, t time.Time) int { return sm.at.Compare(t) })
	return i
}

func (h *HolderReport) count(sm sample) {
	h.Samples++
	if sm.two {
		h.TwoHolders++
	}
	if sm.twoAny {
		h.TwoHoldersAny++
	}
}

func names(hosts []*Host) []string {
	var all []string
	for _, h := range hosts {
		all = append(all, h.Name)
	}
	return all
}
