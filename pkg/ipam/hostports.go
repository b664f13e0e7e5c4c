package ipam

import "slices"

// hostPorts are TCP ports that control-plane hosts use themselves. A Service that shares the control plane's
// address gets none of them: its port there would take the place of the host's. Not every host
// uses all. The API's own port is in the Reservation.
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

// isHostPort reports whether control-plane hosts use the port themselves.
func isHostPort(p Port) bool {
	return p.Protocol == "TCP" && slices.Contains(hostPorts, p.Number)
}
