package vip

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/link"
	"golang.org/x/sys/unix"
)

// FakeBulk is a BulkKernel in memory for tests: an address is there until 0.2 s after its
// lifetime has ended, by the clock it was given. It may be used from any goroutine.
type FakeBulk struct {
	clock boottime.Clock

	mu      sync.Mutex
	host    []fakeHostAddr // in the kernel's order: as they came
	failing map[netip.Addr]error
	listing error
	old     bool
	changes []Change
}

type fakeHostAddr struct {
	link.HostAddr
	valid, written time.Duration // valid may be Forever
}

// NewFakeBulk returns a host without addresses, whose lifetimes are counted on the clock.
func NewFakeBulk(clock boottime.Clock) *FakeBulk {
	return &FakeBulk{clock: clock, failing: map[netip.Addr]error{}}
}

// Fail makes every later change of an address fail with err and do nothing, until err is nil.
func (f *FakeBulk) Fail(vip netip.Addr, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing[vip] = err
}

// FailListing makes every later listing fail with err, until err is nil.
func (f *FakeBulk) FailListing(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listing = err
}

// ForgetMarks makes this a kernel before 5.18, which keeps no IFA_PROTO.
func (f *FakeBulk) ForgetMarks() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.old = true
}

// KeepsMarks implements BulkKernel.
func (f *FakeBulk) KeepsMarks([]link.HostAddr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.old
}

// Put places an address as somebody else, or an earlier run, would.
func (f *FakeBulk) Put(h link.HostAddr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put(h, lifetime(h))
}

// Remove takes an address away from all links, as somebody else would.
func (f *FakeBulk) Remove(vip netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.host = slices.DeleteFunc(f.host, func(h fakeHostAddr) bool { return h.Prefix.Addr() == vip })
}

// Has says whether an address is on this host now, whoever put it there.
func (f *FakeBulk) Has(vip netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expire()
	return slices.ContainsFunc(f.host, func(h fakeHostAddr) bool { return h.Prefix.Addr() == vip })
}

// Changes returns the changes that were asked for so far, done or not.
func (f *FakeBulk) Changes() []Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.changes)
}

// Addresses implements BulkKernel.
func (f *FakeBulk) Addresses() ([]link.HostAddr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listing != nil {
		return nil, f.listing
	}
	f.expire()
	result := make([]link.HostAddr, len(f.host))
	for i, h := range f.host {
		result[i] = h.HostAddr
		if h.valid != Forever { // whole seconds, rounded up
			left := h.valid - (f.clock()-h.written)/time.Second*time.Second
			result[i].ValidLft = uint32(max(0, left) / time.Second)
		}
	}
	return result, nil
}

// Apply implements BulkKernel.
func (f *FakeBulk) Apply(changes []Change) []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expire()
	errs := make([]error, len(changes))
	for i, c := range changes {
		f.changes = append(f.changes, c)
		if errs[i] = f.failing[c.VIP]; errs[i] == nil {
			f.apply(c)
		}
	}
	return errs
}

func (f *FakeBulk) apply(c Change) {
	if c.Valid == 0 {
		f.host = slices.DeleteFunc(f.host, func(h fakeHostAddr) bool { return h.same(c.VIP, c.VIP.BitLen(), c.LinkIndex) })
		return
	}
	flags := uint32(unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_DEPRECATED)
	if c.VIP.Is6() {
		flags |= unix.IFA_F_NODAD
	}
	f.put(link.HostAddr{
		Prefix: netip.PrefixFrom(c.VIP, c.VIP.BitLen()), Link: c.LinkName, Index: c.LinkIndex,
		Proto: ServiceProto, Scope: c.Scope, Flags: flags,
	}, c.Valid)
}

// put is a replace: what is there keeps its place.
func (f *FakeBulk) put(h link.HostAddr, valid time.Duration) {
	if f.old {
		h.Proto = 0
	}
	entry := fakeHostAddr{HostAddr: h, valid: valid, written: f.clock()}
	for i, old := range f.host {
		if old.same(h.Prefix.Addr(), h.Prefix.Bits(), h.Index) {
			f.host[i] = entry
			return
		}
	}
	f.host = append(f.host, entry)
}

func (h fakeHostAddr) same(vip netip.Addr, bits, index int) bool {
	return h.Prefix == netip.PrefixFrom(vip, bits) && h.Index == index
}

// expire removes what has ended; the caller holds the lock.
func (f *FakeBulk) expire() {
	now := f.clock()
	f.host = slices.DeleteFunc(f.host, func(h fakeHostAddr) bool {
		return h.valid != Forever && now-h.written >= h.valid+KernelLag
	})
}

var _ BulkKernel = (*FakeBulk)(nil)
