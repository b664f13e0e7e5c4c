package netlab

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// SampleEvery is the interval of a Sampler.
const SampleEvery = 5 * time.Millisecond

const maxHosts = 16 // of one sampler: a sample keeps one bit per address and host in 64 bits

// answerWithin is how long a sample waits for the answers of hosts that answered the last one, and
// quickAnswer how long it waits for others: an answer that comes later counts for the next sample.
const (
	answerWithin = 2 * time.Millisecond
	quickAnswer  = 300 * time.Microsecond
)

// Sampler records every 5 ms which hosts have the addresses: those that answer ARP requests and
// neighbour solicitations for them on the wire. If it finds two holders it asks all hosts again: it
// counts two holders only if both answer again. A hand-over between two questions is not an
// overlap.
type Sampler struct {
	reach func(a, b *Host) bool // reports whether they can reach each other now
	hosts []*Host
	vips  []netip.Addr
	wires []*wire

	mu      sync.Mutex
	samples []sample

	last atomic.Uint64 // mask of the last sample
	*sampling
}

// sample is one query of all hosts. Bit i*maxHosts+j of the mask: host j has address i.
type sample struct {
	at          time.Time
	mask        uint64
	two, twoAny bool
}

// Sample starts a Sampler of up to four addresses on up to sixteen hosts. Stop ends it.
func (l *Lab) Sample(vips []netip.Addr, hosts ...*Host) (*Sampler, error) {
	open := func(h *Host) (*wire, error) { return newWire(l.sw.ns, h.port, vips) }
	return newSampler(l.Reachable, open, vips, hosts)
}

func newSampler(reach func(a, b *Host) bool, open func(*Host) (*wire, error), vips []netip.Addr,
	hosts []*Host) (*Sampler, error) {
	if len(vips) == 0 || len(vips) > 4 || len(hosts) == 0 || len(hosts) > maxHosts {
		return nil, fmt.Errorf("sample holders: %d addresses on %d hosts, want 1 to 4 on 1 to %d",
			len(vips), len(hosts), maxHosts)
	}
	s := &Sampler{reach: reach, hosts: hosts, vips: vips}
	for _, h := range hosts {
		w, err := open(h)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("sample host %s: %w", h.Name, err)
		}
		s.wires = append(s.wires, w)
	}
	if err := s.takeSample(); err != nil {
		s.close()
		return nil, err
	}
	s.sampling = startSampling(SampleEvery, s.takeSample, s.close)
	return s, nil
}

func (s *Sampler) close() {
	for _, w := range s.wires {
		w.close()
	}
}

// takeSample takes one sample.
func (s *Sampler) takeSample() error {
	now := time.Now()
	mask, err := s.query(0)
	if err != nil {
		return err
	}
	sm := sample{at: now, mask: mask}
	if s.overlap(mask, false) {
		if _, err := s.collect(0); err != nil { // late answers do not count
			return err
		}
		again, err := s.query(mask) // after the first answers of all hosts
		if err != nil {
			return err
		}
		sm.two, sm.twoAny = s.overlap(mask&again, true), s.overlap(mask&again, false)
	}
	s.last.Store(mask)
	s.mu.Lock()
	s.samples = append(s.samples, sm)
	s.fill()
	s.mu.Unlock()
	return nil
}

// fill corrects the sample before the last one where a host missed it alone: a busy machine may
// answer late.
func (s *Sampler) fill() {
	if n := len(s.samples); n >= 3 {
		s.samples[n-2].mask |= s.samples[n-3].mask & s.samples[n-1].mask
	}
}

// query asks every host once, and waits for those that have the addresses in expected or in the
// last sample.
func (s *Sampler) query(expected uint64) (mask uint64, err error) {
	expected |= s.last.Load()
	for j, w := range s.wires {
		if err := w.ask(); err != nil {
			return 0, fmt.Errorf("sample host %s: %w", s.hosts[j].Name, err)
		}
	}
	for began := time.Now(); ; {
		more, err := s.collect(quickAnswer)
		if err != nil {
			return 0, err
		}
		mask |= more
		if waited := time.Since(began); waited >= answerWithin ||
			waited >= quickAnswer && mask&expected == expected {
			return mask, nil
		}
	}
}

// collect returns the answers that have come, and waits for the first one if there is none.
func (s *Sampler) collect(timeout time.Duration) (mask uint64, err error) {
	fds := make([]unix.PollFd, len(s.wires))
	for j, w := range s.wires {
		fds[j] = unix.PollFd{Fd: int32(w.fd), Events: unix.POLLIN}
	}
	limit := unix.NsecToTimespec(timeout.Nanoseconds())
	if _, err := unix.Ppoll(fds, &limit, nil); err != nil && err != unix.EINTR {
		return 0, fmt.Errorf("wait for answers: %w", err)
	}
	for j, w := range s.wires {
		err := w.answers(func(vip int) { mask |= 1 << (vip*maxHosts + j) })
		if err != nil {
			return 0, fmt.Errorf("sample host %s: %w", s.hosts[j].Name, err)
		}
	}
	return mask, nil
}

// overlap reports whether two hosts have the same address and, with reachable, can reach each
// other.
func (s *Sampler) overlap(mask uint64, reachable bool) bool {
	for i := range s.vips {
		holders := s.holders(mask, i)
		for j, a := range holders {
			for _, b := range holders[j+1:] {
				if !reachable || s.reach(a, b) {
					return true
				}
			}
		}
	}
	return false
}

func (s *Sampler) holders(mask uint64, vip int) []*Host {
	mask >>= vip * maxHosts
	if mask&(1<<maxHosts-1) == 0 {
		return nil
	}
	var all []*Host
	for j, h := range s.hosts {
		if mask&(1<<j) != 0 {
			all = append(all, h)
		}
	}
	return all
}

// Holders returns the hosts that had an address at the last sample.
func (s *Sampler) Holders(vip netip.Addr) []*Host {
	for i, v := range s.vips {
		if v == vip {
			return s.holders(s.last.Load(), i)
		}
	}
	return nil
}

// HolderReport is what a Sampler recorded in a window.
type HolderReport struct {
	Samples int
	// TwoHolders counts samples in which two hosts that can reach each other had the same
	// address; TwoHoldersAny also counts hosts cut off from each other.
	TwoHolders, TwoHoldersAny int
	// MaxGap is the longest time between two samples. More than a few times SampleEvery means that
	// the machine was too busy for a reliable result.
	MaxGap   time.Duration
	Timeline []Change
}

// Change is the time from which other hosts than before had an address.
type Change struct {
	At      time.Time
	VIP     netip.Addr
	Holders []string // names; nil: none
}

// Window returns the report from one instant to another. A zero instant means no limit. The
// timeline begins with the state at the first sample.
func (s *Sampler) Window(from, to time.Time) HolderReport {
	s.mu.Lock()
	samples := slices.Clone(s.samples[s.index(from):]) // fill changes the last but one
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
			if old, now := s.holders(before.mask, v), s.holders(sm.mask, v); i == 0 ||
				!slices.Equal(old, now) {
				h.Timeline = append(h.Timeline, Change{At: sm.at, VIP: vip, Holders: names(now)})
			}
		}
		before = sm
	}
	return h
}

// index finds the first sample at or after an instant. The caller holds the lock.
func (s *Sampler) index(from time.Time) int {
	i, _ := slices.BinarySearchFunc(s.samples, from,
		func(sm sample, t time.Time) int { return sm.at.Compare(t) })
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
