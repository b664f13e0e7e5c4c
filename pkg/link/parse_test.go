package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func TestConsistentReadsAgain(t *testing.T) {
	interrupted := fmt.Errorf("dump: %w", nl.ErrDumpInterrupted)
	for _, test := range []struct {
		desc    string
		results []error
		reads   int
		want    error
	}{
		{"consistent", []error{nil}, 1, nil},
		{"changed twice", []error{interrupted, interrupted, nil}, 3, nil},
		{"broken", []error{interrupted, errBroken}, 2, errBroken},
		{"always changing", []error{
			interrupted, interrupted, interrupted, interrupted, interrupted, nil,
		}, dumpTries, nl.ErrDumpInterrupted},
	} {
		reads := 0
		got, err := consistent(func() (int, error) {
			reads++
			return reads, test.results[reads-1]
		})
		if got != test.reads || !errors.Is(err, test.want) || test.want == nil && err != nil {
			t.Errorf("%s: read %d times, %v; want %d, %v", test.desc, got, err, test.reads, test.want)
		}
	}
}

func TestIsolated(t *testing.T) {
	const up = unix.IFF_UP | unix.IFF_RUNNING
	for _, test := range []struct {
		desc  string
		flags uint16
		want  bool
	}{
		{"Ethernet", up | unix.IFF_BROADCAST, false},
		{"without carrier", unix.IFF_UP | unix.IFF_BROADCAST, false},
		{"tunnel without ARP", up | unix.IFF_POINTOPOINT | unix.IFF_NOARP, false},
		{"dummy", up | unix.IFF_BROADCAST | unix.IFF_NOARP, true},
		{"loopback", up | unix.IFF_LOOPBACK, true},
		{"down", unix.IFF_BROADCAST, true},
		{"no flags", 0, true},
	} {
		if got := isolated(test.flags); got != test.want {
			t.Errorf("%s: %v; want %v", test.desc, got, test.want)
		}
	}
}

func TestGlobal(t *testing.T) {
	addr := func(prefix string, scope uint8, flags uint32) HostAddr {
		return HostAddr{Prefix: netip.MustParsePrefix(prefix), Scope: scope, Flags: flags}
	}
	const v4, v6 = "10.9.0.2/24", "2001:db8:9::2/64"
	for _, test := range []struct {
		desc string
		addr HostAddr
		want bool
	}{
		{"IPv4", addr(v4, unix.RT_SCOPE_UNIVERSE, 0), true},
		{"IPv4 secondary", addr(v4, unix.RT_SCOPE_UNIVERSE, unix.IFA_F_SECONDARY), true},
		{"IPv4 deprecated", addr(v4, unix.RT_SCOPE_UNIVERSE, unix.IFA_F_DEPRECATED), false},
		{"IPv4 of the host", addr(v4, unix.RT_SCOPE_HOST, 0), false},
		{"IPv6", addr(v6, unix.RT_SCOPE_UNIVERSE, unix.IFA_F_PERMANENT), true},
		{"IPv6 temporary", addr(v6, unix.RT_SCOPE_UNIVERSE, unix.IFA_F_TEMPORARY), false},
		{"IPv6 tentative", addr(v6, unix.RT_SCOPE_UNIVERSE, unix.IFA_F_TENTATIVE), false},
		{"IPv6 duplicate", addr(v6, unix.RT_SCOPE_UNIVERSE, unix.IFA_F_DADFAILED), false},
		{"IPv6 of the link", addr("fe80::1/64", unix.RT_SCOPE_LINK, 0), false},
	} {
		if got := test.addr.global(); got != test.want {
			t.Errorf("%s: %v; want %v", test.desc, got, test.want)
		}
	}
}

func TestParsePort(t *testing.T) {
	attr := func(b []byte, kind uint16, value []byte) []byte {
		b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
		b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
		return append(b, make([]byte, (4-len(value)%4)%4)...)
	}
	header := make([]byte, unix.SizeofIfInfomsg)
	address := net.HardwareAddr{2, 0, 0, 0, 0, 7}
	message := attr(header, unix.IFLA_ADDRESS, address)
	message = attr(message, unix.IFLA_MASTER, binary.NativeEndian.AppendUint32(nil, 9))
	if mac, master := parsePort(message); mac.String() != address.String() || master != 9 {
		t.Errorf("%v of %d; want %v of 9", mac, master, address)
	}
	for desc, b := range map[string][]byte{
		"empty": nil, "short": header[:8], "without attributes": header,
		"short master": attr(header, unix.IFLA_MASTER, []byte{9, 0}),
	} {
		if mac, master := parsePort(b); mac != nil || master != 0 {
			t.Errorf("%s: %v of %d", desc, mac, master)
		}
	}
}

