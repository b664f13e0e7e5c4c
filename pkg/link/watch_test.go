package link

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/kvip/kvip/test/testutil"
	"golang.org/x/sys/unix"
)

// patience ends a test that would hang; no assertion depends on it.
const patience = 20 * time.Second

// await reads events until one satisfies want.
func await(t *testing.T, w *Watcher, what string, want func(Event) bool) {
	t.Helper()
	end := time.After(patience)
	for {
		select {
		case event := <-w.Events():
			if want(event) {
				return
			}
		case <-end:
			t.Fatalf("no event: %s", what)
		}
	}
}

func isResync(e Event) bool { return e.Kind == Resync }

// start runs a Watcher until the test ends, inside run's namespace.
func start(t *testing.T, w *Watcher, run func(func() error) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(func() error { return w.Run(ctx) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func here(fn func() error) error { return fn() }

func TestWatcherSeesTheKernel(t *testing.T) {
	ns := lab(t)
	w := NewWatcher(WatchConfig{})
	start(t, w, ns.Do)
	await(t, w, "the first resync", isResync)
	for _, vip := range addrs("10.9.0.100", "2001:db8:9::100") {
		testutil.IP(t, "addr add "+vip.String()+" dev eth0")
		await(t, w, "added "+vip.String(), func(e Event) bool {
			return e.Kind == AddrAdded && e.Addr == vip && e.Link == "eth0" && e.Index != 0
		})
		testutil.IP(t, "addr del "+netip.PrefixFrom(vip, vip.BitLen()).String()+" dev eth0")
		await(t, w, "removed "+vip.String(),
			func(e Event) bool { return e.Kind == AddrRemoved && e.Addr == vip })
	}
	testutil.IP(t, "addr add 10.9.0.101/32 dev eth0 valid_lft 1 preferred_lft 0")
	await(t, w, "expired",
		func(e Event) bool { return e.Kind == AddrRemoved && e.Addr == addrs("10.9.0.101")[0] })
	testutil.IP(t, "link set peer0 down")
	await(t, w, "carrier lost",
		func(e Event) bool { return e.Kind == LinkChanged && e.Link == "eth0" })
	testutil.IP(t, "link del eth1")
	await(t, w, "link removed",
		func(e Event) bool { return e.Kind == LinkChanged && e.Link == "eth1" })
}

// script is a subscription that plays the given results and then blocks until closed.
type script struct {
	results chan any // []byte or error
	once    sync.Once
	closed  chan struct{}
}

func newScript(results ...any) *script {
	s := &script{results: make(chan any, len(results)), closed: make(chan struct{})}
	for _, r := range results {
		s.results <- r
	}
	return s
}

func (s *script) Read(b []byte) (int, error) {
	select {
	case r := <-s.results:
		if err, isErr := r.(error); isErr {
			return 0, err
		}
		return copy(b, r.([]byte)), nil
	default:
	}
	<-s.closed
	return 0, io.ErrClosedPipe
}

func (s *script) Close() error { s.once.Do(func() { close(s.closed) }); return nil }

// wireEvent is RTM_DELADDR of wireV4 as a datagram.
func wireEvent() []byte {
	size := byte(16 + len(wireV4))
	return append([]byte{size, 0, 0, 0, 21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, wireV4...)
}

func TestWatcherResyncsWhenTheKernelDropped(t *testing.T) {
	s := newScript(wireEvent(), error(unix.ENOBUFS), []byte{1, 2, 3})
	w := NewWatcher(WatchConfig{open: func() (io.ReadCloser, error) { return s, nil }})
	start(t, w, here)
	await(t, w, "the first resync", isResync)
	await(t, w, "the removed address", func(e Event) bool {
		return e.Kind == AddrRemoved && e.Addr == netip.MustParseAddr("10.9.0.100") && e.Index == 7
	})
	await(t, w, "resync after ENOBUFS", isResync)
}

func TestWatcherSubscribesAgain(t *testing.T) {
	var opened int
	last := newScript()
	var out testutil.Log
	log := slog.New(slog.NewTextHandler(&out, nil))
	open := func() (io.ReadCloser, error) {
		opened++
		switch opened {
		case 1:
			return newScript(errors.New("broken")), nil
		case 2, 3:
			return nil, errors.New("refused")
		}
		return last, nil
	}
	w := NewWatcher(WatchConfig{Log: log, retry: time.Millisecond, open: open})
	start(t, w, here)
	await(t, w, "resync of the first subscription", isResync)
	await(t, w, "resync of the fourth subscription", isResync)
	if out.Count("lost the subscription") != 1 ||
		out.Count("subscribed to link and address changes again") != 1 {
		t.Errorf("an interruption is not logged once when it begins and once when it ends:\n%s", &out)
	}
}

// A reader that never reads neither stops the kernel's reader nor misses that it missed.
func TestWatcherNeverBlocks(t *testing.T) {
	w := NewWatcher(WatchConfig{})
	for range 10 * eventBuffer {
		w.send(Event{Kind: AddrAdded, Index: 7})
	}
	resynced := false
	for len(w.events) > 0 {
		resynced = (<-w.Events()).Kind == Resync || resynced
	}
	if !resynced {
		t.Error("events were dropped without a resync")
	}
}

func TestEventKindString(t *testing.T) {
	for kind, want := range map[EventKind]string{
		Resync: "resync", LinkChanged: "link changed", AddrAdded: "address added",
		AddrRemoved: "address removed", 9: "EventKind(9)",
	} {
		if got := kind.String(); got != want {
			t.Errorf("EventKind(%d) is %q; want %q", int(kind), got, want)
		}
	}
}
