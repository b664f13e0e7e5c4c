package ipam

import (
	"net/netip"
	"slices"
)

// Reservation says why no Service may have an address, or only one that shares it.
type Reservation struct {
	// Holder is named in refusals, like "node w1"; that of the control plane may be left out.
	Holder string
	// Reason is that of refusals; empty: NodeAddress. The control plane's has none.
	Reason Reason
	// Owner is ControlPlane for the address of the control plane, which a Service may ask for and have if it
	// gives a share key (any) and none of its ports is among Ports. Empty: nobody gets the address; who has it
	// keeps it, and is told, as what nodes say of themselves must not take an address from a Service.
	Owner Owner
	// Ports are those that the control plane has at the address, like TCP 6443.
	Ports []Port
}

// Network is part of the cluster's own addresses: its Services or its pods.
type Network struct {
	Prefix netip.Prefix
	// Holder is named in refusals, like "the Services of the cluster".
	Holder string
}

// Reserved is what is no pool's to give, although a pool may contain it. To let Services share the control
// plane's address, put it into a pool.
type Reserved struct {
	Addresses map[netip.Addr]Reservation
	// Networks are refused to a Service that asks for an address which is in no pool (AnyPool).
	Networks []Network
}

// kept is why the holder of an address ought not to have it, although it stays.
func (r Reserved) kept(a netip.Addr) (clash, bool) {
	reservation, ok := r.Addresses[a]
	if !ok || reservation.Owner == ControlPlane {
		return clash{}, false
	}
	return reservation.objection(seat{}), true
}

// refuseOutsidePools says why t cannot have an address that is in no pool, although its request may name any
// (S9): kube-proxy serves the address that a status names on every node, whoever else has it.
func (p *plan) refuseOutsidePools(t *tenant, a netip.Addr) *Refusal {
	holder := ""
	if !Unicast(a) {
		holder = "no host, as it is a loopback, link-local, multicast or reserved one"
	}
	for _, n := range p.reserved.Networks {
		if n.Prefix.Contains(a) {
			holder = n.Holder
			break
		}
	}
	if holder == "" {
		return nil
	}
	no := refuse(AddressNotAllowed, "%s: %s belongs to %s: use another address", t.Fields.addresses(), a, holder)
	return &no
}

// reservedUnicast are unicast addresses that no host has (RFC 6890).
var reservedUnicast = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("240.0.0.0/4")}

// Unicast reports whether one host in a network may have a: it is not loopback, link-local, multicast,
// broadcast, unspecified or reserved.
func Unicast(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !slices.ContainsFunc(reservedUnicast, func(p netip.Prefix) bool { return p.Contains(a) })
}

// SubnetAddresses returns the addresses of an on-link prefix that hosts cannot use, each with its name: network
// and broadcast of IPv4, subnet-router anycast of IPv6 (RFC 4291). Prefixes of two addresses have none
// (RFC 3021, RFC 6164).
func SubnetAddresses(p netip.Prefix) map[netip.Addr]string {
	p = p.Masked()
	switch {
	case !p.IsValid() || p.Addr().BitLen()-p.Bits() < 2:
		return nil
	case p.Addr().Is4():
		return map[netip.Addr]string{p.Addr(): "network", lastOf(p): "broadcast"}
	}
	return map[netip.Addr]string{p.Addr(): "subnet-router anycast"}
}
