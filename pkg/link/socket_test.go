package link

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/testutil"
)

// message is struct inet_diag_msg of a connection in the given state.
func message(family, state byte, local, remote netip.AddrPort) []byte {
	b := make([]byte, 72)
	b[0], b[1] = family, state
	b[4], b[5] = byte(local.Port()>>8), byte(local.Port())
	b[6], b[7] = byte(remote.Port()>>8), byte(remote.Port())
	copy(b[8:24], wire(family, local.Addr()))
	copy(b[24:40], wire(family, remote.Addr()))
	return b
}

func wire(family byte, a netip.Addr) []byte {
	if family == unix.AF_INET6 {
		full := a.As16() // mapped when it is IPv4
		return full[:]
	}
	return a.AsSlice()
}

func TestParseSocket(t *testing.T) {
	local, remote := netip.MustParseAddrPort("10.9.0.100:6443"),
		netip.MustParseAddrPort("10.9.0.2:40000")
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		c, ok := parseSocket(message(family, 1, local, remote))
		if !ok || c.Family != family || c.Local != local || c.Remote != remote ||
			!slices.Equal(c.ID[:], message(family, 1, local, remote)[4:52]) {
			t.Errorf("family %d: %+v, %v", family, c, ok)
		}
	}
	for desc, b := range map[string][]byte{
		"empty": nil, "short": message(unix.AF_INET, 1, local, remote)[:71],
		"no such state": message(unix.AF_INET, 32, local, remote),
		"other family":  message(1, 1, local, remote),
	} {
		if c, ok := parseSocket(b); ok {
			t.Errorf("%s: accepted as %+v", desc, c)
		}
	}
}

func FuzzParseSocket(f *testing.F) {
	f.Add(message(unix.AF_INET, 1, netip.MustParseAddrPort("10.9.0.100:6443"),
		netip.MustParseAddrPort("10.9.0.2:1")))
	f.Add(message(unix.AF_INET6, 1, netip.MustParseAddrPort("[::1]:6443"),
		netip.MustParseAddrPort("10.9.0.2:1")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, ok := parseSocket(b); ok &&
			(c.Local.Addr().Is4In6() || !c.Local.IsValid() || !c.Remote.IsValid()) {
			t.Errorf("accepted %+v", c)
		}
	})
}

// socketsOf returns the sockets of 127.0.0.1 with one of the states, on that port.
func socketsOf(t *testing.T, states uint32, port uint16) []Socket {
	t.Helper()
	list, err := Sockets(unix.AF_INET, states, port)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// waitForSocket waits until the only socket with one of the states on that port is as wanted: the
// kernel delivers over loopback a little later.
func waitForSocket(t *testing.T, what string, states uint32, port uint16, is func(Socket) bool) {
	t.Helper()
	var list []Socket
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if list = socketsOf(t, states, port); len(list) == 1 && is(list[0]) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("timed out waiting for %s: %+v", what, list)
}

// TestSocketsOfAConnection: its listener, and its server's side from the handshake to the end.
func TestSocketsOfAConnection(t *testing.T) {
	listener := testutil.Must(net.Listen("tcp4", "127.0.0.1:0"))
	defer listener.Close()
	local := netip.MustParseAddrPort(listener.Addr().String())
	const established, listens = 1 << StateEstablished, 1 << StateListen
	if list := socketsOf(t, listens, local.Port()); len(list) != 1 || list[0].Local != local ||
		list[0].State != StateListen || !list[0].Attached {
		t.Errorf("listener %v: %+v", local, list)
	}
	if list := socketsOf(t, established, local.Port()); len(list) != 0 {
		t.Errorf("connections before there are any: %+v", list)
	}
	client := testutil.Must(net.Dial("tcp4", local.String()))
	defer client.Close()
	remote := netip.MustParseAddrPort(client.LocalAddr().String())
	if _, err := client.Write([]byte("12345")); err != nil {
		t.Fatal(err)
	}
	waitForSocket(t, "a connection that is not accepted", established, local.Port(),
		func(s Socket) bool {
			return s.Local == local && s.Remote == remote && !s.Attached && s.Unread == 5
		})
	server := testutil.Must(listener.Accept())
	defer server.Close()
	waitForSocket(t, "an accepted connection", established, local.Port(),
		func(s Socket) bool { return s.Attached && s.Unread == 5 })
	if _, err := server.Read(make([]byte, 9)); err != nil {
		t.Fatal(err)
	}
	waitForSocket(t, "a connection without unread bytes", established, local.Port(),
		func(s Socket) bool { return s.Unread == 0 })
	client.Close()
	waitForSocket(t, "a connection that the client closed", established|1<<StateCloseWait,
		local.Port(), func(s Socket) bool { return s.State == StateCloseWait })
}

// TestSocketsOfAnyPort has those of each port, and those of dual-stack sockets are of AF_INET6.
func TestSocketsOfAnyPort(t *testing.T) {
	testutil.NewNetns(t)
	one := testutil.Must(net.Listen("tcp4", "127.0.0.1:0"))
	defer one.Close()
	two := testutil.Must(net.Listen("tcp", ":0"))
	defer two.Close()
	port := func(l net.Listener) uint16 { return uint16(l.Addr().(*net.TCPAddr).Port) }
	for family, want := range map[uint8]uint16{unix.AF_INET: port(one), unix.AF_INET6: port(two)} {
		list, err := Sockets(family, 1<<StateListen, 0)
		if err != nil || len(list) != 1 || list[0].Local.Port() != want || list[0].Family != family {
			t.Errorf("family %d: %+v, %v; want port %d", family, list, err, want)
		}
	}
	if list := socketsOf(t, 1<<StateEstablished, 0); len(list) != 0 {
		t.Errorf("connections in a new namespace: %+v", list)
	}
}

// TestSocketRequest has the layout of struct inet_diag_req_v2, and shares nothing with the id.
func TestSocketRequest(t *testing.T) {
	var id SocketID
	for i := range id {
		id[i] = byte(i + 1)
	}
	b := SocketRequest(unix.AF_INET6, 1<<StateListen|1<<StateEstablished, id)
	if len(b) != socketRequestHead+socketIDLen || b[0] != unix.AF_INET6 ||
		b[1] != unix.IPPROTO_TCP || binary.NativeEndian.Uint32(b[4:]) != 1<<10|1<<1 {
		t.Errorf("request % x", b)
	}
	if !slices.Equal(b[socketRequestHead:], id[:]) {
		t.Errorf("id % x", b[socketRequestHead:])
	}
	b[socketRequestHead] = 0
	if id[0] != 1 {
		t.Error("a change of the request changed the id")
	}
}
