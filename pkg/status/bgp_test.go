package status

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/kvip/kvip/pkg/bfd"
	"github.com/kvip/kvip/pkg/bgp"
)

// bgpNow is when the reports of these tests are written.
var bgpNow = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// torSession returns a session with a router that is established for an hour.
func torSession(peer, address string) bgp.Status {
	s := bgp.Status{
		Name: peer, Address: netip.MustParseAddr(address), Local: netip.MustParseAddr("10.0.0.1"),
		LocalAS: 65010, PeerAS: 65000, State: bgp.Established, Since: time.Minute,
		HoldTime: 9 * time.Second, UpdatesSent: 4, UpdatesIgnored: 2, Sessions: 1,
		BFD: &bfd.Status{State: bfd.Up, Since: 2 * time.Minute, TransmitInterval: 300 * time.Millisecond,
			DetectionTime: 900 * time.Millisecond, Remote: bfd.Remote{State: bfd.Up, Multiplier: 3}},
	}
	s.Routes[bgp.IPv4], s.NextHops[bgp.IPv4] = 1, s.Local
	s.Routes[bgp.IPv6], s.NextHops[bgp.IPv6] = 1, netip.MustParseAddr("fd00::1")
	return s
}

// announcer returns the page of an agent that announces by two sessions.
func announcer(node string) *Agent {
	a := agent(node)
	a.State, a.Reason, a.Owned, a.Link, a.Term = stateAnnouncing, "api-ready", true, "", 0
	a.BGP = NewBGP([]bgp.Status{torSession("tor-a", "10.0.0.253"), torSession("tor-b", "10.0.0.254")},
		Instant{Boot: time.Hour + time.Minute, Wall: bgpNow})
	a.BGP.Announcement = a.State
	return a
}

// state sets state and reason of an announcement.
func (a *Agent) state(state, reason string) {
	a.State, a.Reason, a.BGP.Announcement = state, reason, state
	a.Owned = a.announces()
}

// lose ends a session.
func (s *Session) lose() {
	s.State, s.Code, s.Reason = "Idle", "hold-timer", "the peer sent nothing for 9s"
	s.HoldTime, s.Families, s.Since = 0, nil, bgpNow.Add(-40*time.Second)
	s.BFD.State, s.BFD.Diagnostic = "Down", "control detection time expired"
	s.BFD.TransmitInterval, s.BFD.DetectionTime, s.BFD.Detections = time.Second, 0, 2
}

// announced returns the report of a cluster whose three nodes announce.
func announced() Report {
	return Report{Announce: AnnounceBGP, Nodes: []Node{
		{Address: "10.0.0.1:6443", Name: "node-a", Ready: true, Agent: announcer("node-a")},
		{Address: "10.0.0.2:6443", Name: "node-b", Ready: true, Agent: announcer("node-b")},
		{Address: "10.0.0.3:6443", Name: "node-c", Ready: true, Agent: announcer("node-c")},
	}}
}

// TestBGPText has each state that an administrator may have to act on, with the problem that
// decides the exit code.
func TestBGPText(t *testing.T) {
	notReady := func(n *Node) {
		n.Ready, n.Problem = false, "ask API server for readiness: etcd failed"
	}
	for name, row := range map[string]struct {
		change  func(nodes []Node)
		problem string
	}{
		"announced": {func([]Node) {}, ""},
		"one-worse": {func(nodes []Node) {
			notReady(&nodes[2])
			nodes[2].Agent.state("worse", "api-not-ready")
			nodes[2].Agent.NotReady = "the API server is not ready"
		}, ""},
		"all-worse": {func(nodes []Node) {
			for i := range nodes {
				notReady(&nodes[i])
				nodes[i].Agent.state("worse", "api-not-ready")
			}
		}, ""},
		"dead": {func(nodes []Node) {
			notReady(&nodes[0])
			nodes[0].Agent.state("standby", "api-dead")
		}, ""},
		"session-down": {func(nodes []Node) { nodes[1].Agent.BGP.Sessions[1].lose() },
			"node-b has no session with tor-b: the peer sent nothing for 9s"},
		"no-session": {func(nodes []Node) {
			nodes[1].Agent.BGP.Sessions[0].lose()
			nodes[1].Agent.BGP.Sessions[1].lose()
		}, "node-b has no BGP session: the peer sent nothing for 9s"},
		"no-peers": {func(nodes []Node) { nodes[0].Agent.BGP.Sessions = nil },
			"node-a has no BGP peers"},
		"ready-and-silent": {func(nodes []Node) { nodes[0].Agent.state("standby", "no-address") },
			"node-a has a ready API server and does not announce the address: no-address"},
		"ready-and-worse": {func(nodes []Node) { nodes[0].Agent.state("worse", "shutdown") },
			"node-a has a ready API server and announces by the worse path: shutdown"},
		"nowhere": {func(nodes []Node) {
			for i := range nodes {
				notReady(&nodes[i])
				nodes[i].Agent.state("standby", "api-dead")
			}
			nodes[1].Agent = nil
		}, "no node announces the address"},
		"no-ipv6": {func(nodes []Node) {
			for i := range nodes[0].Agent.BGP.Sessions {
				s := &nodes[0].Agent.BGP.Sessions[i]
				s.Families, s.Unreachable = s.Families[:1], 1
			}
		}, "no session of node-a carries a route of IPv6"},
		"mixed": {func(nodes []Node) {
			nodes[2].Agent = agent("node-c")
			nodes[2].Agent.Owned, nodes[2].Agent.State = true, "holding"
		}, "node-c has the address without BGP"},
		"many": {func(nodes []Node) {
			for i := range nodes {
				nodes[i].Agent.BGP.Sessions[0].lose()
				nodes[i].Agent.state("standby", "no-address")
			}
		}, "; 4 more"},
	} {
		t.Run(name, func(t *testing.T) {
			r := announced()
			row.change(r.Nodes)
			r.Degraded, r.Problem = r.bgpDegraded(), r.bgpProblem()
			if !strings.Contains(r.Problem, row.problem) || (r.Problem == "") != (row.problem == "") {
				t.Errorf("problem %q, want %q", r.Problem, row.problem)
			}
			var b bytes.Buffer
			if err := r.WriteText(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, "bgp-"+name+".txt", b.Bytes())
		})
	}
}

