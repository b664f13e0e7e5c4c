package crd

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

// peer returns a BGPPeer that is valid, with further fields; nil removes one.
func peer(more ...any) map[string]any {
	result := object("BGPPeer", append([]any{"myASN", int64(65010), "peerASN", int64(65000),
		"peerAddress", "192.0.2.1"}, more...)...)
	maps.DeleteFunc(result["spec"].(map[string]any), func(_ string, v any) bool { return v == nil })
	return result
}

// selector returns a label selector.
func selector(i int) any {
	return map[string]any{"matchLabels": map[string]any{"rack": fmt.Sprint(i)}}
}

// words returns a list of texts.
func words(texts ...string) []any {
	return list(len(texts), func(i int) any { return texts[i] })
}

func TestValidPeers(t *testing.T) {
	s := newServer(t, "BGPPeer")
	for name, object := range map[string]map[string]any{
		"the least":              peer(),
		"IPv6":                   peer("peerAddress", "2001:db8::1"),
		"an address in any case": peer("peerAddress", "2001:DB8:0:0::1"),
		"a speaker on the node":  peer("peerAddress", "127.0.0.1", "peerPort", int64(1790)),
		"from itself":            peer("peerAddress", "::1", "sourceAddress", "::1"),
		"IPv4 link-local":        peer("peerAddress", "169.254.255.1"),
		"an internal peer":       peer("peerASN", int64(65010)),
		"the highest number":     peer("peerASN", int64(4294967294)),
		"any external peer":      peer("peerASN", nil, "dynamicASN", "external"),
		"unnumbered": peer("peerAddress", nil, "interface", "eth0.100", "peerASN", nil,
			"dynamicASN", "internal"),
		"gateway":             peer("peerAddress", nil, "autoDiscovery", "DefaultGateway"),
		"the shortest times":  peer("holdTime", "3s", "keepaliveTime", "1s", "connectTime", "1s"),
		"the longest times":   peer("holdTime", "65535s", "connectTime", "18h12m15s"),
		"as Go writes them":   peer("holdTime", "1m30s", "keepaliveTime", "30s", "connectTime", "1h0m0s"),
		"minutes":             peer("holdTime", "3m", "keepaliveTime", "1m"),
		"Secret":              peer("passwordSecret", map[string]any{"name": "tor.a"}),
		"IPv6 next hop alone": peer("nextHops", map[string]any{"ipv6": "2001:db8::b"}),
		"both off":            peer("ttlSecurity", false, "ebgpMultiHop", false),
		"GTSM":                peer("ttlSecurity", true, "ebgpMultiHop", false),
		"everything": peer("sourceAddress", "192.0.2.11", "peerPort", int64(65535),
			"holdTime", "90s", "keepaliveTime", "30s", "connectTime", "30s",
			"routerID", "255.255.255.255", "nodeSelectors", list(64, selector),
			"passwordSecret", map[string]any{"name": "tor", "namespace": "kube-system"},
			"bfdProfile", strings.Repeat("a", 253), "enableGracefulRestart", true,
			"ebgpMultiHop", true, "dualStackAddressFamily", true, "maximumPrefixes", int64(100000),
			"nextHops", map[string]any{"ipv4": "192.0.2.11", "ipv6": "2001:db8::b"}),
	} {
		s.accept(t, name, object)
	}
}

