package nftfilter

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
)

// S5, byte by byte: address . protocol . port, each field padded.
func TestEncode(t *testing.T) {
	for _, test := range []struct {
		desc string
		want Want
		sets map[string][][]byte
	}{
		{"nothing", Want{}, nil},
		{"addresses", Want{Addresses: []netip.Addr{vip4, vip6, netip.MustParseAddr("::ffff:10.9.0.101")}}, map[string][][]byte{
			"addresses4": {{10, 9, 0, 100}, {10, 9, 0, 101}},
			"addresses6": {{0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0}},
		}},
		{"ports", Want{Ports: []Port{
			{vip4, "TCP", 80}, {netip.MustParseAddr("::ffff:10.9.0.100"), "UDP", 65535}, {vip6, "SCTP", 6443},
		}}, map[string][][]byte{
			"ports4": {{10, 9, 0, 100, 6, 0, 0, 0, 0, 80, 0, 0}, {10, 9, 0, 100, 17, 0, 0, 0, 0xff, 0xff, 0, 0}},
			"ports6": {{0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 132, 0, 0, 0, 0x19, 0x2b, 0, 0}},
		}},
	} {
		got, err := encode(test.want)
		if err != nil || len(got) != len(test.sets) {
			t.Errorf("%s: %v, %v", test.desc, got, err)
		}
		for name, keys := range test.sets {
			if !slices.EqualFunc(got[name], keys, func(e nftables.SetElement, k []byte) bool { return bytes.Equal(e.Key, k) }) {
				t.Errorf("%s, %s:\n got %v\nwant %v", test.desc, name, got[name], keys)
			}
		}
	}
}

// What has no key is named, and takes nothing from the others.
func TestEncodeLeavesOutWhatIsWrong(t *testing.T) {
	for _, test := range []struct {
		desc string
		want Want
		say  string
	}{
		{"zero address", Want{Addresses: []netip.Addr{{}}}, "invalid IP"},
		{"with a zone", Want{Addresses: []netip.Addr{netip.MustParseAddr("fe80::1%eth0")}}, "fe80::1%eth0"},
		{"unspecified", Want{Addresses: []netip.Addr{netip.IPv4Unspecified()}}, "0.0.0.0"},
		{"multicast", Want{Addresses: []netip.Addr{netip.MustParseAddr("ff02::1")}}, "ff02::1"},
		{"loopback", Want{Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}, "127.0.0.1"},
		{"port 0", Want{Ports: []Port{{vip4, "TCP", 0}}}, "port 0 of TCP at 10.9.0.100"},
		{"protocol", Want{Ports: []Port{{vip4, "tcp", 80}}}, `port 80 at 10.9.0.100: unknown protocol "tcp"`},
		{"no protocol", Want{Ports: []Port{{vip4, "", 80}}}, `unknown protocol ""`},
		{"a port nowhere", Want{Ports: []Port{{netip.Addr{}, "TCP", 80}}}, "invalid IP"},
	} {
		good := both(Port{Protocol: "TCP", Port: 80})
		w := Want{slices.Concat(test.want.Addresses, good.Addresses), slices.Concat(test.want.Ports, good.Ports)}
		got, err := encode(w)
		if err == nil || !strings.Contains(err.Error(), test.say) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want one error with %q", test.desc, err, test.say)
		}
		if want, _ := encode(good); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v; want the rest %v", test.desc, got, want)
		}
	}
}
