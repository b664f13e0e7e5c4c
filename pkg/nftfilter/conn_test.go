package nftfilter

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/testutil"

	"github.com/kvip/kvip/pkg/assignment"
)

func TestNew(t *testing.T) {
	for _, timeout := range []time.Duration{0, -time.Second, time.Nanosecond, 999 * time.Millisecond} {
		if _, err := New(Config{Timeout: timeout}); err == nil ||
			!strings.Contains(err.Error(), timeout.String()) {
			t.Errorf("timeout %v: %v; want an error that names it", timeout, err)
		}
	}
	if f, err := New(Config{Timeout: time.Second}); err != nil || f.cfg.Log == nil {
		t.Errorf("the shortest Timeout: %+v, %v", f, err)
	}
}

// Apply reports invalid entries and applies the others. It logs once that the table was built.
func TestApplyLeavesOutInvalidEntries(t *testing.T) {
	testutil.NewNetns(t)
	var log testutil.Log
	f, err := New(Config{Timeout: time.Minute, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	good := both(assignment.Port{Protocol: "TCP", Port: 80})
	w := both(assignment.Port{Protocol: "TCP", Port: 80}, assignment.Port{Protocol: "ICMP", Port: 1})
	for range 2 {
		if err := f.Apply(w); err == nil || !strings.Contains(err.Error(), `"ICMP"`) {
			t.Errorf("Apply: %v; want the unknown protocol named", err)
		}
		if got := inKernel(t); !slices.Equal(got, wanted(good)) {
			t.Errorf("elements %q; want %q", got, wanted(good))
		}
	}
	if log.Count("table built") != 1 {
		t.Errorf("log: %s", log.String())
	}
}

// Without the capability each request fails at once with a hint.
func TestWithoutTheCapability(t *testing.T) {
	ns := testutil.NewNetns(t)
	f := newFilter(t, time.Minute)
	err := ns.Do(func() error { // on a thread that ends with it
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData // version 3 takes two
		if err := unix.Capset(&header, &none[0]); err != nil {
			return err
		}
		for name, call := range map[string]func() error{
			"Apply":     func() error { return f.Apply(many(5000)) },
			"Cleanup":   Cleanup,
			"Installed": func() error { _, err := Installed(); return err },
		} {
			if err := call(); !errors.Is(err, unix.EPERM) || strings.Count(err.Error(), "NET_ADMIN") != 1 {
				return fmt.Errorf("%s: %w; want EPERM and one hint at NET_ADMIN", name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	many := fmt.Errorf("receive: %w", errors.Join(errors.Join(unix.ENOENT, unix.EEXIST), unix.EBUSY))
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, "<nil>"},
		{unix.EBUSY, unix.EBUSY.Error()},
		{many, unix.ENOENT.Error() +
			": the kernel needs nf_tables, nf_conntrack, nft_ct and nft_reject_inet"},
		{fmt.Errorf("send: %w", unix.EMSGSIZE),
			"send: message too long: raise net.core.wmem_max and net.core.rmem_max"},
		{unix.EPERM, unix.EPERM.Error() + ": give kvip the capability NET_ADMIN"},
	} {
		if got := fmt.Sprint(explain(first(test.err))); got != test.want {
			t.Errorf("%v: %q; want %q", test.err, got, test.want)
		}
	}
	for err, want := range map[error]bool{nil: false, unix.EPERM: false, unix.EINVAL: true,
		unix.EPROTONOSUPPORT: true} {
		if got := lacksNftables(err); got != want {
			t.Errorf("lacksNftables(%v) = %v", err, got)
		}
	}
}
