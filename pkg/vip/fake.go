package vip

import (
	"net/netip"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/boottime"
)

// Op names an operation of a Kernel.
type Op string

// The operations of a Kernel.
const (
	OpReplace Op = "replace"
	OpDelete  Op = "delete"
	OpList    Op = "list"
)

// Fake is a Kernel in memory for tests: an address is there until KernelLag after its lifetime
// has ended, by the clock it was given. It may be used from any goroutine.
type Fake struct {
	clock boottime.Clock

	mu      sync.Mutex
	present map[netip.Addr]fakeEntry
	failing map[Op]failure
	hook    func(Op, Address)
	calls   []Call
}

// Call is one write that reached a Fake, failed or not.
type Call struct {
	Op      Op
	Address Address
	// Valid is the lifetime of a replace.
	Valid time.Duration
	// At is when, by the Fake's clock.
	At time.Duration
}

type fakeEntry struct {
	Address
	valid, written time.Duration
}

type failure struct {
	err     error
	applied bool
}

// NewFake returns an empty kernel whose lifetimes are counted on the clock.
func NewFake(clock boottime.Clock) *Fake {
	return &Fake{clock: clock, present: map[netip.Addr]fakeEntry{}, failing: map[Op]failure{}}
}

// Fail makes every later op fail with err and do nothing, until err is nil.
func (f *Fake) Fail(op Op, err error) { f.setFailure(op, failure{err: err}) }

// FailApplied makes every later op do its work and fail with err all the same, as a
// write does whose answer is lost, until err is nil.
func (f *Fake) FailApplied(op Op, err error) { f.setFailure(op, failure{err: err, applied: true}) }

func (f *Fake) setFailure(op Op, fail failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing[op] = fail
}

// Hook has fn called at the start of every operation: between the caller's check and the
// write, where a process can be frozen. Nothing is locked meanwhile. Nil removes it.
func (f *Fake) Hook(fn func(op Op, a Address)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = fn
}

// Has says whether the VIP is on this host now, which is what makes an owner.
func (f *Fake) Has(vip netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expire()
	_, there := f.present[vip]
	return there
}

// Put places a marked address as an earlier run or somebody else would; Forever is allowed.
func (f *Fake) Put(m Marked) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.present[m.VIP] = fakeEntry{Address: m.Address, valid: m.ValidLft, written: f.clock()}
}

// Remove takes an address away as somebody else would.
func (f *Fake) Remove(vip netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.present, vip)
}

// Calls returns the replaces and deletes so far.
func (f *Fake) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Call(nil), f.calls...)
}

// Replace implements Kernel.
func (f *Fake) Replace(a Address, valid time.Duration) error {
	return f.do(OpReplace, a, valid, func() {
		f.present[a.VIP] = fakeEntry{Address: a, valid: valid, written: f.clock()}
	})
}

// Delete implements Kernel.
func (f *Fake) Delete(a Address) error {
	return f.do(OpDelete, a, 0, func() {
		if f.present[a.VIP].LinkIndex == a.LinkIndex {
			delete(f.present, a.VIP)
		}
	})
}

// List implements Kernel.
func (f *Fake) List() ([]Marked, error) {
	var result []Marked
	err := f.do(OpList, Address{}, 0, func() {
		for _, e := range f.present {
			result = append(result, Marked{Address: e.Address, ValidLft: e.left(f.clock())})
		}
	})
	if err != nil {
		return nil, err
	}
	return result, nil
}

// There implements Kernel. It is one of the listings that Fail makes fail.
func (f *Fake) There(a Address) (there bool, err error) {
	err = f.do(OpList, a, 0, func() { there = f.present[a.VIP].LinkIndex == a.LinkIndex && a.LinkIndex != 0 })
	return there, err
}

func (f *Fake) do(op Op, a Address, valid time.Duration, apply func()) error {
	f.mu.Lock()
	hook := f.hook
	f.mu.Unlock()
	if hook != nil {
		hook(op, a)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expire()
	if op != OpList {
		f.calls = append(f.calls, Call{Op: op, Address: a, Valid: valid, At: f.clock()})
	}
	fail := f.failing[op]
	if fail.err == nil || fail.applied {
		apply()
	}
	return fail.err
}

// expire removes what has ended; the caller holds the lock.
func (f *Fake) expire() {
	now := f.clock()
	for vip, e := range f.present {
		if e.valid != Forever && now-e.written >= e.valid+KernelLag {
			delete(f.present, vip)
		}
	}
}

// left is the lifetime as the kernel reports it: whole seconds, rounded up.
func (e fakeEntry) left(now time.Duration) time.Duration {
	if e.valid == Forever {
		return Forever
	}
	return max(0, e.valid-(now-e.written)/time.Second*time.Second)
}

var _ Kernel = (*Fake)(nil)
