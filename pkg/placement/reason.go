package placement

import (
	"maps"
	"slices"
)

// Reason is why a node announces an address, or why it does not. Its text is stable: it is the
// reason in conditions, Events, logs and `kvip status`.
type Reason string

// Reasons for a node.
const (
	ReasonChosen   Reason = "Chosen"
	ReasonOnlyNode Reason = "OnlyNode"
	ReasonHolder   Reason = "HoldsControlPlaneVIP"
	ReasonRouted   Reason = "Routed"
)

// Reasons against a node. A Decision without a node has that of the node that came closest.
const (
	ReasonNotAlive        Reason = "NotAlive"
	ReasonNoLink          Reason = "NoLink"
	ReasonNoSubnet        Reason = "NoSubnet"
	ReasonNoLocalEndpoint Reason = "NoLocalEndpoint"
	ReasonTerminating     Reason = "EndpointTerminating"
	ReasonCordoned        Reason = "Cordoned"
	ReasonExcluded        Reason = "ExcludedByLabel"
	ReasonNotReady        Reason = "NodeNotReady"
	ReasonNoNetwork       Reason = "NetworkUnavailable"
	ReasonNotHolder       Reason = "NotHolder"
	ReasonInSubnet        Reason = "InSubnet"
)

// ReasonCannotCarry is also the reason of a Decision for a node, if no better one is left. That
// node puts the address on its link as soon as it can.
const ReasonCannotCarry Reason = "CannotCarry"

// Reasons for no node at all.
const (
	ReasonNoNode  Reason = "NoNode"
	ReasonNotHeld Reason = "NotHeld"
)

var sentences = map[Reason]string{
	ReasonChosen:   "it has the highest weight for this address among the eligible nodes",
	ReasonOnlyNode: "it is the only eligible node",
	ReasonHolder:   "it holds the control-plane VIP, which is the same address",
	ReasonRouted:   "every eligible node announces it to its routers",
	ReasonNotAlive: "the node does not renew its Lease: check that kvip runs there",
	ReasonNoLink: "the node has no usable link, or none that the Service or the node's " +
		"--services-interface allows",
	ReasonNoSubnet: "no usable link of the node is on a subnet that contains the address",
	ReasonNoLocalEndpoint: "externalTrafficPolicy is Local, and the node has no ready endpoint, " +
		"or none of an older Service at this address",
	ReasonTerminating: "its endpoints are terminating and another node has ready ones",
	ReasonCordoned:    "the node is cordoned and another one is eligible",
	ReasonExcluded: "the node is labelled node.kubernetes.io/exclude-from-external-load-balancers " +
		"and another one is eligible",
	ReasonNotReady:    "the Node's condition Ready is not true and another one is eligible",
	ReasonNoNetwork:   "the Node's condition NetworkUnavailable is true and another one is eligible",
	ReasonCannotCarry: "the node cannot carry the address",
	ReasonNotHolder:   "the address is the control-plane VIP, and the node does not hold it",
	ReasonInSubnet: "the address is in a network of the node, where neighbours would ask for it: " +
		"the addresses of a pool with announcement BGP must be outside of the nodes' networks",
	ReasonNoNode: "no node announces the addresses of Services: " +
		"check that kvip runs with --services",
	ReasonNotHeld: "the address is the control-plane VIP, and no node holds it now",
}

// Reasons returns every reason.
func Reasons() []Reason { return slices.Sorted(maps.Keys(sentences)) }

// Sentence explains r to people. It is empty for an unknown reason.
func (r Reason) Sentence() string { return sentences[r] }