func TestEachAttrStopsAtMalformedOnes(t *testing.T) {
	for desc, test := range map[string]struct {
		message []byte
		want    int
	}{
		"none": {nil, 0}, "short header": {[]byte{8, 0, 1}, 0}, "length 0": {[]byte{0, 0, 1, 0}, 0},
		"too long": {[]byte{9, 0, 1, 0, 1, 2, 3, 4}, 0}, "empty value": {[]byte{4, 0, 1, 0}, 1},
		"two":                      {[]byte{5, 0, 1, 0, 7, 0, 0, 0, 4, 0, 2, 0}, 2},
		"one and a malformed one":  {[]byte{5, 0, 1, 0, 7, 0, 0, 0, 3, 0, 2, 0}, 1},
		"without the last padding": {[]byte{5, 0, 1, 0, 7}, 1},
	} {
		if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
			t.Skip("the literals are little endian")
		}
		count := 0
		eachAttr(test.message, func(uint16, []byte) { count++ })
		if count != test.want {
			t.Errorf("%s: %d attributes; want %d", desc, count, test.want)
		}
	}
}

func BenchmarkParseAddress(b *testing.B) {
	for b.Loop() {
		if _, ok := parseAddress(wireV4); !ok {
			b.Fatal("refused")
		}
	}
}

// netlinkMessage is one message with struct nlmsghdr (netlink(7)).
func netlinkMessage(kind uint16, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, make([]byte, unix.SizeofNlMsghdr-len(b))...)
	b = append(b, body...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

func TestParseEvents(t *testing.T) {
	ifinfo := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(ifinfo[4:], 7)
	named := append(append([]byte{}, ifinfo...), 9, 0, unix.IFLA_IFNAME, 0, 'e', 't', 'h', '0', 0, 0,
		0, 0)
	vip := netip.MustParseAddr("10.9.0.100")
	for _, test := range []struct {
		desc     string
		datagram []byte
		want     []Event
	}{
		{"nothing", nil, nil},
		{"link", netlinkMessage(unix.RTM_NEWLINK, ifinfo), []Event{{Kind: LinkChanged, Index: 7}}},
		{"named link", netlinkMessage(unix.RTM_DELLINK, named),
			[]Event{{Kind: LinkChanged, Index: 7, Link: "eth0"}}},
		{"address", netlinkMessage(unix.RTM_NEWADDR, wireV4),
			[]Event{{Kind: AddrAdded, Index: 7, Addr: vip}}},
		{"two", append(netlinkMessage(unix.RTM_DELADDR, wireV4),
			netlinkMessage(unix.RTM_NEWADDR, wireV4)...),
			[]Event{{Kind: AddrRemoved, Index: 7, Addr: vip}, {Kind: AddrAdded, Index: 7, Addr: vip}}},
		{"a route", netlinkMessage(unix.RTM_NEWROUTE, make([]byte, 12)), nil},
		{"short link", netlinkMessage(unix.RTM_NEWLINK, ifinfo[:8]), []Event{{Kind: Resync}}},
		{"short address", netlinkMessage(unix.RTM_NEWADDR, wireV4[:4]), []Event{{Kind: Resync}}},
		{"truncated", netlinkMessage(unix.RTM_NEWLINK, ifinfo)[:20], []Event{{Kind: Resync}}},
	} {
		if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
			t.Skip("the literals are little endian")
		}
		if got := parseEvents(test.datagram); fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s: %v; want %v", test.desc, got, test.want)
		}
	}
}

// No datagram makes the parser fail, and a malformed one is a reason to read the state again.
func FuzzParseEvents(f *testing.F) {
	f.Add(netlinkMessage(unix.RTM_NEWADDR, wireV4))
	f.Add(netlinkMessage(unix.RTM_NEWLINK, make([]byte, unix.SizeofIfInfomsg)))
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, e := range parseEvents(b) {
			switch {
			case e.Kind == Resync && (e.Index != 0 || e.Link != "" || e.Addr.IsValid()):
				t.Errorf("a Resync with a subject: %+v", e)
			case (e.Kind == AddrAdded || e.Kind == AddrRemoved) && !e.Addr.IsValid():
				t.Errorf("an address event without an address: %+v", e)
			}
		}
	})
}
