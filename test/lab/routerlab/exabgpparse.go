package routerlab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// exabgpState is what the reports of ExaBGP amount to.
type exabgpState struct {
	peers map[netip.Addr]*exabgpPeer
}

// exabgpPeer is a session with its routes.
type exabgpPeer struct {
	SessionInfo
	routes map[netip.Prefix]Route
}

// exabgpReport is a line that ExaBGP writes to a process.
type exabgpReport struct {
	Time     float64 `json:"time"` // in seconds since the epoch
	Type     string  `json:"type"`
	Neighbor struct {
		Address struct {
			Peer string `json:"peer"`
		} `json:"address"`
		State   string `json:"state"`
		Reason  string `json:"reason"`
		Message struct {
			Update exabgpUpdate `json:"update"`
		} `json:"message"`
	} `json:"neighbor"`
}

// exabgpUpdate has prefixes by family and, of those announced, by next hop.
type exabgpUpdate struct {
	Attribute struct {
		ASPath         []uint32    `json:"as-path"`
		MED            uint32      `json:"med"`
		LocalPref      uint32      `json:"local-preference"`
		Community      [][2]uint32 `json:"community"`
		LargeCommunity [][3]uint32 `json:"large-community"`
	} `json:"attribute"`
	Announce map[string]map[string][]exabgpNLRI `json:"announce"`
	Withdraw map[string][]exabgpNLRI            `json:"withdraw"`
}

type exabgpNLRI struct {
	NLRI string `json:"nlri"`
}

func newExaBGPState() *exabgpState {
	return &exabgpState{peers: map[netip.Addr]*exabgpPeer{}}
}

// session returns the session with a peer, which is Idle at first.
func (s *exabgpState) session(peer netip.Addr) *exabgpPeer {
	if s.peers[peer] == nil {
		s.peers[peer] = &exabgpPeer{routes: map[netip.Prefix]Route{},
			SessionInfo: SessionInfo{id: peer.String(), Neighbor: peer, State: "Idle"}}
	}
	return s.peers[peer]
}

// read applies reports. The last line may be incomplete.
func (s *exabgpState) read(text []byte) error {
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte("{")) || !bytes.HasSuffix(line, []byte("\n")) {
			continue
		}
		var report exabgpReport
		if err := json.Unmarshal(line, &report); err != nil {
			return fmt.Errorf("parse report of ExaBGP %q: %w", line, err)
		}
		peer := addr(report.Neighbor.Address.Peer)
		if !peer.IsValid() {
			continue
		}
		var err error
		switch report.Type {
		case "state":
			s.session(peer).change(report)
		case "update":
			err = s.session(peer).update(report.Neighbor.Message.Update)
		}
		if err != nil {
			return fmt.Errorf("parse report of ExaBGP %q: %w", line, err)
		}
	}
	return nil
}

// change applies a change of the state: connected, up or down.
func (p *exabgpPeer) change(report exabgpReport) {
	switch report.Neighbor.State {
	case "up":
		p.State = Established
		p.Uptime = time.Since(time.UnixMicro(int64(report.Time * 1e6)))
	case "connected":
		p.State = "OpenSent"
	default:
		p.State, p.Uptime, p.LastError = "Idle", 0, report.Neighbor.Reason
		clear(p.routes)
	}
}

func (p *exabgpPeer) update(u exabgpUpdate) error {
	for _, prefixes := range u.Withdraw {
		for _, n := range prefixes {
			prefix, err := netip.ParsePrefix(n.NLRI)
			if err != nil {
				return err
			}
			delete(p.routes, prefix)
		}
	}
	for _, byHop := range u.Announce {
		announced := map[netip.Prefix]Route{}
		for _, hop := range slices.Sorted(maps.Keys(byHop)) {
			for _, n := range byHop[hop] {
				prefix, err := netip.ParsePrefix(n.NLRI)
				if err != nil {
					return err
				}
				r, known := announced[prefix]
				if !known {
					r = u.route(prefix, p.Neighbor)
				}
				r.NextHops = append(r.NextHops, addr(hop))
				announced[prefix] = r
			}
		}
		maps.Copy(p.routes, announced)
	}
	return nil
}

// route has the attributes of an update.
func (u exabgpUpdate) route(prefix netip.Prefix, peer netip.Addr) Route {
	a := u.Attribute
	r := Route{Prefix: prefix, Neighbor: peer, ASPath: a.ASPath, LocalPref: a.LocalPref, MED: a.MED}
	for _, c := range a.Community {
		r.Communities = append(r.Communities, fmt.Sprintf("%d:%d", c[0], c[1]))
	}
	for _, c := range a.LargeCommunity {
		r.LargeCommunities = append(r.LargeCommunities, fmt.Sprintf("%d:%d:%d", c[0], c[1], c[2]))
	}
	return r
}

func (s *exabgpState) sessionList() (all []SessionInfo) {
	for _, p := range s.peers {
		p.Prefixes = len(p.routes)
		all = append(all, p.SessionInfo)
	}
	slices.SortFunc(all, func(a, b SessionInfo) int { return strings.Compare(a.id, b.id) })
	return all
}

// routeList returns the routes of all sessions. ExaBGP selects none, so that each is reported as
// the best one of its neighbor.
func (s *exabgpState) routeList() (all []Route) {
	for _, p := range s.peers {
		for _, r := range p.routes {
			r.Best = true
			all = append(all, r)
		}
	}
	sortRoutes(all)
	return all
}
