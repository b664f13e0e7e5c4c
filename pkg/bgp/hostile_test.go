package bgp

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/test/lab/wait"
)

// smallBuffer makes a listener's connections take little that is not read.
func smallBuffer(fd int) error {
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096)
}

// slowPeer is the configuration of a peer whose session outlives the test.
func slowPeer(f *fakePeer) PeerConfig {
	return f.config("tor", func(c *PeerConfig) {
		c.HoldTime, c.MaximumPrefixes = 90*time.Second, 1<<20
	})
}

// manyRoutes returns routes that need about a kilobyte each: each has other attributes.
func manyRoutes(count int) []Route {
	routes := make([]Route, count)
	for i := range routes {
		med := uint32(i)
		address := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		routes[i] = Route{Prefix: netip.PrefixFrom(address, 32), Attributes: Attributes{MED: &med,
			Communities:      make([]uint32, MaxCommunities),
			LargeCommunities: make([]LargeCommunity, MaxCommunities)}}
	}
	return routes
}

// tooMany is a number of routes that fills the buffers of both sides: 10 MB, while the kernel lets
// a connection's send buffer grow to 4 MB (tcp(7), tcp_wmem).
const tooMany = 10_000

// blocked waits until a write of the speaker waits for a peer that does not read.
func blocked(t *testing.T, s *Speaker) {
	t.Helper()
	p, before, same := s.peers["tor"], 0, 0
	wait.Eventually(t, patience, "a write that blocks", func() bool {
		n := p.link.unacknowledged()
		if same++; n != before || n < 2*maxSize { // less may be on its way
			same, before = 0, n
		}
		return same == 25 // the kernel enlarges the buffer once or twice
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.synced == p.version {
		t.Fatal("everything was written, although the peer reads nothing")
	}
}

// TestPeerThatNeverReads: Run returns while a write waits for the peer.
func TestPeerThatNeverReads(t *testing.T) {
	tor := listen(t, "127.0.0.1", smallBuffer)
	s, stop := runSpeaker(t, Config{}, slowPeer(tor))
	s.SetRoutes(routesOf(manyRoutes(tooMany), "tor"))
	tor.handshake(t)
	blocked(t, s)
	if s.Flushed("tor") {
		t.Error("everything is acknowledged")
	}
	stop()
}

// TestFlushedMeansAcknowledged: Flushed reports true once the peer's kernel has everything.
func TestFlushedMeansAcknowledged(t *testing.T) {
	tor := listen(t, "127.0.0.1", smallBuffer)
	s, _ := runSpeaker(t, Config{}, slowPeer(tor))
	session := tor.handshake(t)
	wait.Eventually(t, patience, "the session", func() bool {
		return statusOf(t, s, "tor").Established()
	})
	s.SetRoutes(routesOf(manyRoutes(500), "tor"))
	if s.Flushed("tor") {
		t.Error("what was set just now is acknowledged, although nothing was read")
	}
	wait.Eventually(t, patience, "the messages in the send buffer", func() bool {
		return statusOf(t, s, "tor").UpdatesSent >= 500
	})
	if s.Flushed("tor") {
		t.Error("what is in the send buffer is acknowledged")
	}
	go session.read()
	for round := range 20 {
		wait.Eventually(t, patience, "the acknowledgement", func() bool { return s.Flushed("tor") })
		if got := statusOf(t, s, "tor").UpdatesSent; got < uint64(round)+500 {
			t.Fatalf("%d UPDATEs sent in round %d", got, round)
		}
		med := uint32(round)
		r := route("198.51.100.1/32")
		r.MED = &med
		s.SetRoutes(routesOf([]Route{r}, "tor"))
	}
	session.has(t, "198.51.100.1/32")
}

// TestB2RoutesOfPeersNeedNoMemory: the UPDATEs of a router that leaks 100 000 routes are counted.
func TestB2RoutesOfPeersNeedNoMemory(t *testing.T) {
	tor := listen(t, "127.0.0.1")
	s, _ := runSpeaker(t, Config{}, tor.config("tor", nil))
	session := tor.session(t)
	session.has(t)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	var update bytes.Buffer
	for i := range 100_000 {
		update.Write(wire(2, 0, 0, 0, 0, 32, 10, byte(i>>16), byte(i>>8), byte(i)))
		if update.Len() > 32000 || i == 99_999 {
			session.write(t, update.Bytes())
			update.Reset()
		}
	}
	wait.Eventually(t, patience, "all UPDATEs", func() bool {
		return statusOf(t, s, "tor").UpdatesIgnored == 100_000
	})
	if after := heap(); after > before+4<<20 {
		t.Errorf("%d KiB more are in use", (after-before)>>10)
	}
	if status := statusOf(t, s, "tor"); status.Routes != [families]int{} || status.Sessions != 1 {
		t.Errorf("%+v", status)
	}
}

// TestNotificationThroughAFlood: the peer receives the NOTIFICATION, and no reset, although its own
// UPDATEs are still arriving.
func TestNotificationThroughAFlood(t *testing.T) {
	tor := listen(t, "127.0.0.1")
	s, stop := runSpeaker(t, Config{}, tor.config("tor", nil))
	session := tor.handshake(t)
	flooded := make(chan error, 1)
	go func() {
		update := wire(2, make([]byte, 4000)...)
		for {
			if _, err := session.conn.Write(update); err != nil {
				flooded <- err
				return
			}
			if len(session.look().notifications) > 0 { // as a router that has read it
				flooded <- nil
				return
			}
		}
	}()
	wait.Eventually(t, patience, "the flood", func() bool {
		return statusOf(t, s, "tor").UpdatesIgnored > 100
	})
	go session.readOnly()
	stop()
	session.over(t, "cease: administrative shutdown (kvip stops)")
	if err := <-flooded; err != nil {
		t.Errorf("the peer was reset before it knew the notification: %v", err)
	}
}

// TestHostilePeers: each ends its own session with a reason, and the speaker tries again.
func TestHostilePeers(t *testing.T) {
	header := func(size uint16) []byte {
		h := wire(2)
		h[16], h[17] = byte(size>>8), byte(size)
		return h
	}
	for name, c := range map[string]struct {
		send   []byte
		after  func(*net.TCPConn) // what follows
		reason string
		answer string // the notification
	}{
		"garbage": {bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 100), nil, "the marker is wrong",
			"message header error: connection not synchronized"},
		"huge length": {header(65535), nil, "has 65535 bytes",
			"message header error: bad message length"},
		"no length": {header(0), nil, "has 0 bytes", "message header error: bad message length"},
		"unknown type": {wire(200), nil, "no message of type 200",
			"message header error: bad message type"},
		"half a message": {wire(1, openBody()...)[:25], half, "the peer closed the connection", ""},
		"half a header":  {marker, half, "the peer closed the connection", ""},
		"nothing":        {nil, half, "the peer closed the connection", ""},
		"reset":          {nil, reset, "reset by peer", ""},
		"authentication": {wire(1, openBody(1, 1, 0)...), nil, "unknown optional parameter",
			"OPEN message error: unsupported optional parameter"},
		"an error":     {wire(3, 2, 2), nil, "the peer sent OPEN message error: bad peer AS", ""},
		"hostile text": {wire(3, append([]byte{6, 2, 5}, "\x1b[2Jx"...)...), nil, `("\x1b[2Jx")`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tor := listen(t, "127.0.0.1")
			s, _ := runSpeaker(t, Config{}, tor.config("tor", nil))
			session := &fakeSession{conn: tor.accept(t), routes: received{}}
			if _, err := session.message(); err != nil { // the OPEN
				t.Fatal(err)
			}
			session.write(t, c.send)
			if c.after != nil {
				c.after(session.conn)
			}
			reason(t, s, "tor", c.reason)
			if c.after == nil {
				go session.read()
				session.over(t, c.answer)
			}
			tor.session(t).has(t)
		})
	}
}

