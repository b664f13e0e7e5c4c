package vip

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/testutil"
)

// E8: one kvip per VIP; the lock goes with its holder.
func TestLock(t *testing.T) {
	first, err := Lock(vip4)
	if err != nil {
		t.Fatal(err)
	}
	for _, again := range []string{"10.9.0.100", "::ffff:10.9.0.100"} {
		if _, err := Lock(netip.MustParseAddr(again)); !errors.Is(err, ErrLocked) ||
			!strings.Contains(err.Error(), again) {
			t.Errorf("Lock(%s) while locked: %v; want ErrLocked naming the VIP", again, err)
		}
	}
	other, err := Lock(vip6)
	if err != nil {
		t.Fatalf("another VIP: %v", err)
	}
	other.Close()
	if !isServed(vip4) || isServed(vip6) {
		t.Errorf("served: %v and %v; want true and false", isServed(vip4), isServed(vip6))
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Lock(vip4)
	if err != nil {
		t.Fatalf("after unlocking: %v", err)
	}
	again.Close()
}

// B13: one kvip that announces the control plane by BGP, which others see.
func TestLockBGP(t *testing.T) {
	for range 2 {
		if locked, err := BGPLocked(); locked || err != nil {
			t.Fatal("no kvip has the lock, and it counts as taken", err)
		}
		first, err := LockBGP()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := LockBGP(); !errors.Is(err, ErrLocked) {
			t.Errorf("a second one: %v", err)
		}
		if locked, err := BGPLocked(); !locked || err != nil {
			t.Errorf("locked %v, %v", locked, err)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// An error that no other kvip causes has no advice to stop one.
func TestLockWithoutFiles(t *testing.T) {
	if c, err := Lock(vip6); err == nil { // the runtime's own files exist after that
		c.Close()
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	_, err := Lock(vip4)
	_, errServices := LockServices()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for want, err := range map[string]error{"lock 10.9.0.100: ": err, "lock Services: ": errServices} {
		if !errors.Is(err, unix.EMFILE) || !strings.HasPrefix(err.Error(), want) ||
			strings.Contains(err.Error(), "stop that one") {
			t.Errorf("%s%v; want EMFILE without advice", want, err)
		}
	}
}

// A wait is logged when it begins and when its cause changes.
func TestAwaitLock(t *testing.T) {
	steps := []error{unix.EMFILE, unix.EPERM, ErrLocked, ErrLocked, nil}
	free, err := Lock(vip6)
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	var out testutil.Log
	var reasons []error
	log, waiting := slog.New(slog.NewTextHandler(&out, nil)), func(err error) {
		reasons = append(reasons, err)
	}
	got := AwaitLock(t.Context(), func() (io.Closer, error) {
		err := steps[0]
		steps = steps[1:]
		return free, err
	}, log, waiting)
	if got != free || len(steps) != 0 {
		t.Errorf("the lock is %v, %d steps remain", got, len(steps))
	}
	if len(reasons) != 2 || reasons[0] != unix.EMFILE || reasons[1] != ErrLocked {
		t.Errorf("waiting because of %v", reasons)
	}
	if out.Count("cannot take the lock; trying again") != 1 ||
		out.Count("waiting for another kvip on this host to end") != 1 {
		t.Errorf("the log has\n%s", &out)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	refuse := func() (io.Closer, error) { return nil, ErrLocked }
	if got := AwaitLock(ended, refuse, log, waiting); got != nil {
		t.Errorf("without a lock: %v", got)
	}
}

// asUser runs fn in the namespace as a user without any right.
func asUser(ns *testutil.Netns, fn func() error) error {
	return ns.Do(func() error {
		const uid = 65534 // of this thread alone, which ends with Do
		for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, failed := unix.RawSyscall(call, uid, uid, uid); failed != 0 {
				return failed
			}
		}
		return fn()
	})
}

// E8: only root can lock, by any name, and no other user can hide a stale address.
func TestLockIsForRootAlone(t *testing.T) {
	ns := testutil.NewNetns(t)
	var taken []io.Closer
	defer func() {
		for _, c := range taken {
			c.Close()
		}
	}()
	for _, name := range []string{"kvip/vip/10.9.0.100", "kvip/vip/10.9.0.100/x", "kvip/services",
		"kvip/services/x"} {
		if err := asUser(ns, func() error {
			c, err := bind(name)
			if err == nil {
				taken = append(taken, c)
			}
			return err
		}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if isServed(vip4) {
		t.Error("another user's socket counts as a kvip's")
	}
	for name, lock := range map[string]func() (io.Closer, error){
		"Lock": func() (io.Closer, error) { return Lock(vip4) }, "LockServices": LockServices,
	} {
		first, err := lock()
		if err != nil {
			t.Fatalf("%s beside another user: %v", name, err)
		}
		defer first.Close()
		if _, err := lock(); !errors.Is(err, ErrLocked) {
			t.Errorf("a second %s: %v; want ErrLocked", name, err)
		}
	}
}

// E8: of many that begin at one time at most one has the lock.
func TestLockedOnce(t *testing.T) {
	ns := testutil.NewNetns(t)
	for range 20 {
		locks := make(chan io.Closer, 8)
		var group errgroup.Group
		for range cap(locks) {
			group.Go(func() error {
				return ns.Do(func() error {
					c, err := Lock(vip4)
					if err == nil {
						locks <- c
					} else if !errors.Is(err, ErrLocked) {
						return err
					}
					return nil
				})
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		close(locks)
		if len(locks) > 1 {
			t.Errorf("%d have the lock", len(locks))
		}
		for c := range locks {
			c.Close()
		}
	}
}

// E8: nodes that share one kernel, as namespaces, do not lock each other out.
func TestLockIsPerNamespace(t *testing.T) {
	ns := testutil.NewNetns(t)
	var locks []io.Closer
	lock := func() error {
		l, err := Lock(vip4)
		if err == nil {
			locks = append(locks, l)
		}
		return err
	}
	defer func() {
		for _, l := range locks {
			l.Close()
		}
	}()
	if err := lock(); err != nil {
		t.Fatal(err)
	}
	if err := ns.Do(lock); !errors.Is(err, ErrLocked) {
		t.Errorf("in the same namespace: %v; want ErrLocked", err)
	}
	testutil.NewNetns(t)
	if err := lock(); err != nil {
		t.Errorf("in another namespace: %v", err)
	}
}
