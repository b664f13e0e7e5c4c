package vip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/test/testutil"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// patience ends a test that would hang; no assertion depends on it.
const patience = 20 * time.Second

// lab is two hosts: the test runs in node, where eth0 leads to client.
type lab struct {
	node, client *testutil.Netns
	eth0, eth1   link.Link
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{client: testutil.NewNetns(t)}
	l.node = testutil.NewNetns(t)
	testutil.IP(t, "link add eth0 type veth peer name eth0 netns "+l.client.Path())
	testutil.IP(t, "link add eth1 type veth peer name peer1")
	for _, args := range []string{
		"addr add 10.9.0.1/24 dev eth0", "addr add 2001:db8:9::1/64 dev eth0 nodad",
		"link set eth0 up", "link set eth1 up", "link set peer1 up",
	} {
		testutil.IP(t, args)
	}
	for _, args := range []string{
		"addr add 10.9.0.2/24 dev eth0", "addr add 2001:db8:9::2/64 dev eth0 nodad", "link set eth0 up",
	} {
		l.run(t, "ip", strings.Fields(args)...)
	}
	l.eth0, l.eth1 = ref(t, "eth0"), ref(t, "eth1")
	return l
}

// run runs a command on the client and returns its output.
func (l *lab) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var out []byte
	err := l.client.Do(func() (err error) {
		out, err = exec.Command(name, args...).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

func ref(t *testing.T, name string) link.Link {
	t.Helper()
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return link.Link{Index: i.Index, Name: i.Name}
}

func at(l link.Link, vip netip.Addr) Address { return Address{vip, l.Index, l.Name} }

// find returns this host's addresses that equal the VIP.
func find(t *testing.T, vip netip.Addr) []link.HostAddr {
	t.Helper()
	all, err := link.Addresses()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(h link.HostAddr) bool { return h.Prefix.Addr() != vip })
}

// check asserts E10's attributes of the only address that equals the VIP.
func check(t *testing.T, desc string, vip netip.Addr, on link.Link) {
	t.Helper()
	found := find(t, vip)
	if len(found) != 1 {
		t.Fatalf("%s: %s is here %d times: %+v", desc, vip, len(found), found)
	}
	h := found[0]
	scope, flags := uint8(unix.RT_SCOPE_UNIVERSE),
		uint32(unix.IFA_F_NOPREFIXROUTE|unix.IFA_F_DEPRECATED)
	if !vip.Is4() {
		flags |= unix.IFA_F_NODAD
	} else if first(t, on.Name) == vip { // alone on its link
		scope = unix.RT_SCOPE_HOST
	}
	if h.Index != on.Index || h.Proto != ControlPlaneProto || h.Scope != scope || h.Flags != flags ||
		!h.Prefix.IsSingleIP() ||
		h.ValidLft < 1 || h.ValidLft > 60 || h.PreferredLft != 0 {
		t.Errorf("%s: %+v; want proto %d, scope %d, flags %#x, a host prefix, preferred 0 and at most "+
			"60 s on %s",
			desc, h, ControlPlaneProto, scope, flags, on.Name)
	}
}

// first returns the first IPv4 address of a link, which the kubelet and others take for the node's.
func first(t *testing.T, name string) netip.Addr {
	t.Helper()
	all, err := link.Addresses()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range all {
		if h.Link == name && h.Prefix.Addr().Is4() {
			return h.Prefix.Addr()
		}
	}
	return netip.Addr{}
}

var bothVIPs = []netip.Addr{vip4, vip6}

// E10, E1: attributes, also after a refresh and in whatever state the address was before.
func TestReplace(t *testing.T) {
	l := newLab(t)
	k := Netlink()
	for _, vip := range bothVIPs {
		host := netip.PrefixFrom(vip, vip.BitLen()).String()
		for _, before := range []struct{ desc, command string }{
			{"absent", ""},
			{"refreshed", ""},
			{"made permanent by hand", "addr change " + host +
				" dev eth0 valid_lft forever preferred_lft forever"},
			{"there with other attributes", "addr replace " + host + " dev eth0 scope link"},
			{"on another link", "addr add " + host + " dev eth1 valid_lft 50 preferred_lft 0"},
			{"on another link for ever", "addr add " + host + " dev eth1"},
		} {
			if strings.HasPrefix(before.desc, "there with") {
				testutil.IP(t, "addr del "+host+" dev eth0")
			}
			if before.command != "" {
				testutil.IP(t, before.command)
			}
			for range 2 {
				if err := replace(k, at(l.eth0, vip), 60*time.Second); err != nil {
					t.Fatalf("%s %s: %v", vip, before.desc, err)
				}
				check(t, vip.String()+" "+before.desc, vip, l.eth0)
			}
		}
		if err := replace(k, at(l.eth1, vip), 60*time.Second); err != nil {
			t.Fatal(err)
		}
		check(t, vip.String()+" moved", vip, l.eth1)
	}
}

// A v6 address that failed duplicate detection is usable after a Replace.
func TestReplaceOfATentativeAddress(t *testing.T) {
	l := newLab(t)
	testutil.IP(t, "addr add "+vip6.String()+"/128 dev eth0")
	if found := find(t, vip6); len(found) != 1 || found[0].Flags&unix.IFA_F_TENTATIVE == 0 {
		t.Fatalf("the address is not tentative to begin with: %+v", found)
	}
	if err := replace(Netlink(), at(l.eth0, vip6), time.Minute); err != nil {
		t.Fatal(err)
	}
	check(t, "after Replace", vip6, l.eth0)
}

func TestReplaceRefuses(t *testing.T) {
	l := newLab(t)
	k := Netlink()
	for _, valid := range []time.Duration{0, -time.Second, 999 * time.Millisecond,
		1500 * time.Millisecond} {
		if err := replace(k, at(l.eth0, vip4), valid); err == nil || len(find(t, vip4)) != 0 {
			t.Errorf("lifetime %v: %v; want an error and no address", valid, err)
		}
	}
	gone := link.Link{Index: 4711, Name: "gone0"}
	o, err := New(Config{VIPs: []netip.Addr{vip4}})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Update(gone, boottime.Now()+time.Minute); !errors.Is(err, unix.ENODEV) ||
		!strings.Contains(err.Error(), "gone0") {
		t.Errorf("missing link: %v; want ENODEV naming it", err)
	}
	testutil.IP(t, "addr add 10.9.0.100/24 dev eth1")
	testutil.IP(t, "addr add 2001:db8:9::100/64 dev eth0")
	for _, vip := range bothVIPs {
		err := replace(k, at(l.eth0, vip), time.Minute)
		if found := find(t, vip); !errors.Is(err, ErrForeign) || len(found) != 1 ||
			found[0].Proto == ControlPlaneProto {
			t.Errorf("%s with a network's prefix: %v, %+v; want ErrForeign and nothing touched", vip, err,
				found)
		}
		if err := remove(k, at(l.eth0, vip)); err != nil || len(find(t, vip)) != 1 {
			t.Errorf("Delete of another program's %s: %v; want nothing touched", vip, err)
		}
	}
	if list, err := ControlPlaneAddresses(k, bothVIPs); err != nil || len(list) != 0 {
		t.Errorf("List = %+v, %v; want none", list, err)
	}
	sysctl(t, "net.ipv6.conf.eth1.disable_ipv6=1")
	testutil.IP(t, "addr del 2001:db8:9::100/64 dev eth0")
	if err := replace(k, at(l.eth1, vip6), time.Minute); !errors.Is(err, unix.EACCES) ||
		!strings.Contains(err.Error(), "disabled") {
		t.Errorf("IPv6 disabled: %v; want EACCES with a hint", err)
	}
}

func sysctl(t *testing.T, setting string) {
	t.Helper()
	if out, err := exec.Command("sysctl", "-q", "-w", setting).CombinedOutput(); err != nil {
		testutil.Unavailable(t, fmt.Sprintf("sysctl -w %s: %v: %s", setting, err, out))
	}
}

// The Fake behaves as the kernel does, as far as an Owner can tell.
func TestKernels(t *testing.T) {
	l := newLab(t)
	for name, k := range map[string]Kernel{"netlink": Netlink(), "fake": NewFake(boottime.Now)} {
		expect := func(desc string, want ...Address) {
			t.Helper()
			list, err := ControlPlaneAddresses(k, bothVIPs)
			if err != nil || len(list) != len(want) {
				t.Fatalf("%s, %s: List = %+v, %v; want %+v", name, desc, list, err, want)
			}
			for _, m := range list {
				if !slices.Contains(want, m.Address) || m.ValidLft < time.Second ||
					m.ValidLft > 60*time.Second || m.ValidLft%time.Second != 0 {
					t.Errorf("%s, %s: %+v; want one of %+v", name, desc, m, want)
				}
			}
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		expect("empty")
		must(remove(k, at(l.eth0, vip4)))
		must(replace(k, at(l.eth0, vip4), 60*time.Second))
		must(replace(k, at(l.eth0, vip6), 60*time.Second))
		expect("both", at(l.eth0, vip4), at(l.eth0, vip6))
		must(replace(k, at(l.eth1, vip4), 60*time.Second))
		expect("moved", at(l.eth1, vip4), at(l.eth0, vip6))
		must(remove(k, at(l.eth0, vip4))) // not there any more
		must(remove(k, at(link.Link{Index: 4711, Name: "gone0"}, vip4)))
		expect("deleted elsewhere", at(l.eth1, vip4), at(l.eth0, vip6))
		must(remove(k, at(l.eth1, vip4)))
		must(remove(k, at(l.eth0, vip6)))
		expect("deleted")
		must(replace(k, at(l.eth0, vip4), time.Second))
		must(replace(k, at(l.eth0, vip6), time.Second))
		for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			list, err := ControlPlaneAddresses(k, bothVIPs)
			must(err)
			if len(list) == 0 {
				break // the kernel removed both
			}
			if time.Now().After(end) {
				t.Fatalf("%s: the lifetime has ended and these are still there: %+v", name, list)
			}
		}
	}
}

// E1 and E4 with the real kernel: it is refreshed beyond its first lifetime, then left
// alone, as by a killed process; the address goes by itself before the deadline, although
// another program writes another address shortly before its lifetime ends, which makes the kernel
// look for expired ones about a second later than otherwise.
func TestOwnerInTheKernel(t *testing.T) {
	l := newLab(t)
	killed := 0
	o, err := New(Config{VIPs: bothVIPs, DestroySockets: func([]netip.Addr) (int, error) {
		killed++
		return 0, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Duration(0)
	for range 8 {
		deadline = boottime.Now() + 2500*time.Millisecond
		if err := o.Update(l.eth0, deadline); err != nil {
			t.Fatal(err)
		}
		check(t, "refreshed", vip4, l.eth0)
		check(t, "refreshed", vip6, l.eth0)
		time.Sleep(200 * time.Millisecond)
	}
	late := false
	for try := 0; !late; try++ { // until the others are written in time: within the lifetime of 1 s
		if try == 10 {
			t.Fatal("the addresses always went before others were written: this shows nothing")
		}
		deadline = boottime.Now() + 2500*time.Millisecond
		if err := o.Update(l.eth0, deadline); err != nil {
			t.Fatal(err)
		}
		time.Sleep(deadline - 1700*time.Millisecond - boottime.Now())
		testutil.IP(t, "addr replace 10.9.1.1/32 dev eth0")
		testutil.IP(t, "addr replace 2001:db8:9:1::1/128 dev eth0 nodad")
		late = len(find(t, vip4))+len(find(t, vip6)) == 2
		time.Sleep(deadline - boottime.Now())
	}
	if left := append(find(t, vip4), find(t, vip6)...); len(left) != 0 {
		t.Errorf("at the deadline there are still %+v", left)
	}
	if err := o.Update(l.eth0, deadline-time.Hour); !errors.Is(err, ErrDeadline) ||
		len(find(t, vip4)) != 0 {
		t.Errorf("a passed deadline: %v", err)
	}
	if err := o.Update(l.eth0, boottime.Now()+time.Minute); err != nil {
		t.Fatal(err)
	}
	testutil.IP(t, "addr replace 10.9.0.100/32 dev eth0 valid_lft forever") // takes the mark away
	if list, err := o.Present(); err != nil || len(list) != 1 || list[0].Addr != vip6 {
		t.Errorf("Present = %+v, %v; want IPv6 alone, IPv4 has lost its mark", list, err)
	}
	if err := o.Delete(); err != nil || len(find(t, vip4))+len(find(t, vip6)) != 0 {
		t.Errorf("Delete: %v, left %+v %+v", err, find(t, vip4), find(t, vip6))
	}
}

// slow is the real kernel with a pause between an Owner's check and the write.
type slow struct {
	Kernel
	pause *time.Duration
}

func (s slow) Apply(changes []Change) []error {
	time.Sleep(*s.pause)
	return s.Kernel.Apply(changes)
}

// E4 with the real kernel: the frozen process writes late, and the address is gone when
// Update returns.
func TestFrozenInTheKernel(t *testing.T) {
	l := newLab(t)
	pause := time.Duration(0)
	o, err := New(Config{VIPs: bothVIPs, Kernel: slow{Netlink(), &pause}})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Update(l.eth0, boottime.Now()+3500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	pause = 2600 * time.Millisecond
	if err := o.Update(l.eth0, boottime.Now()+2500*time.Millisecond); !errors.Is(err, ErrDeadline) {
		t.Errorf("error %v; want ErrDeadline", err)
	}
	if left := append(find(t, vip4), find(t, vip6)...); len(left) != 0 {
		t.Errorf("left %+v", left)
	}
}

func TestCleanupInTheKernel(t *testing.T) {
	l := newLab(t)
	for _, vip := range bothVIPs {
		if err := replace(Netlink(), at(l.eth1, vip), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := Cleanup([]netip.Addr{vip6})
	if err != nil || len(removed) != 1 || removed[0].Address != at(l.eth1, vip6) ||
		len(find(t, vip4)) != 1 {
		t.Errorf("Cleanup(%s) = %+v, %v", vip6, removed, err)
	}
	if removed, err := Cleanup(nil); err != nil || len(removed) != 1 || len(find(t, vip4)) != 0 {
		t.Errorf("Cleanup() = %+v, %v", removed, err)
	}
	if found := find(t, netip.MustParseAddr("10.9.0.1")); len(found) != 1 {
		t.Error("Cleanup removed the node's own address")
	}
}

// E10: the client reaches the VIP at once, by ARP and by ND, also where the node answers
// ARP only for addresses of the link it was asked on; no process here gets it as a source.
func TestReachableAndNoSource(t *testing.T) {
	l := newLab(t)
	sysctl(t, "net.ipv4.conf.all.arp_ignore=1")
	for _, vip := range bothVIPs {
		if err := replace(Netlink(), at(l.eth0, vip), time.Minute); err != nil {
			t.Fatal(err)
		}
		conn := l.dial(t, vip)
		conn.client.Close()
		conn.server.Close()
		mac := hardware(t, "eth0")
		if out := l.run(t, "ip", "neigh", "show", vip.String()); !strings.Contains(out, mac) {
			t.Errorf("the client's neighbour %s is %q; want %s", vip, out, mac)
		}
	}
	// Without an address of its own the kernel would have to take the VIP.
	for _, target := range []string{"10.9.0.2", "2001:db8:9::2"} {
		conn, err := net.Dial("udp", net.JoinHostPort(target, "9"))
		if err != nil {
			t.Fatal(err)
		}
		if source := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr(); slices.Contains(bothVIPs,
			source.Unmap()) {
			t.Errorf("the source towards %s is the VIP", target)
		}
		conn.Close()
	}
	testutil.IP(t, "addr del 10.9.0.1/24 dev eth0")
	testutil.IP(t, "route add 10.9.0.0/24 dev eth0")
	if err := replace(Netlink(), at(l.eth0, vip4), time.Minute); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("udp", "10.9.0.2:9"); err == nil {
		defer conn.Close()
		if source := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr(); source == vip4 {
			t.Error("the VIP is the source as the only IPv4 address: scope host does not hold")
		}
	}
}

// E10: a program that takes the first address of the link as the node's, such as a kubelet without
// --node-ip, never gets the VIP, also when the node's own comes later or goes and comes back.
func TestListedAfterTheNodesOwn(t *testing.T) {
	l := newLab(t)
	k := Netlink()
	rewrite := func(state string, want netip.Addr) {
		t.Helper()
		if err := replace(k, at(l.eth0, vip4), time.Minute); err != nil {
			t.Fatalf("%s: %v", state, err)
		}
		check(t, state, vip4, l.eth0)
		if got := first(t, "eth0"); got != want {
			t.Errorf("%s: the first address is %s, want %s", state, got, want)
		}
		if conn, err := net.Dial("udp", "10.9.0.2:9"); err == nil {
			if source := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr(); source == vip4 {
				t.Errorf("%s: the VIP is the source", state)
			}
			conn.Close()
		}
		all, err := link.Addresses()
		if err != nil {
			t.Fatal(err)
		}
		x := newHostIndex(all)
		if before, _ := x.conflicting(at(l.eth0, vip4), x.scope(at(l.eth0, vip4)), nil); len(before) > 0 {
			t.Errorf("%s: the next refresh would write the address again: %v", state, before)
		}
	}
	own, second := netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.1.1")
	rewrite("beside the own", own)
	// a secondary, which the kernel keeps behind all others
	testutil.IP(t, "addr add 10.9.0.7/24 dev eth0")
	rewrite("beside two of one network", own)
	testutil.IP(t, "addr del 10.9.0.7/24 dev eth0")
	testutil.IP(t, "addr del 10.9.0.1/24 dev eth0")
	rewrite("alone", vip4)
	testutil.IP(t, "addr add 10.9.0.1/24 dev eth0")
	rewrite("the own is back", own)
	testutil.IP(t, "addr del 10.9.0.1/24 dev eth0")
	testutil.IP(t, "addr add 10.9.1.1/24 dev eth0")
	rewrite("another is there", second)
	testutil.IP(t, "addr add 10.9.0.1/24 dev eth0")
	rewrite("and the own again", second)
	other := netip.MustParseAddr("10.9.0.101")
	if err := replace(k, Address{other, l.eth0.Index, l.eth0.Name}, time.Minute); err != nil {
		t.Fatal(err)
	}
	before := find(t, vip4)
	rewrite("beside another VIP", second)
	if after := find(t, vip4); len(before) != 1 || len(after) != 1 || !listedBefore(t, vip4, other) {
		t.Errorf("two VIPs change places: %+v, %+v", before, after)
	}
}

// listedBefore reports whether the kernel lists a before b.
func listedBefore(t *testing.T, a, b netip.Addr) bool {
	t.Helper()
	all, err := link.Addresses()
	if err != nil {
		t.Fatal(err)
	}
	at := func(x netip.Addr) int {
		return slices.IndexFunc(all, func(h link.HostAddr) bool { return h.Prefix.Addr() == x })
	}
	return at(a) < at(b)
}

func hardware(t *testing.T, name string) string {
	t.Helper()
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return i.HardwareAddr.String()
}

// pair is a TCP connection: the dialler's end and the accepted one.
type pair struct{ client, server net.Conn }

// dial connects from the client host to a fresh listener at the VIP here.
func (l *lab) dial(t *testing.T, vip netip.Addr) pair {
	t.Helper()
	listener, err := net.Listen("tcp", netip.AddrPortFrom(vip, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var p pair
	if err := l.client.Do(func() (err error) {
		p.client, err = dialIn(listener.Addr())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if p.server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	return p
}

// dialIn dials from the calling thread's namespace. net.Dial with a host:port literal
// opens its socket on the calling goroutine.
func dialIn(to net.Addr) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, "tcp", to.String())
}

// E10: where the kernel keeps no IFA_PROTO the label marks IPv4, if it fits, and
// otherwise the finite lifetime of a host address that equals a VIP.
func TestMarked(t *testing.T) {
	addr := func(text string, proto uint8, label string, valid uint32) link.HostAddr {
		return link.HostAddr{Prefix: netip.MustParsePrefix(text), Link: "eth0", Index: 2, Proto: proto,
			Label: label, ValidLft: valid}
	}
	for _, test := range []struct {
		desc string
		host link.HostAddr
		old  bool // the kernel keeps no proto
		want bool
	}{
		{"marked", addr("10.9.0.100/32", ControlPlaneProto, "eth0", 4), false, true},
		{"marked, not one of the VIPs, for ever",
			addr("10.9.0.7/32", ControlPlaneProto, "eth0", link.Forever), false,
			true},
		{"the mark on a network", addr("10.9.0.100/24", ControlPlaneProto, "eth0", 4), false, false},
		{"another program's mark", addr("10.9.0.100/32", 18, "eth0", 4), false, false},
		{"a VIP without the mark", addr("10.9.0.100/32", 0, "eth0", 4), false, false},
		{"label", addr("10.9.0.100/32", 0, "eth0:kvip", 4), true, true},
		{"another link's label", addr("10.9.0.7/32", 0, "eth1:kvip", 4), true, false},
		{"neither", addr("10.9.0.100/32", 0, "eth0", 4), true, true},
		{"neither, v6", addr("2001:db8:9::100/128", 0, "", 4), true, true},
		{"neither, for ever", addr("10.9.0.100/32", 0, "eth0", link.Forever), true, false},
		{"neither, no VIP", addr("10.9.0.7/32", 0, "eth0", 4), true, false},
	} {
		got := controlPlaneAddresses([]link.HostAddr{test.host}, bothVIPs, !test.old)
		if (len(got) == 1) != test.want {
			t.Errorf("%s: %+v; want it marked: %v", test.desc, got, test.want)
		}
	}
	got := controlPlaneAddresses([]link.HostAddr{addr("10.9.0.7/32", ControlPlaneProto, "",
		link.Forever)}, nil,
		true)
	if len(got) != 1 || got[0].ValidLft != Forever {
		t.Errorf("for ever: %+v", got)
	}
}

func TestKeepsProto(t *testing.T) {
	for release, want := range map[string]bool{
		"5.17.0-1": false, "5.18.0": true, "6.1.0-13-amd64": true, "4.19.0": false, "10.0": true,
		"": false, "x.y": false,
	} {
		if got := since518(release); got != want {
			t.Errorf("release %q: %v; want %v", release, got, want)
		}
	}
	if !Netlink().KeepsMarks([]link.HostAddr{{Proto: 1}}) {
		t.Error("a proto was seen, and the kernel keeps none?")
	}
}

// E10: the label is left out where it is not needed or does not fit into 15 characters.
func TestLabel(t *testing.T) {
	for _, test := range []struct {
		link  string
		vip   netip.Addr
		keeps bool
		want  string
	}{
		{"eth0", vip4, false, "eth0:kvip"}, {"eth0", vip4, true, ""}, {"eth0", vip6, false, ""},
		{"enp65s0f0n", vip4, false, "enp65s0f0n:kvip"}, {"enp65s0f0np0", vip4, false, ""},
		{"", vip4, false, ""},
	} {
		if got := label(Address{Addr: test.vip, LinkName: test.link}, test.keeps); got != test.want {
			t.Errorf("label(%s, %s, %v) = %q; want %q", test.link, test.vip, test.keeps, got, test.want)
		}
	}
}

// The label fallback as the kernel sees it: accepted, and recognised as a mark.
func TestLabelInTheKernel(t *testing.T) {
	l := newLab(t)
	testutil.IP(t, "addr add 10.9.0.100/32 dev eth0 scope host label eth0:kvip valid_lft 60 "+
		"preferred_lft 0 noprefixroute")
	k := Netlink()
	if list, err := ControlPlaneAddresses(k, bothVIPs); err != nil || len(list) != 1 ||
		list[0].Address != at(l.eth0, vip4) {
		t.Errorf("List = %+v, %v", list, err)
	}
	if err := replace(k, at(l.eth0, vip4), time.Minute); err != nil {
		t.Fatal(err)
	}
	check(t, "with a label", vip4, l.eth0)
	if err := remove(k, at(l.eth0, vip4)); err != nil || len(find(t, vip4)) != 0 {
		t.Errorf("Delete: %v", err)
	}
}

// E10, byte by byte: one message with scope, flags, lifetime and mark.
func TestAddressMessage(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		testutil.Unavailable(t, "the literals are little endian")
	}
	want := map[netip.Addr][]byte{
		vip4: {
			2, 32, 0, 254, 7, 0, 0, 0,
			8, 0, 2, 0, 10, 9, 0, 100, 8, 0, 1, 0, 10, 9, 0, 100,
			8, 0, 8, 0, 0, 2, 0, 0,
			20, 0, 6, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
			5, 0, 11, 0, 107, 0, 0, 0,
			14, 0, 3, 0, 'e', 't', 'h', '0', ':', 'k', 'v', 'i', 'p', 0, 0, 0,
		},
		vip6: {
			10, 128, 0, 0, 7, 0, 0, 0,
			20, 0, 2, 0, 0x20, 1, 0x0d, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
			20, 0, 1, 0, 0x20, 1, 0x0d, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
			8, 0, 8, 0, 2, 2, 0, 0,
			20, 0, 6, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
			5, 0, 11, 0, 107, 0, 0, 0,
		},
	}
	for vip, body := range want {
		a := Address{vip, 7, "eth0"}
		if got := writeRequest(Change{a, 4 * time.Second, ControlPlaneProto, newHostIndex(nil).scope(a),
			label(a, false), true}).Serialize()[unix.SizeofNlMsghdr:]; !slices.Equal(got, body) {
			t.Errorf("%s:\n got %v\nwant %v", vip, got, body)
		}
	}
}

// Once Replace has returned, the kernel delivers what comes for the address: the announcement
// follows.
func TestNewAddressIsLocalAtOnce(t *testing.T) {
	l := newLab(t)
	k := Netlink()
	for range 50 {
		for _, vip := range bothVIPs {
			if err := replace(k, at(l.eth0, vip), time.Minute); err != nil {
				t.Fatal(err)
			}
			routes, err := netlink.RouteGet(vip.AsSlice())
			if err != nil || len(routes) != 1 || routes[0].Type != unix.RTN_LOCAL {
				t.Fatalf("%s is not local: %+v, %v", vip, routes, err)
			}
			if err := remove(k, at(l.eth0, vip)); err != nil {
				t.Fatal(err)
			}
		}
	}
}
