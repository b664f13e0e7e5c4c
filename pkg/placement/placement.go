// Package placement chooses which node announces which address of a Service, and on which link. It
// is pure: nodes and addresses go in, decisions come out, and all nodes with the same input decide
// alike.
//
// pkg/liveness detects which nodes are alive, pkg/ipam allocates addresses to Services, and
// pkg/svc/speaker acts on the decisions. Nothing is remembered: rendezvous hashing (Thaler and
// Ravishankar, 1998) gives each address an order of nodes that does not depend on the other
// addresses. An address moves only if its node may no longer announce it, or a better one appears.
//
// A cordoned node is eligible only if no other is (rule S7), so a drain moves its addresses. So is
// a node that is not ready, has no network yet, or publishes that it cannot carry the address.
package placement

import "net/netip"

// Node may announce addresses. Names are unique.
type Node struct {
	Name     string
	Alive    bool
	Cordoned bool
	// Excluded: labelled node.kubernetes.io/exclude-from-external-load-balancers.
	Excluded bool
	// NotReady: the Node's condition Ready is not true. NoNetwork: its condition
	// NetworkUnavailable is true.
	NotReady, NoNetwork bool
	// Unavailable is why the node can carry no address at present, FailedAddresses why it cannot
	// carry single ones.
	Unavailable     string
	FailedAddresses map[netip.Addr]string
	// Selected reports whether the node's configuration selects links: an address that names no
	// link goes only to those.
	Selected bool
	Links    []Link // usable ones
}

// Link of a node that can carry addresses.
type Link struct {
	Name  string
	Names []string // alternative names
	// Selected reports whether the node's configuration selects it for Services: then its
	// subnets need not contain the address. If the node is not Selected, it is the link for
	// addresses in no subnet.
	Selected bool
	// Subnets are on-link prefixes. A prefix of a single address is ignored: the address may be
	// there because it is announced there.
	Subnets []netip.Prefix
}

// Readiness of the best endpoint of a Service on a node. The zero value: there is no endpoint.
type Readiness int

const (
	// Ready: an endpoint is ready.
	Ready Readiness = iota + 1
	// ServingTerminating: an endpoint shuts down and still serves. It counts if no node has a
	// ready one, as kube-proxy uses such endpoints if there is no other (KEP-1669).
	ServingTerminating
)

// Endpoints of one Service with externalTrafficPolicy Local, by node name.
type Endpoints map[string]Readiness

// Address to be announced.
type Address struct {
	Addr netip.Addr
	// Local has an entry for each Service with externalTrafficPolicy Local at the address, the
	// oldest first. The node must serve at least one. A node that serves older ones goes before
	// one that serves newer ones: no Service takes the address away from earlier ones.
	Local []Endpoints
	// Cluster reports whether a Service with the other policy uses the address, too: every node
	// serves it.
	Cluster bool
	// Link is empty, or the name or shell pattern ("eth*") of the links that may carry the
	// address. Their subnets need not contain it.
	Link string
	// Holder is nil, or the name of the node that holds the control-plane VIP that the address
	// is, "" if no node does. Then only that election decides.
	Holder *string
	// Routed reports whether routes lead to the address, and no neighbour asks for it: then all
	// eligible nodes serve it (B5), on their loopback interfaces. Link is ignored.
	Routed bool
}

// Decision is where one address belongs.
type Decision struct {
	Node string // "" if no node may announce the address
	// Link is a link of the node, "" without a node, or if the holder of the control-plane VIP
	// has no fitting link.
	Link   string
	Reason Reason // why this node, or why none
	// Routed: Servers are the nodes that serve the address, by name. Node is the first that serves
	// it well.
	Routed  bool
	Servers []Server
}

// Announced reports whether the address is on the network: a node has it and can carry it.
func (d Decision) Announced() bool { return d.Node != "" && d.Reason != ReasonCannotCarry }

// Explanation is a Decision with the reasons for all nodes.
type Explanation struct {
	Decision
	Eligible []string          // nodes that hashing chose from, sorted
	Rejected map[string]Reason // of each other node
}
