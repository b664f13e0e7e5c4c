package routerlab

import (
	"bufio"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func birdReply(t *testing.T, text string) []birdLine {
	t.Helper()
	lines, err := readBIRD(bufio.NewScanner(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

const birdProtocolsText = `2002-Name       Proto      Table      State  Since         Info
1002-device1    Device     ---        up     08:12:50.428  
1002-n1         BGP        ---        up     08:13:16.158  Established   
1006-  BGP state:          Established
     Neighbor address: 10.9.0.1
     Neighbor AS:      65010
     Local AS:         65000
     Neighbor capabilities
       Graceful restart
   Channel ipv4
     State:          UP
     Routes:         3 imported, 0 exported, 1 preferred
   Channel ipv6
     Routes:         2 imported, 0 exported, 1 preferred
1002-n2         BGP        ---        start  08:13:16.158  Connect       BGP Error: Bad peer AS
1006-  BGP state:          Connect
     Neighbor address: fe80::1%eth0
     Neighbor graceful restart active
     Last error:       BGP Error: Bad peer AS
1002-n3         BGP        ---        start  08:13:16.158  Passive       
1006-  BGP state:          Passive
     Neighbor range:   10.9.0.0/24
1002-n4         BGP        ---        down   08:13:16.158  
1006-  BGP state:          Down
     Neighbor address: 10.9.0.4
0000 
`

func TestParseBIRDProtocols(t *testing.T) {
	all, err := parseBIRDProtocols(birdReply(t, birdProtocolsText))
	if err != nil {
		t.Fatal(err)
	}
	want := []birdProtocol{
		{SessionInfo: SessionInfo{id: "n1", State: "Established", Neighbor: addr("10.9.0.1"),
			Prefixes: 5}},
		{SessionInfo: SessionInfo{id: "n2", State: "Connect", Neighbor: addr("fe80::1"),
			LastError: "BGP Error: Bad peer AS"}, stale: true},
		{SessionInfo: SessionInfo{id: "n3", State: "Idle"}},
		{SessionInfo: SessionInfo{id: "n4", State: "Idle", Neighbor: addr("10.9.0.4")}},
	}
	if !slices.Equal(all, want) {
		t.Errorf("got  %+v\nwant %+v", all, want)
	}
}

const birdRoutesText = `1007-Table master4:
 198.51.100.1/32      unicast [n1 08:13:16.431] * (100) [AS65010i]
 	via 10.9.0.1 on eth0
1008-	Type: BGP univ
1012-	BGP.origin: IGP
 	BGP.as_path: 65010 65010
 	BGP.next_hop: 10.9.0.1
 	BGP.med: 50
 	BGP.local_pref: 100
 	BGP.community: (65010,7) (65535,0)
 	BGP.large_community: (65010, 1, 2)
1007-                     unicast [n2 08:13:16.431 from fe80::1%eth0] (100) [AS65010i]
 	via fe80::1 on eth0
1008-	Type: BGP univ
1012-	BGP.as_path: 
1007-203.0.113.1/32       blackhole [static_ipv4 08:13:16.431] * (200)
1008-	Type: static univ
1007-
 Table master6:
 2001:db8::1/128      unicast [n1 08:13:16.431 from 10.9.0.1] * (100) [AS65010i]
 	via fd09::1 on eth0
1008-	Type: BGP univ
1012-	BGP.next_hop: fd09::1 fe80::f456:edff:fefe:e9b4
0000 
`

func TestParseBIRDRoutes(t *testing.T) {
	protocols, err := parseBIRDProtocols(birdReply(t, birdProtocolsText))
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseBIRDRoutes(birdReply(t, birdRoutesText), protocols)
	if err != nil {
		t.Fatal(err)
	}
	want := []Route{
		{Prefix: vip4, Neighbor: addr("10.9.0.1"), NextHops: []netip.Addr{addr("10.9.0.1")},
			ASPath: []uint32{65010, 65010}, LocalPref: 100, MED: 50, Best: true,
			Communities: []string{"65010:7", "65535:0"}, LargeCommunities: []string{"65010:1:2"}},
		{Prefix: vip4, Neighbor: addr("fe80::1"), Stale: true},
		{Prefix: netip.MustParsePrefix("203.0.113.1/32"), Best: true},
		{Prefix: vip6, Neighbor: addr("10.9.0.1"), Best: true,
			NextHops: []netip.Addr{addr("fd09::1"), addr("fe80::f456:edff:fefe:e9b4")}},
	}
	sameRoutes(t, got, want)
}

func sameRoutes(t *testing.T, got, want []Route) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing %+v", want[i])
		case i >= len(want):
			t.Errorf("unexpected %+v", got[i])
		case fmt.Sprintf("%+v", got[i]) != fmt.Sprintf("%+v", want[i]):
			t.Errorf("got  %+v\nwant %+v", got[i], want[i])
		}
	}
}

func TestParseBIRDBFD(t *testing.T) {
	got := parseBIRDBFD(birdReply(t, `1020-bfd1:
 IP address                Interface  State      Since         Interval  Timeout
 10.9.0.1                  eth0       Up         08:13:16.157    0.300    0.900
 fe80::1                   eth0       Down       08:13:16.138    1.000    0.000
0000 
`))
	if len(got) != 2 || got[addr("10.9.0.1")] != "Up" || got[addr("fe80::1")] != "Down" {
		t.Errorf("got %v", got)
	}
}

func TestReadBIRDReportsErrors(t *testing.T) {
	for _, text := range []string{"9001 syntax error\n", "1002-n1 BGP\n", "12\n", ""} {
		if lines, err := readBIRD(bufio.NewScanner(strings.NewReader(text))); err == nil {
			t.Errorf("%q: %v", text, lines)
		}
	}
}

func TestParseFRR(t *testing.T) {
	sessions, err := parseFRRSessions([]byte(`{
"10.9.0.1":{"bgpState":"Established","bgpTimerUpMsec":32000,
  "lastResetDueTo":"Waiting for peer OPEN",
  "addressFamilyInfo":{"ipv4Unicast":{"acceptedPrefixCounter":3}},
  "hostForeign":"10.9.0.1","peerBfdInfo":{"status":"Admin Down"}},
"eth0":{"bgpState":"Clearing","hostForeign":"fe80::1","lastResetDueTo":"BGP Notification send",
  "lastNotificationReason":"Cease/Maximum Number of Prefixes Reached"},
"vrfName":"default"}`))
	want := []SessionInfo{
		{id: "10.9.0.1", Neighbor: addr("10.9.0.1"), State: Established, Uptime: 32 * time.Second,
			Prefixes: 3, LastError: "Waiting for peer OPEN", BFD: "AdminDown"},
		{id: "eth0", Neighbor: addr("fe80::1"), State: "Idle",
			LastError: "BGP Notification send: Cease/Maximum Number of Prefixes Reached"},
	}
	if err != nil || !slices.Equal(sessions, want) {
		t.Errorf("got  %+v, %v\nwant %+v", sessions, err, want)
	}
	routes, err := parseFRRRoutes([]byte(`{"vrfId": 0, "routes": {"198.51.100.1/32": [
{"prefix":"198.51.100.1/32","version":7},
{"aspath":{"segments":[{"type":"as-sequence","list":[65010,65010]}]},"metric":50,"locPrf":7,
 "valid":true,"stale":true,"bestpath":{"overall":true},"community":{"list":["gracefulShutdown"]},
 "largeCommunity":{"list":["65010:1:2"]},"nexthops":[{"ip":"10.9.0.1"}],
 "peer":{"peerId":"10.9.0.1"}}],
"203.0.113.1/32": [{"aspath":{"segments":[]},"peer":{"peerId":"0.0.0.0"}}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	sameRoutes(t, routes, []Route{
		{Prefix: vip4, Neighbor: addr("10.9.0.1"), NextHops: []netip.Addr{addr("10.9.0.1")},
			ASPath: []uint32{65010, 65010}, LocalPref: 7, MED: 50, Best: true, Stale: true,
			Communities: []string{"65535:0"}, LargeCommunities: []string{"65010:1:2"}},
		{Prefix: netip.MustParsePrefix("203.0.113.1/32")},
	})
}

func TestParseExaBGP(t *testing.T) {
	const peer = `"neighbor": { "address": { "peer": "10.9.0.1" }, `
	const announce = `{ "type": "update", ` + peer + `"message": { "update": {
 "attribute": { "as-path": [ 65010 ], "med": 50, "community": [ [ 65010, 7 ] ],
 "large-community": [ [ 65010, 1 , 2 ] ] }, "announce": { "ipv6 unicast": {
 "fd09::1": [ { "nlri": "2001:db8::1/128" } ], 
 "fe80::1": [ { "nlri": "2001:db8::1/128" } ] } } } } } }`
	lines := []string{
		`done`,
		`{ "type": "state", "time": 1796112998.4, ` + peer + `"state": "up" } }`,
		strings.ReplaceAll(announce, "\n", ""),
		`{ "type": "update", ` + peer + `"message": { "eor": { "afi" : "ipv4" } } } }`,
	}
	route := Route{Prefix: vip6, Neighbor: addr("10.9.0.1"), ASPath: []uint32{65010}, MED: 50,
		NextHops:    []netip.Addr{addr("fd09::1"), addr("fe80::1")},
		Communities: []string{"65010:7"}, LargeCommunities: []string{"65010:1:2"}, Best: true}
	withdrawal := `{ "type": "update", ` + peer + `"message": { "update": { "withdraw": {
 "ipv6 unicast": [ { "nlri": "2001:db8::1/128" } ] } } } } }`
	down := `{ "type": "state", ` + peer + `"state": "down", "reason": "peer reset" } }`
	for name, test := range map[string]struct {
		line  string
		want  []Route
		state string
	}{
		"announced":       {"", []Route{route}, Established},
		"withdrawn":       {strings.ReplaceAll(withdrawal, "\n", "") + "\n", nil, Established},
		"incomplete line": {down, []Route{route}, Established},
		"session ended":   {down + "\n", nil, "Idle"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newExaBGPState()
			if err := s.read([]byte(strings.Join(lines, "\n") + "\n" + test.line)); err != nil {
				t.Fatal(err)
			}
			sameRoutes(t, s.routeList(), test.want)
			if got := s.sessionList(); len(got) != 1 || got[0].State != test.state {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestConfigIsValidated(t *testing.T) {
	for name, n := range map[string]Neighbor{
		"no address":    {AS: 1},
		"two addresses": {AS: 1, Addr: addr("10.9.0.1"), Interface: "eth0"},
		"no AS":         {Addr: addr("10.9.0.1")},
		"BFD":           {AS: 1, Addr: addr("10.9.0.1"), BFD: &BFD{}},
	} {
		if err := n.complete(FRR); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
