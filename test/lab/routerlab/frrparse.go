package routerlab

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// frrNeighbor is an entry of `show bgp neighbors json`.
type frrNeighbor struct {
	BGPState               string `json:"bgpState"`
	BGPTimerUpMsec         int64  `json:"bgpTimerUpMsec"`
	LastResetDueTo         string `json:"lastResetDueTo"`
	LastNotificationReason string `json:"lastNotificationReason"`
	HostForeign            string `json:"hostForeign"`
	AddressFamilyInfo      map[string]struct {
		AcceptedPrefixCounter int `json:"acceptedPrefixCounter"`
	} `json:"addressFamilyInfo"`
	PeerBFDInfo *struct {
		Status string `json:"status"`
	} `json:"peerBfdInfo"`
}

func parseFRRSessions(out []byte) (all []SessionInfo, err error) {
	neighbors := map[string]json.RawMessage{}
	if err := json.Unmarshal(out, &neighbors); err != nil {
		return nil, fmt.Errorf("parse neighbors of FRR: %w", err)
	}
	for id, text := range neighbors {
		if !strings.HasPrefix(strings.TrimSpace(string(text)), "{") {
			continue // such as "vrfName"
		}
		var n frrNeighbor
		if err := json.Unmarshal(text, &n); err != nil {
			return nil, fmt.Errorf("parse neighbor %s of FRR: %w", id, err)
		}
		s := SessionInfo{id: id, Neighbor: addr(id), State: n.BGPState, LastError: n.LastResetDueTo}
		if s.State == "Clearing" { // routes of the last session are being deleted
			s.State = "Idle"
		}
		if !s.Neighbor.IsValid() {
			s.Neighbor = addr(n.HostForeign)
		}
		if n.LastNotificationReason != "" {
			s.LastError += ": " + n.LastNotificationReason
		}
		if s.State == Established {
			s.Uptime = time.Duration(n.BGPTimerUpMsec) * time.Millisecond
		}
		for _, family := range n.AddressFamilyInfo {
			s.Prefixes += family.AcceptedPrefixCounter
		}
		if n.PeerBFDInfo != nil {
			s.BFD = strings.ReplaceAll(n.PeerBFDInfo.Status, " ", "")
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b SessionInfo) int { return strings.Compare(a.id, b.id) })
	return all, nil
}

// frrPath is a path of `show bgp ipv4 unicast json detail`.
type frrPath struct {
	ASPath struct {
		Segments []struct {
			List []uint32 `json:"list"`
		} `json:"segments"`
	} `json:"aspath"`
	Metric         uint32                 `json:"metric"`
	LocPrf         uint32                 `json:"locPrf"`
	Valid          bool                   `json:"valid"`
	Stale          bool                   `json:"stale"`
	BestPath       struct{ Overall bool } `json:"bestpath"`
	Community      struct{ List []string }
	LargeCommunity struct{ List []string }  `json:"largeCommunity"`
	NextHops       []struct{ IP string }    `json:"nexthops"`
	Peer           *struct{ PeerID string } `json:"peer"`
}

func parseFRRRoutes(out []byte) (all []Route, err error) {
	var table struct {
		Routes map[netip.Prefix][]frrPath `json:"routes"`
	}
	if err := json.Unmarshal(out, &table); err != nil {
		return nil, fmt.Errorf("parse routes of FRR: %w", err)
	}
	for prefix, paths := range table.Routes {
		for _, p := range paths {
			if p.Peer != nil { // the first element describes the prefix
				all = append(all, p.route(prefix))
			}
		}
	}
	sortRoutes(all)
	return all, nil
}

func (p frrPath) route(prefix netip.Prefix) Route {
	r := Route{
		Prefix: prefix, Neighbor: addr(p.Peer.PeerID), LocalPref: p.LocPrf, MED: p.Metric,
		Communities: communities(p.Community.List), LargeCommunities: p.LargeCommunity.List,
		Stale: p.Stale, Best: p.BestPath.Overall,
	}
	if r.Neighbor.IsUnspecified() {
		r.Neighbor = netip.Addr{}
	}
	for _, segment := range p.ASPath.Segments {
		r.ASPath = append(r.ASPath, segment.List...)
	}
	for _, hop := range p.NextHops {
		r.NextHops = append(r.NextHops, addr(hop.IP))
	}
	return r
}

// sortRoutes orders routes by prefix and neighbor.
func sortRoutes(all []Route) {
	slices.SortFunc(all, func(a, b Route) int {
		if c := a.Prefix.Addr().Compare(b.Prefix.Addr()); c != 0 {
			return c
		}
		if c := a.Prefix.Bits() - b.Prefix.Bits(); c != 0 {
			return c
		}
		return a.Neighbor.Compare(b.Neighbor)
	})
}
