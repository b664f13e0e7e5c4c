package kubeadm

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// Request is what a configuration is to be made fit for.
type Request struct {
	// VIPs are the virtual addresses, the first of them the endpoint. Empty: the file names one.
	VIPs []netip.Addr
	// Port of the API servers. 0: what the file says, else 6443.
	Port int
	// Resolve looks up a DNS name that the file has as endpoint. Nil: names are taken as they are.
	Resolve func(name string) ([]netip.Addr, error)
	// Host are the addresses of this host. Nil: it is not compared with the VIPs.
	Host []Address
}

// Address is one address of this host.
type Address struct {
	// Prefix is the address, not masked, with its prefix length.
	Prefix netip.Prefix
	// Link is the name of the link that has it.
	Link string
	// Managed says that kvip put it there.
	Managed bool
}

// Plan is what Init and Join found and made.
type Plan struct {
	// VIPs and Port are for the manifest.
	VIPs []netip.Addr
	Port int
	// Endpoint is host and port as clients of the cluster use them.
	Endpoint string
	// Data is the configuration to give to kubeadm.
	Data []byte
	// ControlPlane says that the node gets an API server, so that kvip belongs there.
	ControlPlane bool
	// ImageRepository is where the cluster's own images come from; empty: kubeadm's default.
	ImageRepository string
	// DiscoveryFile is the path of a kubeconfig by which `kubeadm join` finds the cluster, or empty.
	DiscoveryFile string
	// Patches is the directory of patches that kubeadm applies to the static pods, or empty. CheckPatch
	// says whether those of the API server leave the VIP usable.
	Patches string
	// Notes are sentences for the user about what was not checked or not changed.
	Notes []string
}

// join writes an address and a port as kubeadm and URLs want them.
func join(a netip.Addr, port int) string { return net.JoinHostPort(a.String(), strconv.Itoa(port)) }

func texts(addrs []netip.Addr) []string {
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return all
}

// missing returns the addresses that no name in the list spells.
func missing(vips []netip.Addr, names []string) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(vips), func(v netip.Addr) bool {
		return slices.ContainsFunc(names, func(name string) bool { a, err := netip.ParseAddr(name); return err == nil && a.Unmap() == v })
	})
}

// conflict returns a *Conflict about a field of a document; d may be nil.
func (f *File) conflict(d *document, field, value string, reason Reason, problem, fix string) error {
	c := &Conflict{Reason: reason, File: f.name, Field: field, Value: value, Problem: problem, Fix: fix}
	if d != nil {
		c.Field, c.Line = fmt.Sprintf("%s.%s", d.kind, field), d.find(field)
	}
	return c
}
