package vip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/test/testutil"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// many returns n addresses on a link, every other one IPv6.
func many(n int, on link.Link) []Address {
	list := make([]Address, n)
	for i := range list {
		list[i] = at(on, nth(i))
		if i%2 == 1 {
			list[i] = at(on, netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 0, 9, 13: 1, 14: byte(i >> 8),
				15: byte(i)}))
		}
	}
	return list
}

func netlinkServiceOwner(t testing.TB) *ServiceOwner {
	t.Helper()
	r, _ := recordedServiceOwner(t)
	return r
}

func recordedServiceOwner(t testing.TB) (*ServiceOwner, *recordingKernel) {
	t.Helper()
	kernel := &recordingKernel{Kernel: Netlink()}
	r, err := NewServiceOwner(ServiceOwnerConfig{Kernel: kernel})
	if err != nil {
		t.Fatal(err)
	}
	return r, kernel
}

// checkServices asserts that this host has exactly the wanted addresses, with E10's attributes.
func checkServices(t *testing.T, desc string, want []Address, scope uint8) {
	t.Helper()
	all, err := link.Addresses()
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[netip.Addr]Address{}
	for _, a := range want {
		wanted[a.Addr] = a
	}
	for _, h := range all {
		if h.Proto != ServiceProto {
			continue
		}
		flags, at := uint32(unix.IFA_F_NOPREFIXROUTE|unix.IFA_F_DEPRECATED), scope
		if h.Prefix.Addr().Is6() {
			flags, at = flags|unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE
		}
		if wanted[h.Prefix.Addr()] != addressOf(h) || !h.Prefix.IsSingleIP() || h.Scope != at ||
			h.Flags != flags ||
			h.PreferredLft != 0 || h.ValidLft < 100 || h.ValidLft > 120 {
			t.Fatalf("%s: %+v", desc, h)
		}
		delete(wanted, h.Prefix.Addr())
	}
	if len(wanted) > 0 {
		t.Fatalf("%s: %d are missing: %v", desc, len(wanted), wanted)
	}
}

// The ServiceOwner and the kernel, E10: hundreds of addresses come, move to another link and go,
// and every new one is delivered to at once.
func TestServiceOwnerInTheKernel(t *testing.T) {
	l := newLab(t)
	r, kernel := recordedServiceOwner(t)
	on0, on1 := many(500, l.eth0), many(500, l.eth1)
	sync := func(desc string, want []Address, scope uint8, added, removed int) {
		t.Helper()
		a, d, err := kernel.sync(r, want)
		if err != nil || len(a) != added || len(d) != removed {
			t.Fatalf("%s: %d added, %d removed, %v; want %d and %d", desc, len(a), len(d), err, added,
				removed)
		}
		checkServices(t, desc, want, scope)
		for _, a := range want {
			if a.Addr.Is6() {
				routes, err := netlink.RouteGet(a.Addr.AsSlice())
				if err != nil || len(routes) != 1 || routes[0].Type != unix.RTN_LOCAL {
					t.Fatalf("%s: %s is not local: %+v, %v", desc, a.Addr, routes, err)
				}
			}
		}
	}
	sync("all", on0, unix.RT_SCOPE_UNIVERSE, 500, 0)
	sync("again", on0, unix.RT_SCOPE_UNIVERSE, 0, 0)
	testutil.IP(t, "addr del "+on0[0].Addr.String()+"/32 dev eth0")
	overwrite(t, on0[1], 1<<32-1)
	sync("one is gone and one permanent", on0, unix.RT_SCOPE_UNIVERSE, 2, 0)
	sync("moved", on1, unix.RT_SCOPE_HOST, 500, 500)
	sync("fewer", on1[:100], unix.RT_SCOPE_HOST, 0, 400)
	if conn, err := net.Dial("udp", "10.9.0.2:9"); err == nil {
		if source := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr(); source != netip.MustParseAddr(
			"10.9.0.1") {
			t.Errorf("the source is %v", source)
		}
		conn.Close()
	}
	if present, err := r.Present(); err != nil || len(present) != 100 {
		t.Errorf("%d present, %v", len(present), err)
	}
	if err := r.Clear(); err != nil {
		t.Fatal(err)
	}
	checkServices(t, "cleared", nil, 0)
	if len(find(t, netip.MustParseAddr("10.9.0.1"))) != 1 {
		t.Error("Clear removed the node's own address")
	}
}

