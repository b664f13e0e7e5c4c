package crd

import (
	"fmt"
	"strings"
	"testing"
)

// advertisement returns a BGPAdvertisement with a spec of names and values.
func advertisement(spec ...any) map[string]any { return object("BGPAdvertisement", spec...) }

// without removes the spec of an object.
func without(object map[string]any) map[string]any {
	delete(object, "spec")
	return object
}

func TestValidAdvertisements(t *testing.T) {
	s := newServer(t, "BGPAdvertisement")
	name := func(i int) any { return fmt.Sprintf("%03d%s", i, strings.Repeat("a", 250)) }
	large := func(i int) any { return fmt.Sprintf("large:4294967295:4294967295:%d", 4294967295-i) }
	for name, object := range map[string]map[string]any{
		"no spec":       without(advertisement()),
		"an empty spec": advertisement(),
		"communities": advertisement("communities", words("65000:1", "0:0", "65535:65535",
			"large:65000:1:2", "large:0:0:0", "no-export", "no-advertise", "no-export-subconfed",
			"no-peer", "graceful-shutdown", "gshut", "blackhole")),
		"the lowest values": advertisement("localPref", int64(0), "med", int64(0), "asPathPrepend",
			int64(0), "aggregationLength", int64(1), "aggregationLengthV6", int64(1)),
		"everything, and the maximum": advertisement("ipAddressPools", list(128, name),
			"ipAddressPoolSelectors", list(64, selector), "serviceSelectors", list(64, selector),
			"nodeSelectors", list(64, selector), "peers", list(128, name),
			"communities", list(64, large), "localPref", int64(4294967295),
			"med", int64(4294967295), "asPathPrepend", int64(10), "aggregationLength", int64(32),
			"aggregationLengthV6", int64(128), "withdrawWithoutEndpoints", true),
	} {
		s.accept(t, name, object)
	}
}

func TestInvalidAdvertisements(t *testing.T) {
	s := newServer(t, "BGPAdvertisement")
	for _, text := range []string{"", "65000", "65000:", ":1", "65000:65536", "65536:1", "-1:1",
		"065000:1", "65000:1:2", "65000: 1", "large:1:2", "large:1:2:3:4", "large:1:2:4294967296",
		"large:a:b:c", "large", "LARGE:1:2:3", "No-Export", "internet", "rt:65000:1"} {
		s.refuse(t, invalid{"the community " + text, "spec.communities[0]", "is no community",
			advertisement("communities", words(text))})
	}
	name := func(i int) any { return fmt.Sprintf("a%d", i) }
	community := func(i int) any { return fmt.Sprintf("65000:%d", i) }
	for _, row := range []invalid{
		{"too many pools", "spec.ipAddressPools", "at most 128",
			advertisement("ipAddressPools", list(129, name))},
		{"a pool twice", "spec.ipAddressPools[1]", "Duplicate value",
			advertisement("ipAddressPools", words("a", "a"))},
		{"invalid pool", "spec.ipAddressPools[0]", "cannot name an object",
			advertisement("ipAddressPools", words("A"))},
		{"too many peers", "spec.peers", "at most 128", advertisement("peers", list(129, name))},
		{"a peer twice", "spec.peers[1]", "Duplicate value", advertisement("peers", words("a", "a"))},
		{"invalid peer", "spec.peers[0]", "cannot name an object",
			advertisement("peers", words("192.0.2.1:179"))},
		{"too many pool selectors", "spec.ipAddressPoolSelectors", "at most 64",
			advertisement("ipAddressPoolSelectors", list(65, selector))},
		{"too many Service selectors", "spec.serviceSelectors", "at most 64",
			advertisement("serviceSelectors", list(65, selector))},
		{"too many node selectors", "spec.nodeSelectors", "at most 64",
			advertisement("nodeSelectors", list(65, selector))},
		{"too many communities", "spec.communities", "at most 64",
			advertisement("communities", list(65, community))},
		{"a community twice", "spec.communities[1]", "Duplicate value",
			advertisement("communities", words("65000:1", "65000:1"))},
		{"a long community", "spec.communities[0]", "Too long",
			advertisement("communities", words("large:"+strings.Repeat("1", 40)))},
		{"negative preference", "spec.localPref", "greater than or equal to 0",
			advertisement("localPref", int64(-1))},
		{"preference too high", "spec.localPref", "less than or equal to",
			advertisement("localPref", int64(1)<<32)},
		{"negative MED", "spec.med", "greater than or equal to 0", advertisement("med", int64(-1))},
		{"MED too high", "spec.med", "less than or equal to", advertisement("med", int64(1)<<32)},
		{"long path", "spec.asPathPrepend", "less than or equal to 10",
			advertisement("asPathPrepend", int64(11))},
		{"negative path", "spec.asPathPrepend", "greater than or equal to 0",
			advertisement("asPathPrepend", int64(-1))},
		{"a default route", "spec.aggregationLength", "greater than or equal to 1",
			advertisement("aggregationLength", int64(0))},
		{"IPv4 prefix too long", "spec.aggregationLength", "less than or equal to 32",
			advertisement("aggregationLength", int64(33))},
		{"an IPv6 default route", "spec.aggregationLengthV6", "greater than or equal to 1",
			advertisement("aggregationLengthV6", int64(0))},
		{"IPv6 prefix too long", "spec.aggregationLengthV6", "less than or equal to 128",
			advertisement("aggregationLengthV6", int64(129))},
	} {
		s.refuse(t, row)
	}
}

func TestDefaultsOfAdvertisements(t *testing.T) {
	newServer(t, "BGPAdvertisement").defaults(t, without(advertisement()),
		"map[aggregationLength:32 aggregationLengthV6:128]")
}
