package cluster

import (
	"fmt"
	"io"
	"net/netip"
	"time"
)

// The addresses of every cluster. They are the same in each lab, so that certificates can be
// kept between runs; labs do not see each other.
var (
	VIP4 = netip.MustParseAddr("10.77.0.100")
	VIP6 = netip.MustParseAddr("fd6b:7669:7000::100")
)

// Port is where the API servers listen.
const Port = 6443

const (
	serviceNet  = "10.96.0.0/12" // kubeadm's default
	serviceIP   = "10.96.0.1"    // of the Service kubernetes
	serviceNet6 = "fd6b:7669:7100::/112"
)

// Config says how to start a cluster. The zero value is usable.
type Config struct {
	// API is how each node's API server is started; Node.API changes it later.
	API APIOptions
	// Binaries is the directory of etcd, kube-apiserver and kubeadm; empty: Binaries builds it.
	Binaries string
	// Workers is how many nodes there are beside those of the control plane: hosts without etcd and
	// API server, on which agents run.
	Workers int
	// Forward turns on IP forwarding in the nodes.
	Forward bool
	// Progress receives a line for each step; nil: none.
	Progress io.Writer
}

// APIOptions is what differs from the flags that kubeadm gives an API server.
type APIOptions struct {
	NoAnonymous bool // --anonymous-auth=false
	// NodeAddressOnly binds the server to the node's IPv4 address, so that it is not reached
	// at 127.0.0.1 and not at a VIP either.
	NodeAddressOnly bool
	ShutdownDelay   time.Duration // --shutdown-delay-duration
	OtherKey        bool          // ServiceAccount tokens are signed, and checked, with another key
	Audit           bool          // who asked for what, in Log("audit")
	DualStack       bool          // Services have addresses of both families; for the first start of a cluster
}

// nodeNames are the names of the nodes, in order.
func nodeNames() []string { return []string{"cp1", "cp2", "cp3"} }

// clientName is the host that is no node: where clients of the VIP are.
const clientName = "client"

// prefixes returns the own addresses of the n-th host, counted from 0.
func prefixes(n int) []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("10.77.0.%d/24", n+11)),
		netip.MustParsePrefix(fmt.Sprintf("fd6b:7669:7000::%d/64", n+11)),
	}
}