// overwrite gives an address another lifetime behind a ServiceOwner's back, in seconds.
func overwrite(t *testing.T, a Address, valid uint32) {
	t.Helper()
	if _, err := writeRequest(Change{Address: a, Valid: time.Duration(valid) * time.Second,
		Proto: ServiceProto}).Execute(unix.NETLINK_ROUTE, 0); err != nil {
		t.Fatal(err)
	}
}

// S8 with the real kernel: within half a lifetime each address was renewed.
func TestServiceOwnerRefreshesInTheKernel(t *testing.T) {
	l := newLab(t)
	now := boottime.Now()
	r, err := NewServiceOwner(ServiceOwnerConfig{Lifetime: MinServiceLifetime,
		Clock: func() time.Duration {
			return now
		}})
	if err != nil {
		t.Fatal(err)
	}
	want := many(40, l.eth0)
	if err := r.Sync(assigned(want)); err != nil {
		t.Fatal(err)
	}
	for _, a := range want { // so that a refresh is visible without waiting
		overwrite(t, a, 20)
	}
	for end := now + r.schedule.period(); now <= end; {
		if now, err = r.Refresh(now); err != nil {
			t.Fatal(err)
		}
	}
	present, err := r.Present()
	if err != nil || len(present) != len(want) {
		t.Fatalf("%d present, %v", len(present), err)
	}
	for _, m := range present {
		if m.ValidLft <= 20*time.Second {
			t.Errorf("%v was not renewed: %v", m.Addr, m.ValidLft)
		}
	}
}

