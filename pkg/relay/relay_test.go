package relay

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/test/testutil"
)

const port = 6443

var vips = []netip.Addr{netip.MustParseAddr("10.9.0.100"), netip.MustParseAddr("2001:db8:9::100")}

// lab has a client and two nodes on one switch. Both nodes have the VIPs, and a server that answers
// each line with the node's name. lead says to which node the
// client sends packets for the VIPs. The test runs in the second node.
type lab struct {
	t      *testing.T
	first  *testutil.Netns
	client *testutil.Netns
	macs   map[string]net.HardwareAddr
	link   Link // of the second node
	log    testutil.Log
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, macs: map[string]net.HardwareAddr{}}
	sw := testutil.NewNetns(t)
	l.must(sw.Do(func() error {
		testutil.IP(t, "link add br0 type bridge mcast_snooping 0")
		testutil.IP(t, "link set br0 up")
		return nil
	}))
	l.client = testutil.NewNetns(t)
	l.first = testutil.NewNetns(t)
	second := testutil.NewNetns(t)
	for i, ns := range []*testutil.Netns{l.first, second, l.client} {
		l.must(sw.Do(func() error {
			port := fmt.Sprintf("p%d", i)
			testutil.IP(t, "link add "+port+" type veth peer name eth0 netns "+ns.Path())
			testutil.IP(t, "link set "+port+" master br0 up")
			return nil
		}))
		name := []string{"first", "second", "client"}[i]
		l.must(ns.Do(func() error { return l.configure(name, i+1) }))
	}
	eth0, err := net.InterfaceByName("eth0")
	l.must(err)
	l.link = Link{Name: "eth0", Index: eth0.Index, MAC: eth0.HardwareAddr}
	return l
}

// configure gives a host its addresses, and a node the VIPs and a server.
func (l *lab) configure(name string, number int) error {
	testutil.IP(l.t, fmt.Sprintf("addr add 10.9.0.%d/24 dev eth0", number))
	testutil.IP(l.t, fmt.Sprintf("addr add 2001:db8:9::%d/64 dev eth0 nodad", number))
	testutil.IP(l.t, "link set eth0 up")
	eth0, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	l.macs[name] = eth0.HardwareAddr
	if name == "client" {
		return nil
	}
	testutil.IP(l.t, "addr add 10.9.0.100/32 dev eth0")
	testutil.IP(l.t, "addr add 2001:db8:9::100/128 dev eth0 nodad")
	server, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	l.t.Cleanup(func() { server.Close() })
	go serve(server, name)
	return nil
}

func serve(server net.Listener, name string) {
	for {
		conn, err := server.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				fmt.Fprintln(conn, name)
			}
		}()
	}
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// lead makes the client send packets for the VIPs to a node.
func (l *lab) lead(node string) {
	l.t.Helper()
	l.must(l.client.Do(func() error {
		for _, vip := range vips {
			testutil.IP(l.t, fmt.Sprintf("neigh replace %s lladdr %s dev eth0 nud permanent", vip,
				l.macs[node]))
		}
		return nil
	}))
}

// conn is a connection of the client.
type conn struct {
	net.Conn
	lines *bufio.Reader
}

// dial connects the client to a VIP. A new link may take a second to work with IPv6.
func (l *lab) dial(vip netip.Addr) conn {
	l.t.Helper()
	var c net.Conn
	testutil.Eventually(l.t, "a connection to "+vip.String(), func() bool {
		err := l.client.Do(func() (err error) {
			c, err = net.DialTimeout("tcp", netip.AddrPortFrom(vip, port).String(), 200*time.Millisecond)
			return err
		})
		return err == nil
	})
	l.t.Cleanup(func() { c.Close() })
	return conn{c, bufio.NewReader(c)}
}

// answers returns the name of the node that answers on a connection.
func (c conn) answers() (string, error) {
	if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(c, "?"); err != nil {
		return "", err
	}
	line, err := c.lines.ReadString('\n')
	return strings.TrimSpace(line), err
}

// expect requires that all connections are answered by a node.
func (l *lab) expect(when, node string, conns ...conn) {
	l.t.Helper()
	for _, c := range conns {
		if got, err := c.answers(); err != nil || got != node {
			l.t.Errorf("%s: a connection to %s is answered by %q, want %s: %v", when,
				c.RemoteAddr(), got, node, err)
		}
	}
}

