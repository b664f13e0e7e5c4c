package health

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/link"
)

var (
	loopback = netip.MustParseAddrPort("127.0.0.1:6443")
	finWait  = uint8(4)
)

// sock is a socket of the server at loopback with a number as its cookie.
func sock(cookie byte, state uint8, unread, unsent uint32, attached bool) link.Socket {
	return link.Socket{State: state, ID: link.SocketID{47: cookie}, Local: loopback, Unread: unread, Unsent: unsent, Attached: attached}
}

// queue is the listening socket with so many connections to accept.
func queue(n uint32) link.Socket { return sock(0, link.StateListen, n, 0, true) }

// waiting is a connection that nobody has accepted; open is one of the process.
func waiting(cookie byte, unread uint32) link.Socket {
	return sock(cookie, link.StateEstablished, unread, 0, false)
}
func open(cookie byte, unread, unsent uint32) link.Socket {
	return sock(cookie, link.StateEstablished, unread, unsent, true)
}

// TestSignsOfLife: what a process must do for its sockets to change, and what the kernel
// and the clients do to them alone.
func TestSignsOfLife(t *testing.T) {
	for name, c := range map[string]struct {
		before, after []link.Socket
		alive         bool
	}{
		"nothing":                     {[]link.Socket{queue(1), waiting(1, 0)}, []link.Socket{queue(1), waiting(1, 0)}, false},
		"connections pile up":         {[]link.Socket{queue(1), waiting(1, 0)}, []link.Socket{queue(3), waiting(1, 0), waiting(2, 250), waiting(3, 0)}, false},
		"data piles up":               {[]link.Socket{queue(1), open(1, 0, 0)}, []link.Socket{queue(1), open(1, 90, 0)}, false},
		"a peer acknowledges":         {[]link.Socket{queue(1), open(1, 0, 90)}, []link.Socket{queue(1), open(1, 0, 0)}, false},
		"a peer closes":               {[]link.Socket{queue(1), open(1, 0, 0)}, []link.Socket{queue(1), sock(1, link.StateCloseWait, 1, 0, true)}, false},
		"a peer resets":               {[]link.Socket{queue(1), open(1, 0, 0)}, []link.Socket{queue(1)}, false},
		"accepted":                    {[]link.Socket{queue(2), waiting(1, 0), waiting(2, 0)}, []link.Socket{queue(2), open(1, 0, 0), waiting(2, 0), waiting(3, 0)}, true},
		"accepted between two looks":  {[]link.Socket{queue(1)}, []link.Socket{queue(1), open(1, 0, 0)}, true},
		"accepted and reset":          {[]link.Socket{queue(5)}, []link.Socket{queue(4)}, true},
		"read":                        {[]link.Socket{queue(1), open(1, 90, 0)}, []link.Socket{queue(1), open(1, 0, 0)}, true},
		"wrote":                       {[]link.Socket{queue(1), open(1, 0, 0)}, []link.Socket{queue(1), open(1, 0, 90)}, true},
		"closed":                      {[]link.Socket{queue(1), open(1, 0, 0)}, []link.Socket{queue(1), sock(1, finWait, 0, 0, false)}, true},
		"listens anew":                {[]link.Socket{queue(1)}, []link.Socket{queue(1), sock(9, link.StateListen, 0, 0, true)}, true},
		"one of many, under a load":   {[]link.Socket{queue(1), open(1, 90, 0), open(2, 90, 0)}, []link.Socket{queue(9), open(1, 90, 0), open(2, 80, 0), waiting(3, 9)}, true},
		"an orphan that nobody reads": {[]link.Socket{queue(1), sock(1, finWait, 0, 9, false)}, []link.Socket{queue(1), sock(1, finWait, 0, 0, false)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var s stillness
			begin := time.Unix(1000, 0)
			s.look(begin, c.before)
			if alive := s.look(begin.Add(lookPeriod), c.after); alive != c.alive {
				t.Errorf("alive %v, want %v", alive, c.alive)
			}
		})
	}
}

