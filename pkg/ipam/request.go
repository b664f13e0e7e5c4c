package ipam

import (
	"cmp"
	"net/netip"
	"strconv"
)

// Owner names who has an address: "namespace/name" of a Service, or ControlPlane.
type Owner string

// ControlPlane owns the address of the control plane. No Service is called so, as their names have a slash.
const ControlPlane Owner = "control-plane"

// Family is an address family.
type Family uint8

// The families.
const (
	IPv4 Family = iota
	IPv6
)

// FamilyOf is the family of a, which must be valid.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// String is the name that people use, which is also that of the Kubernetes API.
func (f Family) String() string {
	if f == IPv4 {
		return "IPv4"
	}
	return "IPv6"
}

// Port is what two Services at one address must not have in common.
type Port struct {
	Protocol string // "TCP", "UDP" or "SCTP"
	Number   uint16
}

// String is the port as people write it, "TCP 443".
func (p Port) String() string { return p.Protocol + " " + strconv.Itoa(int(p.Number)) }

// Request is what one Service wants.
type Request struct {
	// Owner is unique among the requests; of two with the same, the first counts.
	Owner     Owner
	Namespace string
	// Families are one or two, the primary one first.
	Families []Family
	// Require gives a new Service an address of every family or none (RequireDualStack). Without it, it
	// gets those that there are (SingleStack, PreferDualStack).
	Require bool
	// Addresses are asked for, at most one of each family. For other families any address will do.
	Addresses []netip.Addr
	// Had are addresses that the Service's status names: it gets them again, if the ledger knows nothing of it
	// and they are free in a pool that it may use. They prove nothing, and are no claim.
	Had []netip.Addr
	// AnyPool grants Addresses that are in no pool (S9), unless they are in one of Reserved.Networks.
	AnyPool bool
	// Pool is asked for by name; empty: those that name the namespace, then those of all, by name. Pools
	// kept for manual use are not among these.
	Pool string
	// ShareKey lets Services with the same key have one address together if their ports differ. Empty: only
	// in a Shared pool.
	ShareKey string
	// Local is that of externalTrafficPolicy. Such a Service shares only with those that have the same pods.
	Local bool
	// Selector stands for the pods behind the Service, the same text for the same pods; empty: nobody knows.
	Selector string
	// Link is the name or pattern of the interfaces that it wants; empty: any. Who joins others must not want
	// other ones.
	Link  string
	Ports []Port
	// Invalid says that the Service could not be read, and why. It keeps what it has, and nobody new may
	// share that. Owner, Namespace and Ports must be given all the same.
	Invalid *Refusal
	// Fields are named in refusals.
	Fields Fields
}

// Fields are the places where a request was read, for people to find what to correct: "spec.loadBalancerIP"
// or "annotation NAME". Empty ones are described in words.
type Fields struct{ Addresses, Pool, ShareKey string }

func (f Fields) addresses() string { return cmp.Or(f.Addresses, "the address asked for") }
func (f Fields) pool() string      { return cmp.Or(f.Pool, "the pool asked for") }
func (f Fields) shareKey() string  { return cmp.Or(f.ShareKey, "the share key") }

// asked is the address of the family that is asked for; the zero Addr if any will do.
func (r *Request) asked(f Family) netip.Addr {
	for _, a := range r.Addresses {
		if FamilyOf(a) == f {
			return a
		}
	}
	return netip.Addr{}
}
