package fence

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/test/testutil"
)

const ms = time.Millisecond

var (
	vip4     = netip.MustParseAddr("10.9.0.100")
	vip6     = netip.MustParseAddr("2001:db8:9::100")
	bothVIPs = []netip.Addr{vip4, vip6}
)

const port = 6443

// lab is a node, in which the test runs, and a client on one link. The node has the VIPs and
// accepts connections.
type lab struct {
	t      testing.TB
	node   *testutil.Netns
	client *testutil.Netns
	log    testutil.Log
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, client: testutil.NewNetns(t)}
	l.node = testutil.NewNetns(t)
	l.connect("eth0")
	server, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go func() { // a line for each byte
				defer conn.Close()
				b := make([]byte, 1)
				for {
					if _, err := conn.Read(b); err != nil {
						return
					}
					if _, err := conn.Write(b); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l
}

// connect links the node to the client, and adds the addresses.
func (l *lab) connect(device string) {
	testutil.IP(l.t, "link add "+device+" type veth peer name eth0 netns "+l.client.Path())
	for _, args := range []string{
		"addr add 10.9.0.1/24 dev", "addr add 10.9.0.100/32 dev", "link set up dev",
		"addr add 2001:db8:9::1/64 nodad dev", "addr add 2001:db8:9::100/128 nodad dev",
	} {
		testutil.IP(l.t, args+" "+device)
	}
	l.onClient("addr add 10.9.0.2/24 dev eth0", "addr add 2001:db8:9::2/64 dev eth0 nodad",
		"link set eth0 up")
}

// onClient runs iproute2 on the client.
func (l *lab) onClient(commands ...string) {
	l.t.Helper()
	for _, c := range commands {
		l.must(l.client.Do(func() error { testutil.IP(l.t, c); return nil }))
	}
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// fence returns a fence of both VIPs, attached to eth0.
func (l *lab) fence() *Fence {
	l.t.Helper()
	f, variant, err := New(Config{
		VIPs: bothVIPs, Longest: 10 * time.Second, Clock: boottime.Now,
		Log: slog.New(slog.NewTextHandler(&l.log, nil)),
	})
	l.must(err)
	l.t.Cleanup(f.Close)
	l.t.Log("fence:", variant)
	l.must(f.Attach("eth0", time.Second))
	return f
}

// open extends the fence, again if the kernel refused a late frame.
func (l *lab) open(f *Fence, deadline time.Duration) {
	l.t.Helper()
	for range 3 {
		l.must(f.Extend(deadline))
		if open, err := f.openAfter(0); err != nil || open != nil {
			l.must(err)
			return
		}
	}
	l.t.Fatal("the fence does not open")
}

// shut closes the fence and verifies it.
func (l *lab) shut(f *Fence) {
	l.t.Helper()
	l.must(f.Shut())
	l.must(f.VerifyShut())
}

// dial connects the client to an address, whose neighbour entry it does not know before.
func (l *lab) dial(to netip.Addr) (conn net.Conn, err error) {
	l.onClient("neigh flush dev eth0")
	return l.dialKnown(to)
}

func (l *lab) dialKnown(to netip.Addr) (conn net.Conn, err error) {
	_ = l.client.Do(func() error {
		conn, err = net.DialTimeout("tcp", netip.AddrPortFrom(to, port).String(), 150*ms)
		return nil
	})
	return conn, err
}

// expect requires that the VIPs answer the client, or that they do not.
func (l *lab) expect(when string, answers bool) {
	l.t.Helper()
	for _, vip := range bothVIPs {
		dial := func() bool {
			conn, err := l.dial(vip)
			if err == nil {
				conn.Close()
			}
			return err == nil
		}
		if answers {
			testutil.Eventually(l.t, when+": an answer from "+vip.String(), dial)
		} else if dial() {
			l.t.Errorf("%s: %s answers", when, vip)
		}
	}
}

func in(d time.Duration) time.Duration { return boottime.Now() + d }