// TestStandsStill: how long a process is known to stand still.
func TestStandsStill(t *testing.T) {
	type look struct {
		at      time.Duration
		sockets []link.Socket
		want    time.Duration
	}
	idle, stuck := []link.Socket{queue(0)}, []link.Socket{queue(1)}
	for name, looks := range map[string][]look{
		"five looks at least": {{0, stuck, 0}, {300 * ms, stuck, 0}, {600 * ms, stuck, 0}, {900 * ms, stuck, 0}, {1200 * ms, stuck, 1200 * ms}, {1300 * ms, stuck, 1300 * ms}},
		"nothing to do":       {{0, idle, 0}, {100 * ms, idle, 0}, {200 * ms, idle, 0}, {300 * ms, idle, 0}, {400 * ms, idle, 0}, {500 * ms, idle, 0}},
		"nothing to see":      {{0, nil, 0}, {100 * ms, nil, 0}, {200 * ms, nil, 0}, {300 * ms, nil, 0}, {400 * ms, nil, 0}, {500 * ms, nil, 0}},
		"counted from when there was something to do": {{0, idle, 0}, {100 * ms, stuck, 0}, {200 * ms, stuck, 0}, {300 * ms, stuck, 0}, {400 * ms, stuck, 0}, {500 * ms, stuck, 400 * ms}},
		"a sign of life begins it again": {{0, stuck, 0}, {100 * ms, stuck, 0}, {200 * ms, stuck, 0}, {300 * ms, stuck, 0}, {400 * ms, []link.Socket{queue(3)}, 400 * ms},
			{500 * ms, []link.Socket{queue(2)}, 0}, {600 * ms, []link.Socket{queue(2)}, 0}, {700 * ms, []link.Socket{queue(2)}, 0}, {800 * ms, []link.Socket{queue(2)}, 0},
			{900 * ms, []link.Socket{queue(2)}, 400 * ms}},
		"so does a gap": {{0, stuck, 0}, {100 * ms, stuck, 0}, {200 * ms, stuck, 0}, {300 * ms, stuck, 0}, {1301 * ms, stuck, 0}, {1400 * ms, stuck, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			var s stillness
			for i, l := range looks {
				s.look(time.Unix(1000, 0).Add(l.at), l.sockets)
				if got := s.lasted(); got != l.want {
					t.Fatalf("look %d: still for %v, want %v", i, got, l.want)
				}
			}
		})
	}
}

// TestOfServer: of several servers on one port, only the sockets of the one that answers at
// the address count.
func TestOfServer(t *testing.T) {
	at := func(address string, state uint8) link.Socket {
		return link.Socket{State: state, Local: netip.MustParseAddrPort(address)}
	}
	proxy, any4, any6 := at("10.0.0.100:6443", link.StateListen), at("0.0.0.0:6443", link.StateListen), at("[::]:6443", link.StateListen)
	toProxy, toHost, to6 := at("10.0.0.100:6443", link.StateEstablished), at("10.0.0.1:6443", link.StateEstablished), at("[2001:db8::1]:6443", link.StateEstablished)
	other := at("127.0.0.1:2379", link.StateListen)
	for name, c := range map[string]struct {
		list   []link.Socket
		server string
		want   []link.Socket
	}{
		"bound to any address": {[]link.Socket{any4, toHost, toProxy, other}, "127.0.0.1:6443", []link.Socket{any4, toHost, toProxy}},
		"dual-stack":           {[]link.Socket{any6, toHost, to6}, "127.0.0.1:6443", []link.Socket{any6, toHost, to6}},
		"another server at an address of its own": {[]link.Socket{any6, proxy, toHost, toProxy}, "127.0.0.1:6443", []link.Socket{any6, toHost}},
		"that one":                 {[]link.Socket{any6, proxy, toHost, toProxy}, "10.0.0.100:6443", []link.Socket{proxy, toProxy}},
		"one for each family":      {[]link.Socket{any4, any6, toHost, to6}, "10.0.0.1:6443", []link.Socket{any4, toHost}},
		"elsewhere":                {[]link.Socket{proxy, toProxy, other}, "127.0.0.1:6443", nil},
		"IPv4 does not serve IPv6": {[]link.Socket{any4, toHost}, "[::1]:6443", nil},
	} {
		got := ofServer(c.list, netip.MustParseAddrPort(c.server))
		if !slices.Equal(got, c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
