package status

import (
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/bfd"
	"github.com/kvip/kvip/pkg/bgp"
)

// AnnounceBGP is Report.Announce of a cluster whose VIPs are announced by BGP.
const AnnounceBGP = "bgp"

// BGP is what an agent does by BGP.
type BGP struct {
	// Announcement is what this node does with the VIPs, one of the states below: the agent's State.
	// Empty: it does not announce VIPs by BGP, but Services alone.
	Announcement string `json:"announcement,omitempty"`
	// Sessions are those that the agent has or tries to open, by peer.
	Sessions []Session `json:"sessions"`
}

// States of Announcement that routers see.
const (
	stateAnnouncing = "announcing"
	stateWorse      = "worse"
)

// Session is the session to one peer.
type Session struct {
	Peer string `json:"peer"`
	// Address is that of the peer; empty while it is not found. Local is the own one.
	Address string `json:"address,omitempty"`
	Local   string `json:"local,omitempty"`
	LocalAS uint32 `json:"localAS"`
	// PeerAS is 0 before the first session.
	PeerAS uint32 `json:"peerAS,omitempty"`
	// State is one of RFC 4271 section 8.2.2. Since is when it changed the last time.
	State string    `json:"state"`
	Since time.Time `json:"since"`
	// Reason is why there is no session, in words. Code is a stable code for it.
	Reason string `json:"reason,omitempty"`
	Code   string `json:"code,omitempty"`
	// HoldTime is the negotiated one, 0 without a session.
	HoldTime time.Duration `json:"holdTimeNanoseconds,omitempty"`
	// Families are those that the session carries.
	Families []SessionFamily `json:"families,omitempty"`
	// Refused counts routes beyond the limit of the session (B10). Unreachable counts those that it
	// does not carry, or has no next hop for. Invalid counts those that are not valid.
	Refused     int `json:"refused,omitempty"`
	Unreachable int `json:"unreachable,omitempty"`
	Invalid     int `json:"invalid,omitempty"`
	// UpdatesSent, UpdatesIgnored and Established count since the start of the agent.
	UpdatesSent    uint64 `json:"updatesSent"`
	UpdatesIgnored uint64 `json:"updatesIgnored"`
	Established    uint64 `json:"established"`
	// BFD is nil if the path is not watched.
	BFD *BFD `json:"bfd,omitempty"`
}

// SessionFamily is one family of a session.
type SessionFamily struct {
	Family  string `json:"family"` // IPv4 or IPv6
	NextHop string `json:"nextHop,omitempty"`
	Routes  int    `json:"routes"`
}

// BFD is the BFD session with a peer.
type BFD struct {
	// State is one of RFC 5880 section 4.1, Diagnostic why it changed. Since is when.
	State      string    `json:"state"`
	Diagnostic string    `json:"diagnostic,omitempty"`
	Since      time.Time `json:"since"`
	// RemoteState is that of the peer. LastDown is why the session left Up last.
	RemoteState string `json:"remoteState"`
	LastDown    string `json:"lastDown,omitempty"`
	// Problem is why no packets can be sent or received.
	Problem string `json:"problem,omitempty"`
	// TransmitInterval, ReceiveInterval and DetectionTime are the negotiated ones, 0 if unknown.
	TransmitInterval time.Duration `json:"transmitIntervalNanoseconds,omitempty"`
	ReceiveInterval  time.Duration `json:"receiveIntervalNanoseconds,omitempty"`
	DetectionTime    time.Duration `json:"detectionTimeNanoseconds,omitempty"`
	// Detections counts how often the peer became silent, since the start of the agent.
	Detections uint64 `json:"detections"`
}

// established reports whether the peer has the routes.
func (s Session) established() bool { return s.State == bgp.Established.String() }

// routes returns how many routes of a family the peer has.
func (s Session) routes(family string) int {
	for _, f := range s.Families {
		if f.Family == family {
			return f.Routes
		}
	}
	return 0
}

// Instant is one instant by two clocks.
type Instant struct {
	Boot time.Duration // since boot
	Wall time.Time
}

// time returns when an earlier instant since boot was.
func (i Instant) time(boot time.Duration) time.Time { return i.Wall.Add(boot - i.Boot) }

// NewBGP returns what an agent shows of its sessions now.
func NewBGP(list []bgp.Status, now Instant) *BGP {
	b := &BGP{Sessions: make([]Session, len(list))}
	for i, s := range list {
		b.Sessions[i] = Session{
			Peer: s.Name, Address: text(s.Address), Local: text(s.Local), LocalAS: s.LocalAS,
			PeerAS: s.PeerAS, State: s.State.String(), Since: now.time(s.Since), Reason: s.Reason,
			Code: string(s.Code), HoldTime: s.HoldTime, Families: sessionFamilies(s), Refused: s.Refused,
			Unreachable: s.Unreachable, Invalid: s.Invalid, UpdatesSent: s.UpdatesSent,
			UpdatesIgnored: s.UpdatesIgnored, Established: s.Sessions, BFD: newBFD(s.BFD, now),
		}
	}
	return b
}

// text returns an address, "" for the invalid one.
func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// FamilyName returns the name of a family in texts and objects, as "IPv4".
func FamilyName(f bgp.Family) string {
	if f == bgp.IPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// sessionFamilies returns the families for which a session has a next hop or routes.
func sessionFamilies(s bgp.Status) (list []SessionFamily) {
	for _, f := range []bgp.Family{bgp.IPv4, bgp.IPv6} {
		if s.NextHops[f].IsValid() || s.Routes[f] > 0 {
			list = append(list, SessionFamily{
				Family: FamilyName(f), NextHop: text(s.NextHops[f]), Routes: s.Routes[f],
			})
		}
	}
	return list
}

// newBFD returns what an agent shows of a BFD session, nil without one.
func newBFD(s *bfd.Status, now Instant) *BFD {
	if s == nil {
		return nil
	}
	b := &BFD{
		State: s.State.String(), Since: now.time(s.Since), RemoteState: s.Remote.State.String(),
		LastDown: s.LastDown, Problem: s.Problem, TransmitInterval: s.TransmitInterval,
		ReceiveInterval: ReceiveInterval(*s), DetectionTime: s.DetectionTime, Detections: s.Detections,
	}
	if s.Diagnostic != bfd.NoDiagnostic {
		b.Diagnostic = s.Diagnostic.String()
	}
	return b
}

// ReceiveInterval returns the negotiated interval of the peer's packets, 0 while it is unknown: the
// Detection Time is a multiple of it (RFC 5880 section 6.8.4).
func ReceiveInterval(s bfd.Status) time.Duration {
	if s.Remote.Multiplier < 1 {
		return 0
	}
	return s.DetectionTime / time.Duration(s.Remote.Multiplier)
}

// byBGP reports whether the agent announces the VIPs by BGP.
func (a *Agent) byBGP() bool { return a != nil && a.BGP != nil && a.BGP.Announcement != "" }

// announces reports whether routers may use the route of the agent's node.
func (a *Agent) announces() bool {
	return a.byBGP() && (a.BGP.Announcement == stateAnnouncing || a.BGP.Announcement == stateWorse)
}

// up counts the sessions that are established.
func (b *BGP) up() (n int) {
	for _, s := range b.Sessions {
		if s.established() {
			n++
		}
	}
	return n
}

// up reports whether BFD sees the path.
func (b *BFD) up() bool { return b.State == bfd.Up.String() }
