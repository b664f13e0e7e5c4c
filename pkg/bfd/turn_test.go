package bfd

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/testutil"
)

// driven is a Server on host a whose turns the test makes at instants of its own, and a peer on
// host b that is a socket.
type driven struct {
	*lab
	*Server
	now    time.Duration
	permit bool
	late   []time.Duration
	one    *Session
	peer   *net.UDPConn
}

func newDriven(t *testing.T) *driven {
	t.Helper()
	d := &driven{lab: newLab(t), now: time.Hour, permit: true}
	d.Server = newServer(t, Config{
		Clock: func() time.Duration { return d.now }, Permit: func() bool { return d.permit },
		OnLate: func(late time.Duration) { d.late = append(d.late, late) },
	})
	t.Cleanup(d.Server.close)
	d.one = d.add(&node{Server: d.Server}, SessionConfig{Peer: d.b.Addr(true)})
	d.peer = d.socket(255, "10.0.0.2:3784")
	d.makeTurn()
	return d
}

// socket returns a socket on host b.
func (d *driven) socket(ttl int, local string) (c *net.UDPConn) {
	d.t.Helper()
	d.must(d.b.Do(func() (err error) {
		c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local)))
		if err == nil {
			err = ipv4.NewConn(c).SetTTL(ttl)
		}
		return err
	}))
	d.t.Cleanup(func() { c.Close() })
	return c
}

// makeTurn makes a turn in the namespace of host a.
func (d *driven) makeTurn() {
	d.t.Helper()
	d.must(d.a.Do(func() error { d.turn(); return nil }))
	d.report()
}

// send sends bytes to the server and waits until they are in its socket, which was drained before.
func (d *driven) send(c *net.UDPConn, b []byte) {
	d.t.Helper()
	_, err := c.WriteToUDPAddrPort(b, netip.AddrPortFrom(d.a.Addr(true), portSingleHop))
	d.must(err)
	l := d.listeners[listenKey{}]
	testutil.Eventually(d.t, "the datagram", func() bool { return readable(d.t, l.fd) })
}

// readable reports whether a datagram waits in a socket.
func readable(t testing.TB, fd int) bool {
	t.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	if err != nil && !errors.Is(err, unix.EINTR) {
		t.Fatal(err)
	}
	return n > 0
}

// packet sends a packet of the peer.
func (d *driven) packet(state State) {
	d.t.Helper()
	d.send(d.peer, d.valid(state).Append(nil))
}

func (d *driven) valid(state State) Packet {
	return Packet{
		State: state, MyDiscriminator: 7, YourDiscriminator: d.one.discriminator, Multiplier: 3,
		DesiredMinTx: DefaultInterval, RequiredMinRx: DefaultInterval,
	}
}

// up brings the session up.
func (d *driven) up() {
	d.t.Helper()
	d.packet(Init)
	d.makeTurn()
	d.packet(Up)
	d.makeTurn()
	if s := d.one.Status(); s.State != Up || s.DetectionTime != 900*time.Millisecond {
		d.t.Fatalf("%+v", s)
	}
}

// last returns the last packet that the peer has received, and waits until there is one.
func (d *driven) last() (p Packet) {
	d.t.Helper()
	raw, err := d.peer.SyscallConn()
	d.must(err)
	waits := func() (yes bool) {
		d.must(raw.Control(func(fd uintptr) { yes = readable(d.t, int(fd)) }))
		return yes
	}
	testutil.Eventually(d.t, "a packet", waits)
	for b := make([]byte, 100); waits(); {
		n, err := d.peer.Read(b)
		d.must(err)
		p, err = Parse(b[:n])
		d.must(err)
	}
	return p
}

// TestB8LateTurnReadsFirst: a process that was starved for ten detection times finds the packets of
// that time in its sockets. They count before the timer does.
func TestB8LateTurnReadsFirst(t *testing.T) {
	d := newDriven(t)
	d.up()
	d.now += 9 * time.Second
	d.packet(Up)
	d.makeTurn()
	if s := d.one.Status(); s.State != Up || s.Detections != 0 {
		t.Errorf("a packet in the socket: %+v", s)
	}
	if n := len(d.late); n == 0 || d.late[n-1] < 8*time.Second {
		t.Errorf("timers ran late by %v", d.late)
	}
	d.now += 900 * time.Millisecond
	d.makeTurn()
	if s := d.one.Status(); s.State != Down || s.Detections != 1 {
		t.Errorf("no packet in the socket: %+v", s)
	}
}

// TestB6ThawedSendsNothing before it is permitted to, whatever it has received, and then starts
// from Down.
func TestB6ThawedSendsNothing(t *testing.T) {
	d := newDriven(t)
	d.up()
	d.permit = false
	before := d.one.Status().Sent
	d.now += 9 * time.Second
	p := d.valid(Up)
	p.Poll = true
	d.send(d.peer, p.Append(nil))
	d.makeTurn()
	d.now += 10 * time.Second // detected
	d.makeTurn()
	d.packet(Down)
	d.makeTurn()
	d.one.Stop(AdministrativelyDown)
	if s := d.one.Status(); s.Sent != before || s.Withheld < 4 {
		t.Errorf("%+v, %d packets were sent before", s, before)
	}
}