func half(c *net.TCPConn) { _ = c.CloseWrite() }

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// TestByteByByte: a peer that sends one byte at a time is slow, and not wrong.
func TestByteByByte(t *testing.T) {
	tor := listen(t, "127.0.0.1")
	s, _ := runSpeaker(t, Config{}, tor.config("tor", nil))
	s.SetRoutes(routesOf([]Route{route("198.51.100.1/32")}, "tor"))
	session := &fakeSession{conn: tor.accept(t), routes: received{}}
	_ = session.conn.SetNoDelay(true)
	open, err := session.message()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range append(fakeOpen(decode(open).(Open)), wire(4)...) {
		session.write(t, []byte{b})
	}
	go session.read() // which also writes
	session.has(t, "198.51.100.1/32")
}

// TestSilentPeer: a peer that accepts the connection and says nothing, before its OPEN and in a
// session.
func TestSilentPeer(t *testing.T) {
	tor := listen(t, "127.0.0.1")
	var ahead atomic.Int64
	clock := func() time.Duration { return boottime.Now() + time.Duration(ahead.Load()) }
	s, _ := runSpeaker(t, Config{Clock: clock}, tor.config("tor", nil))
	session := &fakeSession{conn: tor.accept(t), routes: received{}}
	if _, err := session.message(); err != nil {
		t.Fatal(err)
	}
	go session.read()
	ahead.Add(int64(openTimeout))
	session.over(t, "hold timer expired")
	reason(t, s, "tor", "nothing for 15s")
	next := tor.session(t)
	next.has(t)
	ahead.Add(int64(DefaultHoldTime))
	next.over(t, "hold timer expired")
	reason(t, s, "tor", "nothing for 9s")
}