// The control plane's Owner and the ServiceOwner leave each other's addresses alone, and neither
// takes the other's for the node's own.
func TestTwoMarks(t *testing.T) {
	l := newLab(t)
	testutil.IP(t, "addr del 10.9.0.1/24 dev eth0")
	k, r := Netlink(), netlinkServiceOwner(t)
	want := many(4, l.eth0)
	for range 2 {
		for _, vip := range bothVIPs {
			if err := replace(k, at(l.eth0, vip), time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Sync(assigned(want)); err != nil {
			t.Fatal(err)
		}
		checkServices(t, "beside the control plane's", want, unix.RT_SCOPE_HOST)
		if h := find(t, vip4); len(h) != 1 || h[0].Scope != unix.RT_SCOPE_HOST {
			t.Fatalf("the control plane's beside Services: %+v", h)
		}
	}
	if err := r.Sync(assigned(append(want, at(l.eth0, vip4)))); !errors.Is(err,
		ErrControlPlane) {
		t.Errorf("a control plane's address: %v", err)
	}
	if list, err := ControlPlaneAddresses(k, bothVIPs); err != nil || len(list) != 2 {
		t.Errorf("the Owner's kernel lists %v, %v", list, err)
	}
	o, err := New(Config{VIPs: bothVIPs})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Prune(false); err != nil || len(find(t, vip4)) != 0 {
		t.Errorf("Prune: %v", err)
	}
	checkServices(t, "after Prune", want, unix.RT_SCOPE_HOST)
	if err := replace(k, at(l.eth0, vip4), time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := r.Clear(); err != nil || len(find(t, vip4)) != 1 {
		t.Errorf("Clear: %v", err)
	}
	if err := r.Sync(assigned(want)); err != nil {
		t.Fatal(err)
	}
	if removed, err := Cleanup(nil); err != nil || len(removed) != 5 {
		t.Errorf("Cleanup of both kinds: %v, %v", removed, err)
	}
	checkServices(t, "after Cleanup", nil, 0)
}

// One bad address among many, and a link that is gone, hold up no other.
func TestBulkErrorsInTheKernel(t *testing.T) {
	l := newLab(t)
	r, kernel := recordedServiceOwner(t)
	gone := link.Link{Index: 4711, Name: "gone0"}
	bad := []Address{at(l.eth0, netip.MustParseAddr("10.9.0.1")), at(gone, nth(9000)),
		at(gone, netip.MustParseAddr("2001:db8:9::9"))}
	want := many(200, l.eth0)
	added, _, err := kernel.sync(r, slices.Concat(want[:100], bad, want[100:]))
	if list := AddressErrors(err); len(added) != 200 || len(list) != 3 ||
		!errors.Is(list[0], ErrForeign) || !errors.Is(list[1], unix.ENODEV) ||
		!errors.Is(list[2], unix.ENODEV) {
		t.Errorf("%d added, %v", len(added), err)
	}
	checkServices(t, "beside bad ones", want, unix.RT_SCOPE_UNIVERSE)
	for i, err := range Netlink().Apply([]Change{{Address: at(l.eth0, nth(8000))},
		{Address: at(gone, nth(1))}}) {
		if err != nil {
			t.Errorf("deletion %d of what is not there: %v", i, err)
		}
	}
}

// One listing serves for all: connections to removed addresses end, the others live.
func TestServiceOwnerDestroysConnections(t *testing.T) {
	l := newLab(t)
	r := netlinkServiceOwner(t)
	want := many(4, l.eth0)
	if err := r.Sync(assigned(want)); err != nil {
		t.Fatal(err)
	}
	var pairs []pair
	for _, a := range want {
		own, _ := listen(t, netip.AddrPortFrom(a.Addr, 0).String())
		pairs = append(pairs, connect(t, own, "", own.Addr().String()))
	}
	if err := r.Sync(assigned(want[2:])); err != nil {
		t.Fatal(err)
	}
	for i, p := range pairs {
		limit := patience
		if i >= 2 {
			limit = time.Millisecond
		}
		if got := aborted(t, p.client, limit); got != (i < 2) {
			t.Errorf("connection %d ended: %v", i, got)
		}
	}
	if n, err := destroySockets(nil); n != 0 || err != nil {
		t.Errorf("destroyed %d of nothing, %v", n, err)
	}
}

func TestParseAnswer(t *testing.T) {
	errno := func(code int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(code)) }
	for desc, c := range map[string]struct {
		kind uint16
		data []byte
		want error
	}{
		"done":    {unix.NLMSG_ERROR, errno(0), nil},
		"failed":  {unix.NLMSG_ERROR, errno(-int32(unix.EEXIST)), unix.EEXIST},
		"short":   {unix.NLMSG_ERROR, []byte{1, 2, 3}, errNoAnswer},
		"empty":   {unix.NLMSG_ERROR, nil, errNoAnswer},
		"message": {unix.RTM_NEWROUTE, []byte{1, 2}, nil},
	} {
		got := parseAnswer(syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: c.kind}, Data: c.data})
		if !errors.Is(got.err, c.want) || c.want == nil && got.err != nil ||
			c.kind == unix.RTM_NEWROUTE && !slices.Equal(got.body, c.data) {
			t.Errorf("%s: %+v", desc, got)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add(uint16(unix.NLMSG_ERROR), []byte{0, 0, 0, 0})
	f.Add(uint16(unix.NLMSG_ERROR), []byte{0xff, 0xff, 0xff, 0xff})
	f.Add(uint16(unix.RTM_NEWROUTE), []byte{10})
	f.Fuzz(func(t *testing.T, kind uint16, data []byte) {
		got := parseAnswer(syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: kind}, Data: data})
		if got.err != nil && got.body != nil || got.err != nil && kind != unix.NLMSG_ERROR {
			t.Errorf("%d %x: %+v", kind, data, got)
		}
	})
}

