package netlab

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// SampleEvery is how often a Sampler looks.
const SampleEvery = 5 * time.Millisecond

const maxHosts = 16 // of one sampler: a sample keeps one bit per address and host in 64 bits

// Sampler finds out every 5 ms which hosts have the addresses, on any link, by asking each
// host's kernel for all its addresses. If it sees two holders it asks again the ones it asked
// first: it counts them only if the first still holds after the second was seen to hold, so
// that a hand-over between two questions is no overlap.
type Sampler struct {
	reach func(a, b *Host) bool // whether they can reach each other now
	hosts []*Host
	vips  []netip.Addr
	dumps []*dumper

	mu      sync.Mutex
	samples []sample
	err     error

	last atomic.Uint64 // mask of the last sample
	stop chan struct{}
	done chan struct{}
}

// sample is one look at all hosts. Bit i*maxHosts+j of the mask: host j has address i.
type sample struct {
	at          time.Time
	mask        uint64
	two, twoAny bool
}

// Sample starts a Sampler for up to four addresses on up to sixteen hosts; Stop ends it.
func (l *Lab) Sample(vips []netip.Addr, hosts ...*Host) (*Sampler, error) {
	return newSampler(l.Reachable, vips, hosts)
}

func newSampler(reach func(a, b *Host) bool, vips []netip.Addr, hosts []*Host) (*Sampler, error) {
	if len(vips) == 0 || len(vips) > 4 || len(hosts) == 0 || len(hosts) > maxHosts {
		return nil, fmt.Errorf("sample holders: %d addresses on %d hosts, want 1 to 4 on 1 to %d", len(vips), len(hosts), maxHosts)
	}
	s := &Sampler{reach: reach, hosts: hosts, vips: vips, stop: make(chan struct{}), done: make(chan struct{})}
	for _, h := range hosts {
		d, err := newDumper(h)
		if err != nil {
			s.close()
			return nil, err
		}
		s.dumps = append(s.dumps, d)
	}
	if err := s.takeSample(); err != nil {
		s.close()
		return nil, err
	}
	onThread(s.run)
	return s, nil
}

func (s *Sampler) close() {
	for _, d := range s.dumps {
		d.close()
	}
}

// run samples until told to stop. It has a thread of its own with a higher priority, so that
// busy processes do not delay it.
func (s *Sampler) run() {
	defer close(s.done)
	defer s.close()
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -10) // not essential
	tick := time.NewTicker(SampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		if err := s.takeSample(); err != nil {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
			return
		}
	}
}

// takeSample takes one sample.
func (s *Sampler) takeSample() error {
	now := time.Now()
	mask, err := s.query()
	if err != nil {
		return err
	}
	if s.vanished(mask) {
		again, err := s.query()
		if err != nil {
			return err
		}
		mask |= again
	}
	sm := sample{at: now, mask: mask}
	if s.overlap(mask, false) {
		again, err := s.query() // every host after every host's first answer
		if err != nil {
			return err
		}
		sm.two, sm.twoAny = s.overlap(mask&again, true), s.overlap(mask&again, false)
	}
	s.last.Store(mask)
	s.mu.Lock()
	s.samples = append(s.samples, sm)
	s.mu.Unlock()
	return nil
}

// vanished reports whether nobody has an address that somebody had in the sample before. The hosts are
// asked one after the other: an address that moves from one that is still to be asked to one that was
// asked is seen on neither.
func (s *Sampler) vanished(mask uint64) bool {
	last := s.last.Load()
	for i := range s.vips {
		if len(s.holders(mask, i)) == 0 && len(s.holders(last, i)) > 0 {
			return true
		}
	}
	return false
}

// query asks every host once.
func (s *Sampler) query() (mask uint64, err error) {
	for j, d := range s.dumps {
		err := d.dump(func(a netip.Addr) {
			for i, vip := range s.vips {
				if a == vip {
					mask |= 1 << (i*maxHosts + j)
				}
			}
		})
		if err != nil {
			return 0, fmt.Errorf("sample host %s: %w", s.hosts[j].Name, err)
		}
	}
	return mask, nil
}

// overlap says whether two hosts have the same address; with reachable only if they can reach
// each other.
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

// Holders returns who had an address at the last sample.
func (s *Sampler) Holders(vip netip.Addr) []*Host {
	for i, v := range s.vips {
		if v == vip {
			return s.holders(s.last.Load(), i)
		}
	}
	return nil
}

// Freeze ends the sampler and returns what went wrong, if anything. The samples stay readable.
func (s *Sampler) Stop() error {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
