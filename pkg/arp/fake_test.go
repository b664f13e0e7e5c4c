package arp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/bpf"
)

// patience bounds how long a test waits for what must come; no test asserts a time.
const patience = 20 * time.Second

// segment is an in-memory Ethernet segment: it opens sockets, keeps what is sent and
// delivers what a test injects, through each socket's filter as the kernel would.
type segment struct {
	mu      sync.Mutex
	open    []*fakeConn
	sent    [][]byte
	opens   int
	refuse  error // from listen
	write   error // from WriteTo
	respond func(frame []byte) [][]byte
}

// virtual runs a filter on bytes. What the kernel alone knows of a frame, at the beginning of each filter
// that may pass one, is left out: TestOtherVLANs has the real one.
func virtual(filter []bpf.RawInstruction) (*bpf.VM, error) {
	program, _ := bpf.Disassemble(filter)
	if untagged := untaggedOnly(); len(program) >= len(untagged) && slices.Equal(program[:len(untagged)], untagged) {
		program = program[len(untagged):]
	}
	return bpf.NewVM(program)
}

func newSegment() *segment { return &segment{} }

func (g *segment) listen(_ LinkRef, etherType uint16, filter []bpf.RawInstruction) (Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opens++
	if g.refuse != nil {
		return nil, g.refuse
	}
	vm, err := virtual(filter)
	if err != nil {
		return nil, err
	}
	c := &fakeConn{segment: g, etherType: etherType, vm: vm, in: make(chan any, 100), done: make(chan struct{})}
	g.open = append(g.open, c)
	return c, nil
}

// inject delivers a frame, or an error, to the sockets that are open.
func (g *segment) inject(what any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.open {
		if b, ok := what.([]byte); ok && !c.passes(b) {
			continue
		}
		c.in <- what
	}
}

func (g *segment) set(f func()) { g.mu.Lock(); defer g.mu.Unlock(); f() }

func (g *segment) count() (sent, opens, open int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.sent), g.opens, len(g.open)
}

type fakeConn struct {
	segment   *segment
	etherType uint16
	vm        *bpf.VM
	in        chan any
	done      chan struct{}
}

func (c *fakeConn) passes(b []byte) bool {
	if len(b) < ethernetLen || b[12] != byte(c.etherType>>8) || b[13] != byte(c.etherType) {
		return false
	}
	n, err := c.vm.Run(b)
	return err == nil && n > 0
}

func (c *fakeConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case <-c.done:
		return 0, nil, net.ErrClosed
	case what := <-c.in:
		if err, ok := what.(error); ok {
			return 0, nil, err
		}
		return copy(b, what.([]byte)), to(mac2), nil
	}
}

func (c *fakeConn) WriteTo(b []byte, a net.Addr) (int, error) {
	c.segment.mu.Lock()
	defer c.segment.mu.Unlock()
	if c.segment.write != nil {
		return 0, c.segment.write
	}
	c.segment.sent = append(c.segment.sent, slices.Clone(b))
	if c.segment.respond != nil {
		for _, answer := range c.segment.respond(b) {
			c.in <- answer
		}
	}
	return len(b), nil
}

func (c *fakeConn) SetBPF(filter []bpf.RawInstruction) error {
	vm, err := virtual(filter)
	if err != nil {
		return err
	}
	c.segment.mu.Lock()
	defer c.segment.mu.Unlock()
	c.vm = vm
	return nil
}

func (c *fakeConn) SetWriteDeadline(time.Time) error { return nil }

func (c *fakeConn) Close() error {
	c.segment.mu.Lock()
	defer c.segment.mu.Unlock()
	if i := slices.Index(c.segment.open, c); i >= 0 {
		c.segment.open = slices.Delete(c.segment.open, i, i+1)
		close(c.done)
	}
	return nil
}

var (
	errLinkDown   = os.NewSyscallError("recvfrom", syscall.ENETDOWN)
	errLinkGone   = os.NewSyscallError("sendto", syscall.ENXIO)
	errQueueFull  = os.NewSyscallError("sendto", syscall.ENOBUFS)
	errNotAllowed = errors.New("operation not permitted")
	testLink      = LinkRef{Index: 7, Name: "eth7", MAC: mac1}
)

// newSpeaker returns a speaker of both VIPs on a segment; edit may change the config.
func newSpeaker(t *testing.T, g *segment, edit func(*Config)) *VIPAnnouncer {
	t.Helper()
	cfg := Config{VIPs: []netip.Addr{vip4, vip6}, Log: slog.New(slog.DiscardHandler), Listen: g.listen}
	if edit != nil {
		edit(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.linkLocal = func(int) netip.Addr { return linkAddr }
	s.ear.macs = func() ([]net.HardwareAddr, error) { return []net.HardwareAddr{mac1}, nil }
	return s
}

// run runs the speaker until the test ends, or until the function returned is called,
// and checks that it closes everything.
func run(t *testing.T, s *VIPAnnouncer, g *segment) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(patience):
			t.Error("Run did not return")
		}
		if g == nil {
			return
		}
		if _, _, open := g.count(); open != 0 {
			t.Errorf("%d sockets left open", open)
		}
	})
	t.Cleanup(stop)
	return stop
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func always() bool { return true }
