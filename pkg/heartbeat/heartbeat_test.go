package heartbeat

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/bpf"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/test/testutil"
)

func TestFrame(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	for _, name := range []string{"n", "worker-1.example.com", strings.Repeat("x", maxName)} {
		f := encode(mac, name)
		if got, ok := decode(append(f, 0, 0, 0)); !ok || got != name {
			t.Errorf("%q became %q, %t", name, got, ok)
		}
		if _, ok := decode(f[:len(f)-1]); ok {
			t.Errorf("accepted a frame without its end")
		}
	}
	for _, bad := range []string{
		"", "short", strings.Repeat("x", 40), string(encode(mac, "")),
		string(encode(mac, strings.Repeat("x", maxName+1))),
	} {
		if name, ok := decode([]byte(bad)); ok {
			t.Errorf("accepted %q as %q", bad, name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(net.HardwareAddr{2, 0, 0, 0, 0, 1}, "node"))
	f.Fuzz(func(t *testing.T, b []byte) {
		name, ok := decode(b)
		if ok && (name == "" || len(name) > maxName || strings.Contains(name, "\n")) {
			t.Errorf("%q became %q", b, name)
		}
	})
}

func TestNewValidates(t *testing.T) {
	for _, cfg := range []Config{{}, {Node: "a"}, {Silent: func(string) {}}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("accepted %+v", cfg)
		}
	}
}

// host is a node of a lab, with a Heartbeat.
type host struct {
	ns     *testutil.Netns
	port   string // of the switch
	node   Node
	link   Link
	stop   context.CancelFunc
	ended  chan struct{}
	mu     sync.Mutex
	silent map[string]int
}

func (h *host) reports(about string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.silent[about]
}

type lab struct {
	t     *testing.T
	sw    *testutil.Netns
	hosts []*host
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// newLab has four nodes on one switch, with the addresses of one family.
func newLab(t *testing.T, address string) *lab {
	t.Helper()
	l := &lab{t: t, sw: testutil.NewNetns(t)}
	l.must(l.sw.Do(func() error {
		testutil.IP(t, "link add br0 type bridge mcast_snooping 0")
		testutil.IP(t, "link set br0 up")
		return nil
	}))
	for i := range 4 {
		l.hosts = append(l.hosts, l.newHost(i, netip.MustParsePrefix(fmt.Sprintf(address, i+1))))
	}
	var nodes []Node
	for _, h := range l.hosts {
		nodes = append(nodes, h.node)
	}
	for _, h := range l.hosts {
		l.start(h, nodes)
	}
	return l
}

func (l *lab) newHost(i int, address netip.Prefix) *host {
	h := &host{
		ns: testutil.NewNetns(l.t), port: fmt.Sprintf("p%d", i), silent: map[string]int{},
	}
	l.must(l.sw.Do(func() error {
		testutil.IP(l.t, "link add "+h.port+" type veth peer name eth0 netns "+h.ns.Path())
		testutil.IP(l.t, "link set "+h.port+" master br0 up")
		return nil
	}))
	l.must(h.ns.Do(func() error {
		testutil.IP(l.t, fmt.Sprintf("addr add %s dev eth0", address))
		testutil.IP(l.t, "link set eth0 up")
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		h.node = Node{
			Name: fmt.Sprintf("n%d", i), MACs: []net.HardwareAddr{eth0.HardwareAddr},
			Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), address.Addr()},
		}
		h.link = Link{
			Link:      link.Link{Name: "eth0", Index: eth0.Index, MAC: eth0.HardwareAddr, Usable: true},
			Subnets:   []netip.Prefix{address.Masked(), netip.MustParsePrefix("192.0.2.0/24")},
			Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), address.Addr()},
		}
		return nil
	}))
	return h
}

// start runs the Heartbeat of a host: its sockets are opened in the namespace.
func (l *lab) start(h *host, nodes []Node) {
	l.t.Helper()
	ctx, stop := context.WithCancel(l.t.Context())
	h.stop, h.ended = stop, make(chan struct{})
	within := func(on link.Link, kind uint16, filter []bpf.RawInstruction) (c arp.Conn, err error) {
		err = h.ns.Do(func() error {
			c, err = arp.Listen(on, kind, filter)
			return err
		})
		return c, err
	}
	asking, err := arp.New(arp.Config{
		Pacing: arp.ServicePacing(), MayAnnounce: func(netip.Addr) bool { return false },
		Listen: within,
	})
	l.must(err)
	b, err := New(Config{
		Node: h.node.Name, probe: asking,
		Silent: func(node string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.silent[node]++
		},
		listen: func(on Link) (arp.Conn, error) { return within(on.Link, etherType, nil) },
	})
	l.must(err)
	b.Set([]Link{h.link}, nodes)
	go func() {
		defer close(h.ended)
		_ = b.Run(ctx)
	}()
	l.t.Cleanup(func() { stop(); <-h.ended })
}

// total returns how many reports there are about all hosts but some.
func (l *lab) total(but ...string) (count int) {
	for _, h := range l.hosts {
		for _, o := range l.hosts {
			if o != h && !slices.Contains(but, h.node.Name) && !slices.Contains(but, o.node.Name) {
				count += h.reports(o.node.Name)
			}
		}
	}
	return count
}

func (l *lab) plug(h *host, state string) {
	l.t.Helper()
	l.must(l.sw.Do(func() error {
		testutil.IP(l.t, "link set "+h.port+" "+state)
		return nil
	}))
}

// TestS10NodeOff: all others notice a node that is off, and it blames none of them. A node without
// its agent is not off.
func TestS10NodeOff(t *testing.T) {
	for _, address := range []string{"10.9.0.%d/24", "2001:db8:9::%d/64"} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, address)
			time.Sleep(4 * time.Second) // new links are slow; frames have to be steady
			off, gone := l.hosts[0], l.hosts[1]
			gone.stop()
			<-gone.ended
			time.Sleep(time.Second)
			if n := l.total(); n > 0 {
				t.Errorf("%d reports, and no node is off", n)
			}
			l.plug(off, "down")
			for _, h := range l.hosts[2:] {
				testutil.Eventually(t, "the verdict of "+h.node.Name, func() bool {
					return h.reports(off.node.Name) > 0
				})
			}
			if n := l.total(off.node.Name); n > 0 {
				t.Errorf("%d reports about nodes that are not off", n)
			}
			for _, h := range l.hosts[1:] {
				if off.reports(h.node.Name) > 0 {
					t.Errorf("the node without a link blames %s", h.node.Name)
				}
			}
		})
	}
}
