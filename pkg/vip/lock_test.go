package vip

import (
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/kvip/kvip/test/testutil"
)

// E8: one kvip per VIP; the lock goes with its holder.
func TestLock(t *testing.T) {
	first, err := Lock(vip4)
	if err != nil {
		t.Fatal(err)
	}
	for _, again := range []string{"10.9.0.100", "::ffff:10.9.0.100"} {
		if _, err := Lock(netip.MustParseAddr(again)); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), again) {
			t.Errorf("Lock(%s) while locked: %v; want ErrLocked naming the VIP", again, err)
		}
	}
	other, err := Lock(vip6)
	if err != nil {
		t.Fatalf("another VIP: %v", err)
	}
	other.Close()
	if !served(vip4) || served(vip6) {
		t.Errorf("served: %v and %v; want true and false", served(vip4), served(vip6))
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
