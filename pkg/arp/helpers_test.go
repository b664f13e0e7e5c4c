package arp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/bpf"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/test/testutil"
)

// patience bounds how long a test waits for what must happen. No test asserts a duration.
const patience = 20 * time.Second

// segment is an in-memory Ethernet segment: it opens sockets, records what is sent and delivers
// what a test injects, through each socket's filter as the kernel would.
type segment struct {
	mu      sync.Mutex
	open    []*fakeConn
	sent    [][]byte
	opens   int
	refuse  error // from listen
	write   error // from WriteTo
	respond func(frame []byte) [][]byte
}

// machine runs a filter on bytes. The kernel's metadata of a frame, which each filter that may
// pass one reads first, is left out: TestOtherVLANs has the real one.
func machine(filter []bpf.RawInstruction) (*bpf.VM, error) {
	program, _ := bpf.Disassemble(filter)
	untagged := untaggedOnly()
	if len(program) >= len(untagged) && slices.Equal(program[:len(untagged)], untagged) {
		program = program[len(untagged):]
	}
	return bpf.NewVM(program)
}

func newSegment() *segment { return &segment{} }

func (g *segment) listen(_ link.Link, etherType uint16, filter []bpf.RawInstruction) (Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opens++
	if g.refuse != nil {
		return nil, g.refuse
	}
	vm, err := machine(filter)
	if err != nil {
		return nil, err
	}
	c := &fakeConn{segment: g, etherType: etherType, vm: vm, in: make(chan any, 100),
		done: make(chan struct{})}
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

// isOpen returns a condition: that many sockets are open.
func (g *segment) isOpen(n int) func() bool {
	return func() bool { _, _, open := g.count(); return open == n }
}

// sentDuring counts the frames that f sends.
func (g *segment) sentDuring(f func()) int {
	before, _, _ := g.count()
	f()
	after, _, _ := g.count()
	return after - before
}

// announced returns the announced addresses in the order of the frames, one for each frame.
func (g *segment) announced() (list []netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, b := range g.sent {
		if c, ok := decode(b); ok {
			list = append(list, c.addr)
		}
	}
	return list
}

// hasAnnounced returns a condition: an announcement of addr was sent.
func (g *segment) hasAnnounced(addr netip.Addr) func() bool {
	return func() bool { return slices.Contains(g.announced(), addr) }
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
		return copy(b, what.([]byte)), Address(mac2), nil
	}
}

func (c *fakeConn) WriteTo(b []byte, _ net.Addr) (int, error) {
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
	vm, err := machine(filter)
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

// plainConn is a Conn without SetBPF.
type plainConn struct{ Conn }

func (g *segment) listenPlain(l link.Link, etherType uint16, filter []bpf.RawInstruction) (Conn,
	error) {
	conn, err := g.listen(l, etherType, filter)
	return plainConn{conn}, err
}

var (
	errLinkDown   = os.NewSyscallError("recvfrom", syscall.ENETDOWN)
	errLinkGone   = os.NewSyscallError("sendto", syscall.ENXIO)
	errQueueFull  = os.NewSyscallError("sendto", syscall.ENOBUFS)
	errNotAllowed = errors.New("operation not permitted")
	testLink      = link.Link{Index: 7, Name: "eth7", MAC: mac1}
)

// newAnnouncer returns an Announcer on a segment, with the pacing of Services. edit may change the
// Config.
func newAnnouncer(t testing.TB, g *segment, edit func(*Config)) *Announcer {
	t.Helper()
	cfg := Config{Pacing: ServicePacing(), Listen: g.listen}
	if edit != nil {
		edit(&cfg)
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	a.linkLocal = func(int) netip.Addr { return linkAddr }
	a.conflicts.hostMACs = func() ([]net.HardwareAddr, error) { return []net.HardwareAddr{mac1}, nil }
	return a
}

// run runs an Announcer until the test ends, or until the function returned is called, and checks
// that it closes everything.
func run(t testing.TB, a *Announcer, g *segment) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
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
		if _, _, open := g.count(); open != 0 {
			t.Errorf("%d sockets left open", open)
		}
	})
	t.Cleanup(stop)
	testutil.Eventually(t, "running",
		func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.running })
	return stop
}

// controlPlane announces some addresses as the control plane does: on one link, with a state that
// all of them share.
type controlPlane struct {
	*Announcer
	vips  []netip.Addr
	link  link.Link
	state assignment.State
}

// newControlPlane returns an Announcer of vip4 and vip6 with the pacing of the control plane, and
// without a link.
func newControlPlane(t testing.TB, g *segment, edit func(*Config)) *controlPlane {
	t.Helper()
	a := newAnnouncer(t, g, func(cfg *Config) {
		cfg.Pacing = ControlPlanePacing()
		if edit != nil {
			edit(cfg)
		}
	})
	return &controlPlane{Announcer: a, vips: []netip.Addr{vip4, vip6}, state: assignment.Silent}
}

// ready runs a control plane that has its link and its sockets.
func ready(t testing.TB, g *segment, edit func(*Config)) *controlPlane {
	t.Helper()
	c := newControlPlane(t, g, edit)
	run(t, c.Announcer, g)
	c.SetLink(testLink)
	testutil.Eventually(t, "two sockets open", g.isOpen(2))
	return c
}

func (c *controlPlane) SetLink(l link.Link) { c.link = l; c.update() }
func (c *controlPlane) Start()              { c.state = assignment.Announced; c.update() }
func (c *controlPlane) Stop()               { c.state = assignment.Silent; c.update() }

func (c *controlPlane) update() {
	var list []assignment.Assignment
	for _, addr := range c.vips {
		list = append(list, assignment.Assignment{Addr: addr, Link: c.link, State: c.state})
	}
	c.Set(list)
}

// announced and silent return an Assignment on testLink.
func announced(addr netip.Addr) assignment.Assignment {
	return assignment.Assignment{Addr: addr, Link: testLink, State: assignment.Announced}
}

func silent(addr netip.Addr) assignment.Assignment {
	return assignment.Assignment{Addr: addr, Link: testLink, State: assignment.Silent}
}
