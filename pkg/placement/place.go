// Package placement chooses which node announces which address of a Service, and through which link. It is pure:
// nodes and addresses go in, decisions come out, and all nodes that see the same decide the same.
//
// Who is alive is judged by package members, which address a Service has by package ipam; putting it on the link and
// announcing it is not its job either. Nothing is remembered: rendezvous hashing gives each address an order of all nodes that
// does not depend on the others, so that an address moves only if its node may no longer announce it or a better one appears.
//
// A cordoned node is eligible only if no other is (rule S7), so a drain moves its addresses. So is one that is not ready, has
// no network yet, or says in its Lease that it cannot carry the address.
package placement

import "net/netip"

// Node may announce addresses. Names are unique.
type Node struct {
	Name     string
	Alive    bool
	Cordoned bool
	Excluded bool // labelled node.kubernetes.io/exclude-from-external-load-balancers
	// NotReady and NoNetwork are the Node's conditions Ready, when it is not true, and NetworkUnavailable.
	NotReady, NoNetwork bool
	// Unavailable is why the node can carry no address at present, and Failed why it cannot carry single ones.
	Unavailable         string
	FailedAddresses map[netip.Addr]string
	// Selected reports whether the node's configuration selects links: an address that names no link
	// goes to none but those.
	Selected bool
	Links    []Link // usable ones only: a link that is down is not listed
}

// Link of a node that can carry addresses.
type Link struct {
	Name string
	// Names are its other names.
	Names []string
	// Selected reports whether the node's configuration selects it for Services: then its subnets need not
	// contain the address. Where the node is not Selected, it is the link for addresses in no subnet.
	Selected bool
	// Subnets are what the link reaches without a gateway. A prefix of a single host is none: it may be
	// an address that is there because it is announced there.
	Subnets []netip.Prefix
}

// Readiness of the best endpoint that a Service has on a node.
type Readiness int

const (
	// Ready is an endpoint that is ready.
	Ready Readiness = iota + 1
	// ServingTerminating is one that shuts down and still serves. It counts where no node has a ready one,
	// as kube-proxy uses such endpoints where it has no other (KEP-1669).
	ServingTerminating
)

// Endpoints of one Service with externalTrafficPolicy Local, by node name. A node that is missing, or has
// the zero Readiness, serves nothing.
type Endpoints map[string]Readiness

// Address to be announced.
type Address struct {
	Addr netip.Addr
	// Local has one entry for each Service with externalTrafficPolicy Local that uses the address, the oldest
	// holder first. The node must serve one at least. A node that serves the older ones goes before one that
	// serves the newer: no Service takes the address away from those that had it before.
	Local []Endpoints
	// Cluster reports whether a Service with the other policy uses the address as well: every node serves it.
	Cluster bool
	// Link is empty, or the name or shell pattern ("eth*") of the links that may carry the address.
	// Then their subnets need not contain it.
	Link string
	// Host is empty, or the name of the only node that may announce it.
	Host string
	// Holder is nil, or the name of the node that holds the control-plane VIP which this address is, ""
	// if nobody does now. That election alone decides then.
	Holder *string
}

// Decision says where one address belongs.
type Decision struct {
	Node   string // "" if no node may announce it
	Link   string // of the node; "" only without a node, or where the holder of the control-plane VIP has no fitting one
	Reason Reason // why this node, or why none
}

// Announced reports whether the address is on the network: there is a node for it that can carry it.
func (d Decision) Announced() bool { return d.Node != "" && d.Reason != ReasonCannotCarry }

// Explanation is a Decision with what it was chosen from.
type Explanation struct {
	Decision
	Eligible []string          // nodes that could as well have got the address, sorted, with the chosen one
	Rejected map[string]Reason // why not, for each other node
}