// TestBGPJSON compares the format that scripts use: without a Lease and its transitions.
func TestBGPJSON(t *testing.T) {
	r := announced()
	r.Nodes = r.Nodes[:1]
	r.Nodes[0].Agent.BGP.Sessions[1].lose()
	r.Problem = r.bgpProblem()
	encoded, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "bgp-report.json", append(encoded, '\n'))
	text := string(encoded)
	if strings.Contains(text, `"lease"`) || strings.Contains(text, "transitions") {
		t.Errorf("a cluster without a Lease shows one:\n%s", encoded)
	}
}

// sessions returns the report of `kvip status bgp` for two nodes.
func sessions() BGPReport {
	var r BGPReport
	for _, n := range announced().Nodes[:2] {
		r.Nodes = append(r.Nodes, BGPNode{n.Name, ipOf(n.Address) + ":2112", *n.Agent.BGP})
	}
	return r
}

// TestSessionsText has each line of `kvip status bgp`, and the problem that decides the exit code.
func TestSessionsText(t *testing.T) {
	for name, row := range map[string]struct {
		change  func(r *BGPReport)
		peer    string
		problem string
	}{
		"up": {func(*BGPReport) {}, "", ""},
		"down": {func(r *BGPReport) { r.Nodes[1].Sessions[1].lose() }, "",
			"node-b has no session with tor-b: the peer sent nothing for 9s"},
		"one-peer":          {func(*BGPReport) {}, "tor-b", ""},
		"peer-by-address":   {func(*BGPReport) {}, "10.0.0.253", ""},
		"another-peer-down": {func(r *BGPReport) { r.Nodes[1].Sessions[1].lose() }, "tor-a", ""},
		"unknown-peer": {func(*BGPReport) {}, "tor-x",
			`no node has the BGP peer "tor-x": there are tor-a, tor-b`},
		"no-peers": {func(r *BGPReport) { r.Nodes = r.Nodes[:1]; r.Nodes[0].Sessions = nil }, "",
			"no node has BGP peers"},
		"details": {func(r *BGPReport) {
			a, b := &r.Nodes[0].Sessions[0], &r.Nodes[0].Sessions[1]
			a.Refused, a.Unreachable, a.Invalid, a.BFD = 12, 2, 1, nil
			b.BFD.State, b.BFD.Diagnostic = "Down", "neighbor signaled session down"
			b.Since = bgpNow.Add(-75 * time.Hour)
			first := &r.Nodes[1].Sessions[0]
			*first = Session{Peer: "gateway", LocalAS: 65010, State: "Connect", Since: bgpNow,
				BFD: &BFD{State: "Down", Problem: "another program has UDP port 3784"}}
			r.Unreachable = []string{"10.0.0.3"}
		}, "", "node-a does not announce 12 routes to tor-a: the session is at its limit; node-a has " +
			"no BFD with tor-b: Down: neighbor signaled session down; node-b has no session with gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			r := sessions()
			row.change(&r)
			r.choose(row.peer)
			if !strings.Contains(r.Problem, row.problem) || (r.Problem == "") != (row.problem == "") {
				t.Errorf("problem %q, want %q", r.Problem, row.problem)
			}
			var b bytes.Buffer
			if err := r.WriteText(&b, bgpNow); err != nil {
				t.Fatal(err)
			}
			golden(t, "sessions-"+name+".txt", b.Bytes())
		})
	}
	if err := sessions().WriteText(full{}, bgpNow); err == nil {
		t.Error("no error from a full disk")
	}
}

// TestSessionsTextIsPrintable: control characters of routers are escaped.
func TestSessionsTextIsPrintable(t *testing.T) {
	var r BGPReport
	fill(reflect.ValueOf(&r).Elem(), "\x1b[2J\u202e\nline")
	var b bytes.Buffer
	if err := r.WriteText(&b, bgpNow); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if strings.ContainsFunc(strings.TrimSuffix(line, "\n"),
			func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("printed %q", line)
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Minute: "0s", 0: "0s", 1500 * time.Millisecond: "2s", 61 * time.Second: "1m1s",
		time.Hour: "1h0m", 2*time.Hour + 3*time.Minute: "2h3m", 47 * time.Hour: "47h0m",
		49 * time.Hour: "2d1h", 240 * time.Hour: "10d0h",
	} {
		if got := age(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