// flows returns the connections of the second node.
func (l *lab) flows() (list []Flow) {
	l.t.Helper()
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := link.Sockets(family, 1<<link.StateEstablished, port)
		l.must(err)
		for _, s := range sockets {
			list = append(list, Flow{VIP: s.Local.Addr(), Remote: s.Remote, Port: s.Local.Port()})
		}
	}
	return list
}

func (l *lab) relay() *Relay {
	l.t.Helper()
	r, err := New(Config{
		VIPs: vips, Own: func() ([]Flow, error) { return l.flows(), nil },
		Log: slog.New(slog.NewTextHandler(&l.log, nil)),
	})
	l.must(err)
	l.t.Cleanup(func() { _ = r.End() })
	return r
}

// host returns a node that has connections of the client.
func (l *lab) host(node string, conns ...conn) Host {
	l.t.Helper()
	h := Host{MAC: l.macs[node]}
	for _, c := range conns {
		vip := netip.MustParseAddrPort(c.RemoteAddr().String())
		remote := netip.MustParseAddrPort(c.LocalAddr().String())
		h.Flows = append(h.Flows, Flow{VIP: vip.Addr(), Remote: remote, Port: vip.Port()})
	}
	h.Flows = ordered(h.Flows)
	return h
}

// foreignHost is a host that does not exist.
var foreignHost = Host{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}

// TestF11Relay: packets of connections that the first node has reach it through the second, whether
// it has named them or is the last holder. Those of older and newer connections of the second stay
// there.
func TestF11Relay(t *testing.T) {
	l := newLab(t)
	r := l.relay()
	for _, vip := range vips {
		l.lead("second")
		older := l.dial(vip)
		l.expect("before", "second", older)
		l.lead("first")
		moved := []conn{l.dial(vip), l.dial(vip)}
		l.expect("before the move", "first", moved...)

		for _, hosts := range [][]Host{
			{l.host("first")},
			{l.host("first", moved...), foreignHost},
			{foreignHost, l.host("first", moved...)},
		} {
			l.must(r.To(l.link, hosts))
			if !r.Active() {
				t.Error("not active")
			}
			l.lead("second")
			newer := []conn{l.dial(vip), l.dial(vip)}
			for range 3 {
				l.expect("relayed", "first", moved...)
				l.expect("own", "second", append(newer, older)...)
			}
		}
		l.must(r.To(l.link, nil))
		l.expect("own, afterwards", "second", older)
		if got, err := moved[0].answers(); err == nil {
			t.Errorf("after the end %q answers", got)
		}
	}
	if list, err := cleanup(nil); err != nil || len(list) > 0 || r.Active() {
		t.Errorf("left: %v, %v, active %v", list, err, r.Active())
	}
}

// TestF11OwnFlowsComeFirst: a connection of this host is not relayed, although another host names
// it.
func TestF11OwnFlowsComeFirst(t *testing.T) {
	l := newLab(t)
	r := l.relay()
	l.lead("second")
	for _, vip := range vips {
		c := l.dial(vip)
		l.must(r.To(l.link, []Host{l.host("first", c)}))
		l.expect("named by another", "second", c)
	}
}

// TestF11NothingGoesRound: a packet from a host to which packets are relayed is not relayed.
func TestF11NothingGoesRound(t *testing.T) {
	l := newLab(t)
	r := l.relay()
	l.must(r.To(l.link, []Host{{MAC: l.macs["first"]}, {MAC: l.macs["client"]}}))
	l.lead("first")
	for _, vip := range vips {
		there := l.dial(vip)
		l.lead("second")
		if got, err := there.answers(); err == nil {
			t.Errorf("%q answers to a host that gets relayed packets", got)
		}
		l.lead("first")
	}
}

// TestF11ConnectionOfAFormerHolder: a host that has drained may connect to the address as others
// do.
func TestF11ConnectionOfAFormerHolder(t *testing.T) {
	l := newLab(t)
	r := l.relay()
	l.lead("second")
	for _, vip := range vips {
		l.must(r.To(l.link, []Host{{MAC: l.macs["first"]}, {MAC: l.macs["client"]}}))
		c := l.dial(vip)
		l.must(r.To(l.link, []Host{{MAC: l.macs["first"]}}))
		l.expect("no host any more", "second", c)
	}
}

