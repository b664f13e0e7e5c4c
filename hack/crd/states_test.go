package crd

import (
	"fmt"
	"strings"
	"testing"
)

func TestProfiles(t *testing.T) {
	s := newServer(t, "BFDProfile")
	profile := func(spec ...any) map[string]any { return object("BFDProfile", spec...) }
	for name, object := range map[string]map[string]any{
		"no spec": without(profile()),
		"the shortest": profile("receiveInterval", int64(10), "transmitInterval", int64(10),
			"detectMultiplier", int64(2), "minimumTtl", int64(1)),
		"the longest": profile("receiveInterval", int64(60000), "transmitInterval", int64(60000),
			"detectMultiplier", int64(255), "minimumTtl", int64(254)),
	} {
		s.accept(t, name, object)
	}
	for name, limits := range map[string][2]int64{"receiveInterval": {10, 60000},
		"transmitInterval": {10, 60000}, "detectMultiplier": {2, 255}, "minimumTtl": {1, 254}} {
		s.refuse(t, invalid{"low " + name, "spec." + name,
			fmt.Sprint("greater than or equal to ", limits[0]), profile(name, limits[0]-1)})
		s.refuse(t, invalid{"high " + name, "spec." + name,
			fmt.Sprint("less than or equal to ", limits[1]), profile(name, limits[1]+1)})
	}
	s.defaults(t, without(profile()),
		"map[detectMultiplier:3 minimumTtl:254 receiveInterval:300 transmitInterval:300]")
}

// nodeState returns a BGPNodeState with n sessions, which have these fields as well.
func nodeState(n int, more ...any) map[string]any {
	result := without(object("BGPNodeState"))
	result["status"] = map[string]any{"sessionsUp": fmt.Sprintf("%d/%d", n, n), "routes": int64(7),
		"sessions": list(n, func(i int) any {
			session := map[string]any{"peer": fmt.Sprint("tor-", i), "state": "Established",
				"since": "2026-12-01T08:00:00Z"}
			for i := 0; i < len(more); i += 2 {
				session[more[i].(string)] = more[i+1]
			}
			return session
		})}
	return result
}

func family(name string) any {
	return map[string]any{"family": name, "nextHop": "2001:db8::b", "routes": int64(5)}
}

func TestNodeStates(t *testing.T) {
	s := newServer(t, "BGPNodeState")
	for name, object := range map[string]map[string]any{
		"no status":   without(object("BGPNodeState")),
		"no session":  nodeState(0),
		"the maximum": nodeState(64, "reason", strings.Repeat("ü", 512)),
		"everything": nodeState(2, "address", "fe80::1%eth0", "interface", "eth0",
			"localASN", int64(65010), "peerASN", int64(4294967294), "holdTime", "9s",
			"families", []any{family("IPv4"), family("IPv6")}, "routesRefused", int64(1),
			"reason", "hold timer expired", "bfd", map[string]any{"state": "Up",
				"diagnostic": "neighbor signaled session down", "transmitInterval": int64(300),
				"receiveInterval": int64(300), "detectionTime": int64(900)}),
	} {
		s.accept(t, name, object)
	}
	const first = "status.sessions[0]."
	for _, row := range []invalid{
		{"too many", "status.sessions", "at most 64", nodeState(65)},
		{"unknown state", first + "state", "Unsupported value", nodeState(1, "state", "Up")},
		{"unknown BFD state", first + "bfd.state", "Unsupported value",
			nodeState(1, "bfd", map[string]any{"state": "up"})},
		{"long reason", first + "reason", "Too long",
			nodeState(1, "reason", strings.Repeat("a", 513))},
		{"a family twice", first + "families[1]", "Duplicate value",
			nodeState(1, "families", []any{family("IPv4"), family("IPv4")})},
		{"unknown family", first + "families[0].family", "Unsupported value",
			nodeState(1, "families", []any{family("L2VPN")})},
		{"no time", first + "since", "must be of type", nodeState(1, "since", nil)},
	} {
		s.refuse(t, row)
	}
}
