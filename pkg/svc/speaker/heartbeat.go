package speaker

import (
	"net"
	"slices"

	"github.com/kvip/kvip/pkg/heartbeat"
	"github.com/kvip/kvip/pkg/liveness"
	"github.com/kvip/kvip/pkg/svc"
)

// setHeartbeat passes this host's links on, and the nodes that are alive by their Leases (S10).
func (s *Speaker) setHeartbeat(view liveness.View) {
	if s.cfg.Heartbeat == nil {
		return
	}
	var links []heartbeat.Link
	for _, l := range s.host.info.Links {
		if n, ok := s.host.links[l.Name]; ok && len(l.Subnets) > 0 {
			links = append(links, heartbeat.Link{
				Link: n.Link, Subnets: l.Subnets, Addresses: n.Addresses,
			})
		}
	}
	var nodes []heartbeat.Node
	for _, l := range s.cfg.Cache.Leases() {
		_, alive := slices.BinarySearch(view.Alive, l.Info.Node)
		_, silent := slices.BinarySearch(view.Silent, l.Info.Node)
		if l.Role == svc.RoleNode && (alive || silent) && l.Info.Node != s.cfg.Node {
			nodes = append(nodes, heartbeatNode(l.Info))
		}
	}
	s.cfg.Heartbeat.Set(links, nodes)
}

// heartbeatNode returns what a node's Lease reports of it.
func heartbeatNode(info svc.NodeInfo) heartbeat.Node {
	n := heartbeat.Node{Name: info.Node, Addresses: info.Addresses}
	for _, l := range info.Links {
		if mac, err := net.ParseMAC(l.MAC); err == nil {
			n.MACs = append(n.MACs, mac)
		}
	}
	return n
}