// TestHostsChange: connections and hosts come and go, and one connection changes its host.
func TestHostsChange(t *testing.T) {
	l := newLab(t)
	r := l.relay()
	for _, vip := range vips {
		l.lead("first")
		moved := []conn{l.dial(vip), l.dial(vip)}
		l.lead("second")
		there := l.host("first", moved...)
		wrong := Host{MAC: foreignHost.MAC, Flows: there.Flows[:1]}
		for _, hosts := range [][]Host{{wrong, there}, {there}, {there, wrong}, {wrong, there}, {there}} {
			l.must(r.To(l.link, hosts))
			got, err := r.tables[slices.Index(vips, vip)].moves()
			l.must(err)
			if want := string(hosts[0].MAC); got[string(there.Flows[0].key())] != want || len(got) != 2 {
				t.Errorf("%d connections, that of both hosts has %q, want %q", len(got),
					got[string(there.Flows[0].key())], want)
			}
		}
		l.expect("relayed", "first", moved...)
		l.must(r.To(l.link, []Host{wrong}))
		if got, err := r.tables[slices.Index(vips, vip)].moves(); err != nil || len(got) != 1 {
			t.Errorf("%d connections are left, %v", len(got), err)
		}
	}
}

// moves returns the elements of the map of other hosts' connections, as the kernel has them.
func (t *table) moves() (map[string]string, error) {
	list, err := t.Conn.GetSetElements(t.moved())
	got := map[string]string{}
	for _, e := range list {
		got[string(e.Key)] = string(e.Val[:6])
	}
	return got, err
}

// TestTablesEndWithTheProcess: nothing is relayed by a host whose agent was killed.
func TestTablesEndWithTheProcess(t *testing.T) {
	l := newLab(t)
	r := l.relay()
	l.must(r.To(l.link, []Host{foreignHost}))
	for _, table := range r.tables {
		table.Close() // as the kernel does
	}
	r.tables = nil
	if list, err := cleanup(nil); err != nil || len(list) > 0 {
		t.Errorf("left: %v, %v", list, err)
	}
}

// TestMoreFlowsThanOneRequest: a list of elements is longer than an attribute of netlink, and a
// longer one replaces it.
func TestMoreFlowsThanOneRequest(t *testing.T) {
	l := newLab(t)
	r := l.relay()
	many := manyFlows(5 * flowsPerRequest)
	r.cfg.Own = func() ([]Flow, error) { return slices.Concat(many, many[:10]), nil }
	host := l.host("first")
	host.Flows = many
	for range 3 {
		l.must(r.To(l.link, []Host{host, {MAC: foreignHost.MAC, Flows: many}}))
		host.Flows = host.Flows[5:]
	}
	l.must(r.End())
	l.must(r.End())
}

// manyFlows returns connections of both families, in order.
func manyFlows(count int) (list []Flow) {
	for _, vip := range vips {
		remote := netip.MustParseAddr("10.9.0.3")
		if vip.Is6() {
			remote = netip.MustParseAddr("2001:db8:9::3")
		}
		for i := range count {
			list = append(list, Flow{VIP: vip, Remote: netip.AddrPortFrom(remote, uint16(i+1)), Port: port})
		}
	}
	return list
}

// TestFailedRelayIsGone: after an error no table is left.
func TestFailedRelayIsGone(t *testing.T) {
	l := newLab(t)
	r := l.relay()
	r.cfg.Own = func() ([]Flow, error) { return nil, errors.New("no list") }
	if err := r.To(l.link, []Host{foreignHost}); err == nil || r.Active() {
		t.Errorf("%v, active %v", err, r.Active())
	}
	if list, err := cleanup(nil); err != nil || len(list) > 0 {
		t.Errorf("left: %v, %v", list, err)
	}
}

func TestNewAndTo(t *testing.T) {
	own := func() ([]Flow, error) { return nil, nil }
	for _, cfg := range []Config{
		{}, {Own: own}, {VIPs: vips}, {Own: own, VIPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("accepted %+v", cfg)
		}
	}
	r := testutil.Must(New(Config{VIPs: vips, Own: own}))
	for _, err := range []error{
		r.To(Link{Name: "eth0", Index: 2, MAC: foreignHost.MAC}, []Host{{}}),
		r.To(Link{Name: "eth0", Index: 2}, []Host{foreignHost}),
	} {
		if err == nil || r.Active() {
			t.Errorf("accepted: %v", err)
		}
	}
}
