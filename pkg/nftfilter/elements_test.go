package nftfilter

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"

	"github.com/kvip/kvip/pkg/assignment"
)

// S5, byte by byte: address . protocol . port, each field padded.
func TestEncode(t *testing.T) {
	mapped4 := netip.MustParseAddr("::ffff:10.9.0.101")
	for _, test := range []struct {
		desc string
		list []assignment.Assignment
		sets map[string][][]byte
	}{
		{"nothing", nil, nil},
		{"addresses", []assignment.Assignment{
			{Addr: vip4, State: assignment.Announced}, {Addr: vip6, State: assignment.Silent},
			{Addr: mapped4, State: assignment.Silent},
		}, map[string][][]byte{
			"addresses4": {{10, 9, 0, 100}, {10, 9, 0, 101}},
			"addresses6": {{0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0}},
		}},
		{"ports", []assignment.Assignment{
			{Addr: vip4, Ports: []assignment.Port{{Protocol: "TCP", Port: 80}}},
			{Addr: mapped4, Ports: []assignment.Port{{Protocol: "UDP", Port: 65535}}},
			{Addr: vip6, Ports: []assignment.Port{{Protocol: "SCTP", Port: 6443}}},
		}, map[string][][]byte{
			"addresses4": {{10, 9, 0, 100}, {10, 9, 0, 101}},
			"addresses6": {{0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0}},
			"ports4": {
				{10, 9, 0, 100, 6, 0, 0, 0, 0, 80, 0, 0},
				{10, 9, 0, 101, 17, 0, 0, 0, 0xff, 0xff, 0, 0},
			},
			"ports6": {{
				0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 132, 0, 0, 0, 0x19, 0x2b, 0, 0,
			}},
		}},
	} {
		got, err := encode(test.list)
		if err != nil || len(got) != len(test.sets) {
			t.Errorf("%s: %v, %v", test.desc, got, err)
		}
		equal := func(e nftables.SetElement, k []byte) bool { return bytes.Equal(e.Key, k) }
		for name, keys := range test.sets {
			if !slices.EqualFunc(got[name], keys, equal) {
				t.Errorf("%s, %s:\n got %v\nwant %v", test.desc, name, got[name], keys)
			}
		}
	}
}

// An invalid entry is named in the error and does not affect the others.
func TestEncodeLeavesOutInvalidEntries(t *testing.T) {
	addr := func(text string) assignment.Assignment {
		return assignment.Assignment{Addr: netip.MustParseAddr(text)}
	}
	port := func(protocol string, number uint16) assignment.Assignment {
		ports := []assignment.Port{{Protocol: protocol, Port: number}}
		return assignment.Assignment{Addr: vip4, Ports: ports}
	}
	for _, test := range []struct {
		desc string
		bad  assignment.Assignment
		text string
	}{
		{"zero address", assignment.Assignment{}, "invalid IP"},
		{"zone", addr("fe80::1%eth0"), "fe80::1%eth0"},
		{"unspecified", addr("0.0.0.0"), "0.0.0.0"},
		{"multicast", addr("ff02::1"), "ff02::1"},
		{"loopback", addr("127.0.0.1"), "127.0.0.1"},
		{"link-local", addr("169.254.1.1"), "169.254.1.1"},
		{"port 0", port("TCP", 0), "port 0 at 10.9.0.100"},
		{"protocol", port("tcp", 80), `port 80 at 10.9.0.100: unknown protocol "tcp"`},
		{"no protocol", port("", 80), `unknown protocol ""`},
	} {
		good := both(assignment.Port{Protocol: "TCP", Port: 80})
		got, err := encode(append([]assignment.Assignment{test.bad}, good...))
		if err == nil || !strings.Contains(err.Error(), test.text) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want one error with %q", test.desc, err, test.text)
		}
		want, _ := encode(good)
		if test.bad.Addr == vip4 { // the address is valid, its port is not
			want["addresses4"] = append(want["addresses4"], want["addresses4"][0])
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v; want %v", test.desc, got, want)
		}
	}
}

// FuzzPortKey: a key has the length of the address and two registers.
func FuzzPortKey(f *testing.F) {
	f.Add("TCP", uint16(80))
	f.Add("ICMP", uint16(0))
	f.Fuzz(func(t *testing.T, protocol string, number uint16) {
		for _, vip := range bothVIPs {
			key, err := portKey(vip, assignment.Port{Protocol: protocol, Port: number})
			if (err == nil) != (len(key) == vip.BitLen()/8+8) {
				t.Errorf("%q %d: %v, %v", protocol, number, key, err)
			}
		}
	})
}
