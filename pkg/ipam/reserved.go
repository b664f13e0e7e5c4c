package ipam

import (
	"cmp"
	"net/netip"
	"slices"
)

// Reservation is why no Service may have an address, or may only share it.
type Reservation struct {
	// UsedBy appears in refusals, such as "node w1". It is optional for the control plane.
	UsedBy string
	// Reason is that of refusals. Empty means NodeAddress. The control plane's has none.
	Reason Reason
	// Service is ControlPlane for the VIP. A Service may request and share it if it has any share key
	// and none of its ports is among Ports or hostPorts, except those that the ledger records. Empty:
	// no Service gets the address. A Service that has it keeps it, with a warning, since what nodes
	// report must not take an address from a Service.
	Service ServiceKey
	// Ports are those of the control plane at the address, such as TCP 6443.
	Ports []Port
}

// check returns what prevents a sharer at the reserved address.
func (r Reservation) check(s sharer) conflict {
	vip := cmp.Or(r.UsedBy, string(ControlPlane))
	switch {
	case r.Service != ControlPlane:
		return conflict{reason: cmp.Or(r.Reason, NodeAddress), usedBy: r.UsedBy}
	case s.key == "":
		return conflict{reason: AddressTaken, usedBy: vip, anyKey: true}
	case !s.unchanged && len(s.ports)+len(r.Ports) > MaxPorts:
		return conflict{reason: LimitExceeded, usedBy: vip}
	}
	for _, port := range s.ports {
		if slices.Contains(r.Ports, port) {
			return conflict{reason: PortConflict, usedBy: vip, port: port}
		}
		if isHostPort(port) && !slices.Contains(s.recorded.Ports, port) {
			return conflict{reason: PortConflict, usedBy: "the hosts of the control plane", port: port}
		}
	}
	return conflict{}
}

// Network is a part of the cluster's own addresses: of its Services or its pods.
type Network struct {
	Prefix netip.Prefix
	// UsedBy appears in refusals, such as "the Services of the cluster".
	UsedBy string
}

// Reserved are addresses that pools may contain and do not allocate. A pool that contains the VIP
// lets Services share it.
type Reserved struct {
	Addresses map[netip.Addr]Reservation
	// Networks are refused to a Service that requests an address which is in no pool (AnyPool).
	Networks []Network
}

// warning returns why the Service at an address should move, although it may stay.
func (r Reserved) warning(a netip.Addr) (conflict, bool) {
	reservation, ok := r.Addresses[a]
	if !ok || reservation.Service == ControlPlane {
		return conflict{}, false
	}
	return reservation.check(sharer{}), true
}

// hostPorts are TCP ports that control-plane hosts use. A Service that shares the VIP gets none of
// them, since its port would replace the host's there. Not every host uses all of them. The port of
// the API is in the Reservation.
var hostPorts = []uint16{
	22,         // SSH: the way to repair the host
	2112, 2113, // kvip: metrics and health of its static pod
	2114, 2117, // kvip: the same of its DaemonSet
	2115, 2116, // kvip: the same of its agents for Services
	2379, 2380, 2381, // etcd: clients, peers, metrics
	9345,         // RKE2 supervisor: nodes join there
	10248, 10250, // kubelet: health, API
	10249, 10256, // kube-proxy: metrics, health
	10257, 10259, // kube-controller-manager, kube-scheduler
	50000, 50001, // Talos: apid, trustd
}

// isHostPort reports whether control-plane hosts use the port.
func isHostPort(p Port) bool {
	return p.Protocol == "TCP" && slices.Contains(hostPorts, p.Number)
}
