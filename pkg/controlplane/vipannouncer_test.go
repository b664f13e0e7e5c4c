package controlplane

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/bpf"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/link"
)

// wire counts what sockets send. Nothing arrives.
type wire struct {
	sent, open atomic.Int64
}

type wireConn struct {
	*wire
	done  chan struct{}
	close func()
}

func (w *wire) listen(link.Link, uint16, []bpf.RawInstruction) (arp.Conn, error) {
	w.open.Add(1)
	done := make(chan struct{})
	return &wireConn{w, done, sync.OnceFunc(func() { w.open.Add(-1); close(done) })}, nil
}

func (c *wireConn) ReadFrom([]byte) (int, net.Addr, error) {
	<-c.done
	return 0, nil,
		net.ErrClosed
}
func (c *wireConn) WriteTo(b []byte, _ net.Addr) (int, error) {
	c.sent.Add(1)
	return len(b), nil
}
func (c *wireConn) SetWriteDeadline(time.Time) error { return nil }
func (c *wireConn) Close() error                     { c.close(); return nil }

// TestE4VIPAnnouncer: the first frames leave before Start returns, none leaves after Stop or while
// the fence forbids it, and the addresses are probed for in between.
func TestE4VIPAnnouncer(t *testing.T) {
	var w wire
	a, err := newVIPAnnouncer([]netip.Addr{vip4, vip6}, arp.Config{Listen: w.listen})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil || w.open.Load() != 0 {
			t.Errorf("Run returned %v and left %d sockets open", err, w.open.Load())
		}
	}()
	frames := func(f func()) int64 {
		before := w.sent.Load()
		f()
		return w.sent.Load() - before
	}
	var allowed atomic.Bool
	allowed.Store(true)
	a.SetLink(link.Link{Index: 7, Name: "eth0", MAC: foreignMAC, Usable: true})
	for deadline := time.Now().Add(20 * time.Second); w.open.Load() < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("timed out waiting for the sockets")
		}
	}
	if n := frames(func() { time.Sleep(5 * time.Millisecond) }); n != 0 {
		t.Errorf("%d frames before Start", n)
	}
	for range 3 {
		if n := frames(func() { a.Start(allowed.Load) }); n != 3 {
			t.Errorf("%d frames when Start returned, want 3", n)
		}
		a.Stop()
		if n := frames(func() { time.Sleep(60 * time.Millisecond) }); n != 0 {
			t.Errorf("%d frames after Stop", n)
		}
	}
	if n := frames(func() { _, err = a.Probe(t.Context(), time.Millisecond) }); n == 0 || err != nil {
		t.Errorf("%d probes, %v", n, err)
	}
	allowed.Store(false)
	if n := frames(func() { a.Start(allowed.Load); time.Sleep(60 * time.Millisecond) }); n != 0 {
		t.Errorf("%d frames although the fence forbids them", n)
	}
	a.SetLink(link.Link{})
	if w.open.Load() != 0 {
		t.Errorf("%d sockets open without a link", w.open.Load())
	}
	if _, err := newVIPAnnouncer(nil, arp.Config{}); err != nil {
		t.Errorf("without addresses: %v", err)
	}
}
