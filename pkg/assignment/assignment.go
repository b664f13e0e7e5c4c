// Package assignment has the one type that stands for an address on its way through a node: from
// the placement decision to the kernel, the packet filter and the announcer. It decides and does
// nothing.
package assignment

import (
	"net/netip"

	"github.com/kvip/kvip/pkg/link"
)

// State is what a node does with an address.
type State uint8

// States of an Assignment.
const (
	// Announced: the node has the address on its link and announces it.
	Announced State = iota + 1
	// Silent: the node has the address on its link and does not announce it, as its owner is in
	// doubt: just after a restart, or until another node has taken over.
	Silent
)

// String returns the state as logs and reports show it.
func (s State) String() string {
	switch s {
	case Announced:
		return "announced"
	case Silent:
		return "silent"
	}
	return "unknown"
}

// Port is one port that clients may reach at an address.
type Port struct {
	Protocol string // TCP, UDP or SCTP, as Kubernetes writes it
	Port     uint16 // never 0
}

// Assignment is an address that this node has, and all that kernel, filter and announcer need to
// know of it.
type Assignment struct {
	Addr netip.Addr
	// Services that use the address, as "namespace/name", the oldest first. Empty for the control
	// plane's virtual IP.
	Services []string
	// Ports that the packet filter lets through. Everything else from outside is refused.
	Ports []Port
	// Link that carries the address. The zero Link means that none does at present.
	Link link.Link
	// State is what the node does with the address.
	State State
}