// What the kernel does not answer, or not as asked, is never taken for done.
func TestExchangeReportsFailures(t *testing.T) {
	testutil.NewNetns(t)
	unknown := nl.NewNetlinkRequest(0x0fff, unix.NLM_F_ACK)
	good := nl.NewNetlinkRequest(unix.RTM_GETROUTE, 0)
	good.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6, Dst_len: 128}})
	good.AddData(nl.NewRtAttr(unix.RTA_DST, netip.IPv6Loopback().AsSlice()))
	got := exchange(unix.NETLINK_ROUTE, []*nl.NetlinkRequest{unknown, good, unknown})
	if len(got) != 3 || got[0].err == nil || got[1].err != nil || len(got[1].body) < 8 {
		t.Errorf("answers: %+v", got)
	}
	for i, a := range exchange(31, []*nl.NetlinkRequest{good, unknown}) { // no such protocol
		if !errors.Is(a.err, errNoAnswer) || !errors.Is(a.err, unix.EPROTONOSUPPORT) {
			t.Errorf("answer %d without a socket: %+v", i, a)
		}
	}
}

// BenchmarkServiceOwner: what a node pays for its addresses: to get all, to find them unchanged,
// to renew all, to lose all. Run as root.
func BenchmarkServiceOwner(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		for _, family := range []string{"IPv4", "IPv6"} {
			b.Run(fmt.Sprintf("%s/%d", family, n),
				func(b *testing.B) { benchmarkServiceOwner(b, n, family == "IPv6") })
		}
	}
}

func benchmarkServiceOwner(b *testing.B, n int, v6 bool) {
	testutil.NewNetns(b)
	testutil.IP(b, "link add eth0 type veth peer name peer0")
	testutil.IP(b, "addr add 10.9.0.1/24 dev eth0")
	testutil.IP(b, "link set eth0 up")
	testutil.IP(b, "link set peer0 up")
	i, err := net.InterfaceByName("eth0")
	if err != nil {
		b.Fatal(err)
	}
	want := make([]Address, n)
	for k := range want {
		want[k] = Address{nth(k), i.Index, i.Name}
		if v6 {
			want[k].Addr = netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 14: byte(k >> 8), 15: byte(k)})
		}
	}
	r := netlinkServiceOwner(b)
	phases := map[string]time.Duration{}
	measure := func(name string, f func() error) {
		began := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		phases[name] += time.Since(began)
	}
	sync := func(list []Address) func() error {
		return func() error { return r.Sync(assigned(list)) }
	}
	for b.Loop() {
		measure("add", sync(want))
		measure("same", sync(want))
		changes := make([]Change, n)
		for k, a := range want {
			changes[k] = r.schedule.entries[a.Addr].Change
		}
		measure("renew", func() error { return errors.Join(Netlink().Apply(changes)...) })
		measure("remove", sync(nil))
	}
	for name, took := range phases {
		b.ReportMetric(took.Seconds()*1000/float64(b.N), name+"-ms")
	}
}

// Links that receive nothing from outside may have the address as well: the kernel says which those
// are.
func TestIsolatedLinksInTheKernel(t *testing.T) {
	l := newLab(t)
	r, kernel := recordedServiceOwner(t)
	for _, args := range []string{
		"link add kube-ipvs0 type veth peer name ipvs-peer", "link set kube-ipvs0 arp off",
		"link add quiet0 type veth peer name quiet-peer", "link set quiet0 arp off up",
		"link set quiet-peer up",
	} {
		testutil.IP(t, args)
	}
	want := many(8, l.eth0)
	check := func(desc string, added int) {
		t.Helper()
		a, d, err := kernel.sync(r, want)
		if err != nil || len(a) != added || len(d) != 0 {
			t.Errorf("%s: added %v, removed %v, %v", desc, a, d, err)
		}
		checkServices(t, desc, want, unix.RT_SCOPE_UNIVERSE)
	}
	bind := func(of []Address, name string) {
		for _, a := range of {
			testutil.IP(t, fmt.Sprintf("addr add %v dev %s", netip.PrefixFrom(a.Addr, a.Addr.BitLen()),
				name))
		}
	}
	bind(want[:2], "kube-ipvs0")
	check("before kvip", 8)
	bind(want[2:4], "kube-ipvs0")
	bind(want[4:6], "lo")
	bind(want[6:8], "quiet0")
	check("after kvip", 0)
	testutil.IP(t, "link set quiet0 arp on")
	if err := r.Sync(assigned(want)); len(AddressErrors(err)) != 2 {
		t.Errorf("a link that can be reached has them: %v", err)
	}
}