// TestNoGoroutineIsLeft after Run, whatever the peers do.
func TestNoGoroutineIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	silent, reader, slow := listen(t, "127.0.0.1"), listen(t, "127.0.0.1"),
		listen(t, "127.0.0.1", smallBuffer)
	var peers []PeerConfig
	for i, f := range []*fakePeer{silent, reader} {
		peers = append(peers, f.config(fmt.Sprint("peer", i), nil))
	}
	blackHole := silent.config("hole", func(c *PeerConfig) { c.Port = 1 })
	unusable := silent.config("unusable", func(c *PeerConfig) { c.Unusable = "no password" })
	s, stop := runSpeaker(t, Config{}, append(peers, slowPeer(slow), blackHole, unusable)...)
	s.SetRoutes(routesOf(manyRoutes(tooMany), "tor"))
	silent.accept(t)
	session := reader.session(t)
	session.has(t)
	slow.handshake(t)
	blocked(t, s)
	stop()
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, running := range []string{"bgp.(*peer).", "bgp.(*transport).", "bgp.(*conn).read"} {
		if bytes.Contains(stacks, []byte(running)) {
			t.Errorf("%s runs after Run:\n%s", running, stacks)
		}
	}
	_ = session.conn.Close()
	wait.Eventually(t, patience, "the end of all goroutines", func() bool {
		return runtime.NumGoroutine() <= before
	})
	for _, p := range s.Status() {
		if p.State != Idle {
			t.Errorf("%s is %v", p.Name, p.State)
		}
	}
}

// password sets the password of a listening socket for a client (tcp(7), TCP_MD5SIG).
func password(text string) func(fd int) error {
	return func(fd int) error {
		return setPassword(fd, text, netip.MustParseAddr("127.0.0.1"))
	}
}

// failed waits until an attempt to connect has failed, without a session before.
func failed(t *testing.T, s *Speaker, name string) {
	t.Helper()
	reason(t, s, name, "connect")
	if n := statusOf(t, s, name).Sessions; n != 0 {
		t.Errorf("%s had %d sessions", name, n)
	}
}

// TestB12Password: there is a session with the right password only.
func TestB12Password(t *testing.T) {
	tor := listen(t, "127.0.0.1", password("secret"))
	for text, ok := range map[string]bool{"secret": true, "wrong": false, "": false} {
		s, stop := runSpeaker(t, Config{}, tor.config("tor", func(c *PeerConfig) {
			c.Password, c.ConnectTimeout = text, time.Second
		}))
		if ok {
			tor.session(t).has(t)
		} else {
			failed(t, s, "tor")
		}
		stop()
	}
	// The other side has none: there is no weaker session.
	plain := listen(t, "127.0.0.1")
	s, _ := runSpeaker(t, Config{}, plain.config("tor", func(c *PeerConfig) {
		c.Password, c.ConnectTimeout = "secret", time.Second
	}))
	failed(t, s, "tor")
}

// TestB12OptionsThatTheKernelRefuses: there is no connection without them.
func TestB12OptionsThatTheKernelRefuses(t *testing.T) {
	tor := listen(t, "127.0.0.1")
	cfg := tor.config("tor", func(c *PeerConfig) { c.SourceInterface = "no-such-link" })
	s, _ := runSpeaker(t, Config{}, cfg)
	reason(t, s, "tor", "bind to interface no-such-link")
	failed := setOptions(-1, validPeer(func(c *PeerConfig) { c.Password = "x" }), cfg.Address)
	if failed == nil || !strings.Contains(failed.Error(), "setsockopt") {
		t.Errorf("%v", failed)
	}
}

// ttl sets a TTL option of a listener.
func ttl(option, value int) func(fd int) error {
	return func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_IP, option, value) }
}

// TestB12TTLSecurity: this side sends TTL 255, and drops a peer that sends less.
func TestB12TTLSecurity(t *testing.T) {
	secure := func(c *PeerConfig) { c.TTLSecurity, c.ConnectTimeout = true, time.Second }
	far := listen(t, "127.0.0.1", ttl(unix.IP_TTL, 64))
	near := listen(t, "127.0.0.1", ttl(unix.IP_TTL, 255), ttl(unix.IP_MINTTL, 255))
	s, _ := runSpeaker(t, Config{}, far.config("far", secure), near.config("near", secure))
	near.session(t).has(t)
	failed(t, s, "far")
	// Without TTL security this side sends TTL 1, which the near peer drops.
	if err := s.SetPeers([]PeerConfig{near.config("plain", func(c *PeerConfig) {
		c.ConnectTimeout = time.Second
	})}); err != nil {
		t.Fatal(err)
	}
	failed(t, s, "plain")
}
