// Package servicelab runs the Services part in the lab: agents on the nodes of a test/lab/cluster,
// the objects that a cluster's other components would write (Nodes, EndpointSlices), Services and
// pools, and what a client on the same wire sees of it: who has an address, who answers ARP and
// neighbour solicitations for it, who answers a connection.
//
// It asserts nothing and imports no testing, so that benchmarks use it too: what to expect is for
// the stories in test/e2e/services. There is no kubelet and no kube-proxy: a Backend on a node
// stands for both.
package servicelab
