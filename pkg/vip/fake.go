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

// Op is an operation of a Kernel.
type Op string

// The operations of a Kernel: a write, a deletion and a listing.
const (
	OpReplace Op = "replace"
	OpDelete  Op = "delete"
	OpList    Op = "list"
)

// Fake is a Kernel in memory for tests. It keeps an address until KernelLag after the end of
// its lifetime, by its clock. It may be used from any goroutine.
type Fake struct {
	clock boottime.Clock

	mu          sync.Mutex
	host        []fakeAddr // in the kernel's order: as they were added
	opErrors    map[Op]opError
	addrErrors  map[netip.Addr]error
	hook        func(Op, Address)
	withoutMark bool
	calls       []Call
}

// Call is one Change that reached a Fake, failed or not.
type Call struct {
	Op Op
	Change
	// At is the time of the call by the Fake's clock.
	At time.Duration
}

type fakeAddr struct {
	link.HostAddr
	valid, written time.Duration // valid may be Forever
}

type opError struct {
	err     error
	applied bool
}

// NewFake returns a host without addresses. The clock must not be nil.
func NewFake(clock boottime.Clock) *Fake {
	return &Fake{clock: clock, opErrors: map[Op]opError{}, addrErrors: map[netip.Addr]error{}}
}

// Fail makes every later op fail with err and change nothing, until err is nil.
func (f *Fake) Fail(op Op, err error) { f.setError(op, opError{err: err}) }

// FailApplied makes every later op succeed and return err, like a write with a lost answer,
// until err is nil.
func (f *Fake) FailApplied(op Op, err error) { f.setError(op, opError{err: err, applied: true}) }

func (f *Fake) setError(op Op, e opError) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opErrors[op] = e
}

// FailAddress makes every later change of an address fail with err and change nothing, until
// err is nil.
func (f *Fake) FailAddress(vip netip.Addr, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.addrErrors[vip] = err
}

// DropMarks makes this a kernel before 5.18, which keeps no IFA_PROTO.
func (f *Fake) DropMarks() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.withoutMark = true
}

// Hook calls fn at the start of every operation: between the caller's check and the write,
// where a process can be frozen. No lock is held meanwhile. Nil removes the hook.
func (f *Fake) Hook(fn func(op Op, a Address)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = fn
}

// Has reports whether an address is on any link now, with or without a mark.
func (f *Fake) Has(vip netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expire()
	return slices.ContainsFunc(f.host, func(h fakeAddr) bool { return h.Prefix.Addr() == vip })
}

// Put adds an address as an earlier run or another program would.
func (f *Fake) Put(h link.HostAddr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put(h, lifetime(h))
}

// PutMarked adds an address of the control plane as an earlier run left it, on a link without
// an address of the node.
func (f *Fake) PutMarked(m Marked) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := Change{Address: m.Address, Proto: ControlPlaneProto,
		Scope: newHostIndex(nil).scope(m.Address)}
	f.put(writtenBy(c), m.ValidLft)
}

// Remove deletes an address from all links as another program would.
func (f *Fake) Remove(vip netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.host = slices.DeleteFunc(f.host, func(h fakeAddr) bool { return h.Prefix.Addr() == vip })
}

// Calls returns the writes and deletions so far.
func (f *Fake) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Addresses implements Kernel.
func (f *Fake) Addresses() ([]link.HostAddr, error) {
	f.callHook(OpList, Address{})
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.opErrors[OpList].err; err != nil {
		return nil, err
	}
	f.expire()
	result := make([]link.HostAddr, len(f.host))
	for i, h := range f.host {
		result[i] = h.HostAddr
		result[i].ValidLft = link.Forever
		if h.valid != Forever { // whole seconds, rounded up
			left := h.valid - (f.clock()-h.written)/time.Second*time.Second
			result[i].ValidLft = uint32(max(0, left) / time.Second)
		}
	}
	return result, nil
}

// KeepsMarks implements Kernel.
func (f *Fake) KeepsMarks([]link.HostAddr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.withoutMark
}

// Apply implements Kernel.
func (f *Fake) Apply(changes []Change) []error {
	errs := make([]error, len(changes))
	for i, c := range changes {
		op := OpReplace
		if c.Valid == 0 {
			op = OpDelete
		}
		f.callHook(op, c.Address)
		errs[i] = f.applyOne(op, c)
	}
	return errs
}

func (f *Fake) applyOne(op Op, c Change) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expire()
	f.calls = append(f.calls, Call{Op: op, Change: c, At: f.clock()})
	if err := c.check(); err != nil {
		return err
	}
	if err := f.addrErrors[c.Addr]; err != nil {
		return err
	}
	if e := f.opErrors[op]; e.err != nil && !e.applied {
		return e.err
	}
	prefix := netip.PrefixFrom(c.Addr, c.Addr.BitLen())
	if op == OpDelete {
		f.host = slices.DeleteFunc(f.host, func(h fakeAddr) bool {
			return h.Prefix == prefix && h.Index == c.LinkIndex
		})
		return f.opErrors[op].err
	}
	f.put(writtenBy(c), c.Valid)
	return f.opErrors[op].err
}

// writtenBy returns the address that a write creates.
func writtenBy(c Change) link.HostAddr {
	flags := uint32(unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_DEPRECATED)
	if c.Addr.Is6() {
		flags |= unix.IFA_F_NODAD
	}
	return link.HostAddr{
		Prefix: netip.PrefixFrom(c.Addr, c.Addr.BitLen()), Link: c.LinkName, Index: c.LinkIndex,
		Proto: c.Proto, Scope: c.Scope, Label: c.Label, Flags: flags,
	}
}

func (f *Fake) callHook(op Op, a Address) {
	f.mu.Lock()
	hook := f.hook
	f.mu.Unlock()
	if hook != nil {
		hook(op, a)
	}
}

// put adds an address, or replaces it at its position. The caller holds the lock.
func (f *Fake) put(h link.HostAddr, valid time.Duration) {
	if f.withoutMark {
		h.Proto = 0
	}
	entry := fakeAddr{HostAddr: h, valid: valid, written: f.clock()}
	for i, old := range f.host {
		if old.Prefix == h.Prefix && old.Index == h.Index {
			f.host[i] = entry
			return
		}
	}
	f.host = append(f.host, entry)
}

// expire removes the addresses whose lifetime has ended. The caller holds the lock.
func (f *Fake) expire() {
	now := f.clock()
	f.host = slices.DeleteFunc(f.host, func(h fakeAddr) bool {
		return h.valid != Forever && now-h.written >= h.valid+KernelLag
	})
}

var _ Kernel = (*Fake)(nil)
