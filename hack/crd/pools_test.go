package crd

import (
	"fmt"
	"testing"
)

// pool returns an IPPool with these addresses. more has names and values of other fields of its
// spec.
func pool(addresses []string, more ...any) map[string]any {
	entries := list(len(addresses), func(i int) any { return addresses[i] })
	return object("IPPool", append(more, "addresses", entries)...)
}

func TestValidPools(t *testing.T) {
	s := newServer(t, "IPPool")
	many := make([]string, 128)
	for i := range many {
		many[i] = fmt.Sprintf("2001:0db8:0000:0000:%04x:0000:0000:0000/80", i)
	}
	for name, object := range map[string]map[string]any{
		"a network":             pool([]string{"192.0.2.0/24"}),
		"adjacent networks":     pool([]string{"192.0.2.0/25", "192.0.2.128/25", "2001:db8::/64"}),
		"a range":               pool([]string{"192.0.2.10-192.0.2.20"}),
		"a range over an octet": pool([]string{"10.9.255.255-10.10.0.0"}),
		"a range of one":        pool([]string{"192.0.2.7-192.0.2.7"}),
		"an IPv6 range":         pool([]string{"2001:db8::1-2001:db8::ffff"}),
		"addresses":             pool([]string{"192.0.2.7", "2001:db8::7"}),
		"one as a network":      pool([]string{"192.0.2.7/32", "2001:db8::7/128"}),
		"private ones":          pool([]string{"10.0.0.0/8", "fd00::/8"}),
		"the maximum":           pool(many),
		"everything": pool([]string{"192.0.2.0/24"}, "namespaces", []any{"a", "b-1"}, "avoidBuggyIPs",
			true, "autoAssign", false,
			"searchOrder", "Descending", "sharing", "ByPort", "announcement", "BGP"),
	} {
		s.accept(t, name, object)
	}
}

func TestInvalidPools(t *testing.T) {
	s := newServer(t, "IPPool")
	long := make([]string, 129)
	for i := range long {
		long[i] = fmt.Sprintf("192.0.2.%d", i+1)
	}
	const first, whole = "spec.addresses[0]", "spec.addresses"
	for _, row := range []invalid{
		{"no entry", whole, "at least 1", pool(nil)},
		{"too many", whole, "at most 128", pool(long)},
		{"a duplicate", "spec.addresses[1]", "Duplicate value",
			pool([]string{"192.0.2.7", "192.0.2.7"})},
		{"a word", first, "must be a network like", pool([]string{"banana"})},
		{"nothing", first, "must be a network like", pool([]string{""})},
		{"a prefix too long", first, "must be a network like", pool([]string{"192.0.2.0/33"})},
		{"an IPv6 prefix too long", first, "must be a network like", pool([]string{"2001:db8::/129"})},
		{"an octet too high", first, "must be a network like", pool([]string{"192.0.2.256"})},
		{"leading zeros", first, "must be a network like", pool([]string{"192.0.2.007"})},
		{"IPv4 in IPv6", first, "must be a network like", pool([]string{"::ffff:192.0.2.7"})},
		{"a zone", first, "must be a network like", pool([]string{"2001:db8::7%eth0"})},
		{"spaces", first, "must be a network like", pool([]string{"192.0.2.1 - 192.0.2.2"})},
		{"three ends", first, "must be a network like", pool([]string{"192.0.2.1-192.0.2.2-192.0.2.3"})},
		{"no end", first, "must be a network like", pool([]string{"192.0.2.1-"})},
		{"a range of networks", first, "must be a network like",
			pool([]string{"192.0.2.0/25-192.0.2.128/25"})},
		{"no prefix length", first, "must be a network like", pool([]string{"192.0.2.0/"})},
		{"host bits", first, "bits set beyond its prefix length", pool([]string{"192.0.2.7/24"})},
		{"IPv6 host bits", first, "bits set beyond its prefix length", pool([]string{"2001:db8::7/64"})},
		{"two families", first, "one range for IPv4 and one for IPv6",
			pool([]string{"192.0.2.1-2001:db8::1"})},
		{"descending", first, "write the lower address first", pool([]string{"192.0.2.20-192.0.2.10"})},
		{"descending in the first octet", first, "write the lower address first",
			pool([]string{"11.0.0.0-10.255.255.255"})},
		{"loopback", first, "not for hosts", pool([]string{"127.0.0.0/8"})},
		{"everything", first, "not for hosts", pool([]string{"0.0.0.0/0"})},
		{"multicast", first, "not for hosts", pool([]string{"224.0.0.5"})},
		{"link-local", first, "not for hosts", pool([]string{"fe80::1-fe80::9"})},
		{"nested networks", whole, "remove or narrow one of the two",
			pool([]string{"192.0.2.128/25", "192.0.2.0/24"})},
		{"one network, in two notations", whole, "remove or narrow one of the two",
			pool([]string{"2001:db8::/64", "2001:db8:0::/64"})},
		{"an address of a network", whole, "remove or narrow one of the two",
			pool([]string{"192.0.2.7", "192.0.2.0/24"})},
		{"a range that overlaps a network", whole, "remove or narrow one of the two",
			pool([]string{"192.0.2.0/25", "192.0.2.100-192.0.2.200"})},
		{"invalid namespace", "spec.namespaces[0]", "cannot name a namespace",
			pool([]string{"192.0.2.7"}, "namespaces", []any{"Kube_System"})},
		{"unknown order", "spec.searchOrder", "Unsupported value",
			pool([]string{"192.0.2.7"}, "searchOrder", "Random")},
		{"unknown sharing", "spec.sharing", "Unsupported value",
			pool([]string{"192.0.2.7"}, "sharing", "Never")},
		{"unknown announcement", "spec.announcement", "Unsupported value",
			pool([]string{"192.0.2.7"}, "announcement", "layer2")},
	} {
		s.refuse(t, row)
	}
}

func TestDefaultsOfPools(t *testing.T) {
	newServer(t, "IPPool").defaults(t, pool([]string{"192.0.2.0/24"}),
		"map[addresses:[192.0.2.0/24] announcement:Layer2 autoAssign:true "+
			"searchOrder:Ascending sharing:ByKey]")
}
