package vip

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/fence"
)

// fakeFence records its calls and those of the kernel in one list.
type fakeFence struct {
	calls     []string
	missing   bool // the next Attach finds nothing
	attachErr error
	shutErr   error
}

func (f *fakeFence) Attach(device string, lifetime time.Duration) error {
	f.calls = append(f.calls, fmt.Sprintf("attach %s %v", device, lifetime))
	if f.missing {
		f.missing = false
		return fence.ErrMissing
	}
	return f.attachErr
}

func (f *fakeFence) VerifyShut() error {
	f.calls = append(f.calls, "shut")
	return f.shutErr
}

// newFencedFixture returns a fixture with a fence, which records the kernel's writes as well.
func newFencedFixture(t *testing.T) (*fixture, *fakeFence) {
	t.Helper()
	r, f := newFixture(t, vip4), &fakeFence{}
	r.UseFence(f)
	r.shut = true
	r.Hook(func(op Op, _ Address) {
		if op != OpList {
			f.calls = append(f.calls, string(op))
		}
	})
	return r, f
}

func (f *fakeFence) did(t *testing.T, want string) {
	t.Helper()
	if got := strings.Join(f.calls, ", "); got != want {
		t.Errorf("did %q, want %q", got, want)
	}
	f.calls = nil
}

// TestPrepareFence: the fence is built, and no address is written. Without one nothing is done.
func TestPrepareFence(t *testing.T) {
	r, f := newFencedFixture(t)
	f.attachErr = errors.New("nftables does not work")
	if err := r.PrepareFence(eth0); !errors.Is(err, f.attachErr) {
		t.Error(err)
	}
	f.did(t, "attach eth0 0s")
	r.UseFence(nil)
	if err := r.PrepareFence(eth0); err != nil {
		t.Error(err)
	}
	f.did(t, "")
}

// TestF9FencedUpdate: the fence is there before the address. The address outlives the deadline by
// one to two seconds, and the guard outlives the address.
func TestF9FencedUpdate(t *testing.T) {
	r, f := newFencedFixture(t)
	for _, c := range []struct{ left, valid time.Duration }{
		{300 * time.Millisecond, 2 * second}, {4500 * time.Millisecond, 6 * second}, {second, 3 * second},
	} {
		if err := r.Update(eth0, r.now+c.left); err != nil {
			t.Fatal(err)
		}
		f.did(t, fmt.Sprintf("attach eth0 %v, replace", c.valid))
		list, err := r.Present()
		if err != nil || len(list) != 1 || list[0].ValidLft != c.valid {
			t.Errorf("%v before the deadline: %+v, %v; want %v", c.left, list, err, c.valid)
		}
	}
	if err := r.Update(eth0, r.now); !errors.Is(err, ErrDeadline) {
		t.Errorf("at the deadline: %v", err)
	}
	r.want(t, "at the deadline", false)
	f.did(t, "delete")
}

// TestF9UnfencedUpdate: the fence is there, and the lifetime of the address does not rely on it.
func TestF9UnfencedUpdate(t *testing.T) {
	r, f := newFencedFixture(t)
	if err := r.UpdateUnfenced(eth0, r.now+4500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	f.did(t, "attach eth0 6s, replace")
	if list, err := r.Present(); err != nil || len(list) != 1 || list[0].ValidLft != 3*second {
		t.Errorf("%+v, %v; want 3s", list, err)
	}
	f.attachErr = errors.New("nftables does not work")
	if err := r.UpdateUnfenced(eth0, r.now+4500*time.Millisecond); !errors.Is(err, f.attachErr) {
		t.Error(err)
	}
}

// TestF9FenceRemoved: the address goes before the fence is built again.
func TestF9FenceRemoved(t *testing.T) {
	r, f := newFencedFixture(t)
	if err := r.Update(eth0, r.now+second); err != nil {
		t.Fatal(err)
	}
	f.calls, f.missing = nil, true
	if err := r.Update(eth0, r.now+second); err != nil {
		t.Fatal(err)
	}
	f.did(t, "attach eth0 3s, delete, attach eth0 3s, replace")
	r.want(t, "built again", true)
}

// TestF9FenceFails: there is no address without a fence.
func TestF9FenceFails(t *testing.T) {
	r, f := newFencedFixture(t)
	f.attachErr = errBroken
	if err := r.Update(eth0, r.now+second); !errors.Is(err, errBroken) {
		t.Errorf("the fence cannot be built: %v", err)
	}
	r.want(t, "without a fence", false)
}

// TestF9FenceOfAnEarlierProcess is shut before the first address, unless that process left the
// address as well.
func TestF9FenceOfAnEarlierProcess(t *testing.T) {
	r, f := newFencedFixture(t)
	r.shut, f.shutErr = false, errBroken
	if err := r.Update(eth0, r.now+second); !errors.Is(err, errBroken) {
		t.Errorf("it cannot be shut: %v", err)
	}
	r.want(t, "not shut", false)
	f.calls, f.shutErr = nil, nil
	for range 2 {
		if err := r.Update(eth0, r.now+second); err != nil {
			t.Fatal(err)
		}
	}
	f.did(t, "attach eth0 3s, shut, replace, attach eth0 3s, replace")
	r.shut = false
	if err := r.Update(eth0, r.now+second); err != nil {
		t.Fatal(err)
	}
	f.did(t, "attach eth0 3s, replace")
}

// TestF9SlowWrite: after a write that took long the guard is renewed.
func TestF9SlowWrite(t *testing.T) {
	r, f := newFencedFixture(t)
	r.freeze(OpReplace, lateWrite+1)
	if err := r.Update(eth0, r.now+4*second); err != nil {
		t.Fatal(err)
	}
	f.did(t, "attach eth0 6s, attach eth0 6s")
}