func TestInvalidPeers(t *testing.T) {
	s := newServer(t, "BGPPeer")
	const (
		onePeer, oneASN = "exactly one of peerAddress", "exactly one of peerASN and dynamicASN"
		hold, keepalive = "spec.holdTime", "spec.keepaliveTime"
		holdWords       = "must be whole seconds from 3s to 65535s"
		address         = "spec.peerAddress"
	)
	hops := func(family, hop string) any { return map[string]any{family: hop} }
	for _, row := range []invalid{
		{"no peer", "spec", onePeer, peer("peerAddress", nil)},
		{"two peers", "spec", onePeer, peer("interface", "eth0")},
		{"three peers", "spec", onePeer, peer("interface", "eth0", "autoDiscovery", "DefaultGateway")},
		{"no AS of the nodes", "spec.myASN", "Required", peer("myASN", nil)},
		{"no AS of the peer", "spec", oneASN, peer("peerASN", nil)},
		{"two ASs of the peer", "spec", oneASN, peer("dynamicASN", "external")},
		{"AS 0", "spec.peerASN", "greater than or equal to 1", peer("peerASN", int64(0))},
		{"AS too high", "spec.myASN", "less than or equal to", peer("myASN", int64(1)<<32)},
		{"AS_TRANS", "spec.peerASN", "is a reserved number", peer("peerASN", int64(23456))},
		{"the last AS", "spec.myASN", "is a reserved number", peer("myASN", int64(4294967295))},
		{"unknown kind of AS", "spec.dynamicASN", "Unsupported value",
			peer("peerASN", nil, "dynamicASN", "any")},
		{"unknown discovery", "spec.autoDiscovery", "Unsupported value",
			peer("peerAddress", nil, "autoDiscovery", "LLDP")},
		{"a name", address, "must be one IPv4 or IPv6 address", peer("peerAddress", "tor.example")},
		{"an empty address", address, "must be one IPv4 or IPv6 address", peer("peerAddress", "")},
		{"a network", address, "without prefix length", peer("peerAddress", "192.0.2.1/32")},
		{"a port", address, "must be one IPv4 or IPv6 address", peer("peerAddress", "192.0.2.1:179")},
		{"a zone", address, "must be one IPv4 or IPv6 address", peer("peerAddress", "fe80::1%eth0")},
		{"link-local", address, "set interface instead", peer("peerAddress", "fe80::1")},
		{"unspecified", address, "is not the address of one host", peer("peerAddress", "0.0.0.0")},
		{"IPv6 unspecified", address, "is not the address of one host", peer("peerAddress", "::")},
		{"multicast", address, "is not the address of one host", peer("peerAddress", "224.0.0.5")},
		{"IPv6 multicast", address, "is not the address of one host", peer("peerAddress", "ff02::5")},
		{"broadcast", address, "is not the address of one host", peer("peerAddress", "255.255.255.255")},
		{"link with a slash", "spec.interface", "cannot name a link",
			peer("peerAddress", nil, "interface", "a/b")},
		{"empty link", "spec.interface", "cannot name a link", peer("peerAddress", nil, "interface", "")},
		{"link with a space", "spec.interface", "cannot name a link",
			peer("peerAddress", nil, "interface", "eth0 ")},
		{"two dots", "spec.interface", "cannot name a link", peer("peerAddress", nil, "interface", "..")},
		{"long link", "spec.interface", "Too long",
			peer("peerAddress", nil, "interface", strings.Repeat("a", 16))},
		{"source without peer", "spec.sourceAddress", "remove sourceAddress",
			peer("peerAddress", nil, "interface", "eth0", "sourceAddress", "192.0.2.11")},
		{"source of the other family", "spec.sourceAddress", "of the family of peerAddress",
			peer("sourceAddress", "2001:db8::11")},
		{"source is a word", "spec.sourceAddress", "must be one IPv4 or IPv6 address",
			peer("sourceAddress", "eth0")},
		{"peer is the source", "spec.sourceAddress", "an address of the node here",
			peer("peerAddress", "2001:db8::1", "sourceAddress", "2001:db8:0::1")},
		{"port 0", "spec.peerPort", "greater than or equal to 1", peer("peerPort", int64(0))},
		{"port too high", "spec.peerPort", "less than or equal to 65535",
			peer("peerPort", int64(65536))},
		{"short hold time", hold, holdWords, peer("holdTime", "2s")},
		{"long hold time", hold, holdWords, peer("holdTime", "65536s")},
		{"longer hold time", hold, holdWords, peer("holdTime", "99h")},
		{"negative hold time", hold, holdWords, peer("holdTime", "-9s")},
		{"milliseconds", hold, holdWords, peer("holdTime", "9500ms")},
		{"part of a second", hold, holdWords, peer("holdTime", "9.5s")},
		{"hold time without unit", hold, holdWords, peer("holdTime", "9")},
		{"empty hold time", hold, holdWords, peer("holdTime", "")},
		{"hold time is a number", hold, "must be of type string", peer("holdTime", int64(9))},
		{"hold time is very long", hold, "Too long", peer("holdTime", strings.Repeat("9", 17))},
		{"keepalive above a third", keepalive, "at most a third of holdTime",
			peer("holdTime", "9s", "keepaliveTime", "4s")},
		{"keepalive above a third of the default", keepalive, "at most a third of holdTime",
			peer("keepaliveTime", "10s")},
		{"no time limit", hold, holdWords, peer("holdTime", "0s")},
		{"no keepalive", keepalive, "at least 1s", peer("holdTime", "9s", "keepaliveTime", "0s")},
		{"keepalive without unit", keepalive, "must be whole seconds", peer("keepaliveTime", "3")},
		{"empty keepalive", keepalive, "must be whole seconds", peer("keepaliveTime", "")},
		{"connect time of nothing", "spec.connectTime", "must be whole seconds from 1s",
			peer("connectTime", "0s")},
		{"long connect time", "spec.connectTime", "must be whole seconds from 1s",
			peer("connectTime", "19h")},
		{"connect time is a word", "spec.connectTime", "must be whole seconds from 1s",
			peer("connectTime", "soon")},
		{"router ID 0", "spec.routerID", "written like an IPv4 address", peer("routerID", "0.0.0.0")},
		{"router ID of IPv6", "spec.routerID", "written like an IPv4 address", peer("routerID", "::1")},
		{"router ID is a number", "spec.routerID", "written like an IPv4 address", peer("routerID", "7")},
		{"too many selectors", "spec.nodeSelectors", "at most 64",
			peer("nodeSelectors", list(65, selector))},
		{"Secret without a name", "spec.passwordSecret.name", "Required",
			peer("passwordSecret", map[string]any{"namespace": "a"})},
		{"invalid Secret", "spec.passwordSecret.name", "cannot name an object",
			peer("passwordSecret", map[string]any{"name": "TOR"})},
		{"Secret in an invalid namespace", "spec.passwordSecret.namespace", "cannot name a namespace",
			peer("passwordSecret", map[string]any{"name": "tor", "namespace": "a.b"})},
		{"invalid profile", "spec.bfdProfile", "cannot name an object", peer("bfdProfile", "a..b")},
		{"multihop and GTSM", "spec.ttlSecurity", "remove ttlSecurity",
			peer("ebgpMultiHop", true, "ttlSecurity", true)},
		{"multihop on a link", "spec.ebgpMultiHop", "fits only peerAddress",
			peer("peerAddress", nil, "interface", "eth0", "ebgpMultiHop", true)},
		{"multihop to the gateway", "spec.ebgpMultiHop", "fits only peerAddress",
			peer("peerAddress", nil, "autoDiscovery", "DefaultGateway", "ebgpMultiHop", true)},
		{"internal multihop", "spec.ebgpMultiHop", "fits only external peers",
			peer("peerASN", int64(65010), "ebgpMultiHop", true)},
		{"dynamic internal multihop", "spec.ebgpMultiHop", "fits only external peers",
			peer("peerASN", nil, "dynamicASN", "internal", "ebgpMultiHop", true)},
		{"no prefix", "spec.maximumPrefixes", "greater than or equal to 1",
			peer("maximumPrefixes", int64(0))},
		{"too many prefixes", "spec.maximumPrefixes", "less than or equal to 100000",
			peer("maximumPrefixes", int64(100001))},
		{"no next hop", "spec.nextHops", "at least 1 properties", peer("nextHops", map[string]any{})},
		{"IPv4 next hop of IPv6", "spec.nextHops.ipv4", "set ipv6 for IPv6 routes",
			peer("nextHops", hops("ipv4", "2001:db8::b"))},
		{"IPv6 next hop of IPv4", "spec.nextHops.ipv6", "set ipv4 for IPv4 routes",
			peer("nextHops", hops("ipv6", "192.0.2.11"))},
		{"link-local next hop", "spec.nextHops.ipv6", "not link-local",
			peer("nextHops", hops("ipv6", "fe80::b"))},
		{"loopback next hop", "spec.nextHops.ipv4", "that the peer can reach",
			peer("nextHops", hops("ipv4", "127.0.0.1"))},
	} {
		s.refuse(t, row)
	}
}

func TestDefaultsOfPeers(t *testing.T) {
	newServer(t, "BGPPeer").defaults(t, peer(),
		"map[connectTime:30s holdTime:9s maximumPrefixes:1000 myASN:65010 "+
			"peerASN:65000 peerAddress:192.0.2.1 peerPort:179]")
}
