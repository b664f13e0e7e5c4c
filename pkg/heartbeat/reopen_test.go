package heartbeat

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/link"
)

// conn is a socket that receives nothing. It can be closed.
type conn struct {
	arp.Conn
	once   sync.Once
	closed chan struct{}
	reads  error // of the first read; nil: it waits for the end
}

func (c *conn) ReadFrom([]byte) (int, net.Addr, error) {
	if c.reads != nil {
		return 0, nil, c.reads
	}
	<-c.closed
	return 0, nil, net.ErrClosed
}

func (c *conn) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
		return len(b), nil
	}
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// noProbe asks for nothing.
type noProbe struct{ prober }

func (noProbe) Set([]assignment.Assignment) {}

func (noProbe) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// TestReadFails: a socket whose read fails while writes succeed, as after a link was down for less
// than the time between two frames, is replaced.
func TestReadFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened []*conn
		start := time.Now()
		h, err := New(Config{
			Node: "a", Silent: func(string) {}, probe: noProbe{},
			Clock: func() time.Duration { return time.Hour + time.Since(start) },
			listen: func(Link) (arp.Conn, error) {
				c := &conn{closed: make(chan struct{})}
				if len(opened) == 0 {
					c.reads = syscall.ENETDOWN
				}
				opened = append(opened, c)
				return c, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- h.Run(ctx) }()
		subnet := netip.MustParsePrefix("10.0.0.0/24")
		mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
		h.Set([]Link{{
			Link:      link.Link{Name: "eth0", Index: 2, MAC: mac, Usable: true},
			Subnets:   []netip.Prefix{subnet},
			Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
		}}, []Node{{Name: "b", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(opened) != 2 {
			t.Errorf("%d sockets were opened, want 2", len(opened))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