// TestB6PermittedAgainStartsFromDown: the packet at which the change is noticed is not sent any
// more.
func TestB6PermittedAgainStartsFromDown(t *testing.T) {
	d := newDriven(t)
	d.up()
	d.last()
	for _, permit := range []bool{false, true} {
		d.permit = permit
		d.now += 300 * time.Millisecond
		d.packet(Up)
		d.makeTurn()
	}
	s := d.one.Status()
	if s.State != Down || s.Diagnostic != ForwardingPlaneReset || s.Withheld == 0 || s.LastDown == "" {
		t.Errorf("%+v", s)
	}
	p := d.last()
	if p.State != Down || p.YourDiscriminator != 0 || p.Diagnostic != ForwardingPlaneReset {
		t.Errorf("sent %v", p)
	}
	d.up()
}

// TestB8StopSendsAtOnce: when Stop returns the packet was sent.
func TestB8StopSendsAtOnce(t *testing.T) {
	d := newDriven(t)
	d.up()
	d.last()
	d.one.Stop(PathDown)
	if p := d.last(); p.State != AdminDown || p.Diagnostic != PathDown {
		t.Errorf("sent %v", p)
	}
	d.now += 3 * time.Second
	d.makeTurn()
	<-d.one.Done()
	d.makeTurn()
	if len(d.listeners) != 0 || len(d.sessions) != 0 {
		t.Errorf("%d listeners and %d sessions are left", len(d.listeners), len(d.sessions))
	}
}

// TestStopOfAnUnknownPeer ends the session at once and is reported, unless Close comes before.
func TestStopOfAnUnknownPeer(t *testing.T) {
	d := newDriven(t)
	for _, closed := range []bool{false, true} {
		n := &node{Server: d.Server}
		one := d.add(n, SessionConfig{Peer: netip.MustParseAddr("10.0.0.77")})
		d.makeTurn()
		one.Stop(AdministrativelyDown)
		if closed {
			one.Close()
		}
		d.makeTurn()
		<-one.Done()
		if n.saw(func(s Status) bool { return s.State == AdminDown }) == closed {
			t.Errorf("closed %v: OnChange received %+v", closed, n.seen)
		}
	}
}

// TestForeignPacketsAreCounted and change nothing.
func TestForeignPacketsAreCounted(t *testing.T) {
	d := newDriven(t)
	d.up()
	d.must(d.b.AddAddr(netip.MustParsePrefix("10.0.0.9/24")))
	other, routed := d.socket(255, "10.0.0.9:50000"), d.socket(254, "10.0.0.2:50000")
	unknown := d.valid(Down)
	unknown.YourDiscriminator++
	unnamed := d.valid(Down)
	unnamed.YourDiscriminator = 0
	for _, c := range []struct {
		from *net.UDPConn
		b    []byte
	}{
		{d.peer, []byte("no packet of BFD")},
		{d.peer, unknown.Append(nil)},
		{other, d.valid(Down).Append(nil)},
		{other, unnamed.Append(nil)},
		{routed, d.valid(Down).Append(nil)},
	} {
		d.send(c.from, c.b)
		d.makeTurn()
	}
	s, all := d.one.Status(), d.Dropped()
	if s.State != Up || s.Dropped[DroppedAddress] != 1 || s.Dropped[DroppedTTL] != 1 ||
		all[DroppedLength] != 1 || all[DroppedNoSession] != 2 {
		t.Errorf("%+v, %v", s, all)
	}
	if _, err := Parse([]byte("no packet of BFD")); err == nil || err.Error() !=
		"parse BFD packet: 16 bytes, want at least 24" {
		t.Error(err)
	}
}

// TestSenderOpensAgain with the same port: an address that is gone and comes back, and a link that
// was not there.
func TestSenderOpensAgain(t *testing.T) {
	d := newDriven(t)
	d.up()
	port := d.one.sender.port
	own := d.a.Addrs[0]
	d.must(d.a.DelAddr(own))
	for range 2 { // the first write may find the route of before
		d.now += 300 * time.Millisecond
		d.makeTurn()
	}
	if s := d.one.Status(); s.Problem == "" {
		t.Errorf("%+v", s)
	}
	d.must(d.a.AddAddr(own))
	d.now += 10 * time.Second
	d.makeTurn()
	if s := d.one.Status(); s.Problem != "" || s.Local != own.Addr() || d.one.sender.port != port {
		t.Errorf("port %d, before %d: %+v", d.one.sender.port, port, s)
	}
	missing := d.add(&node{Server: d.Server}, SessionConfig{
		Peer: netip.MustParseAddr("fe80::1"), Interface: "missing0",
	})
	d.makeTurn()
	if s := missing.Status(); s.Problem == "" || s.Local.IsValid() {
		t.Errorf("%+v", s)
	}
}
