package ipam

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/kvip/kvip/pkg/netaddr"
)

// ServiceKey is the "namespace/name" of a Service, or ControlPlane.
type ServiceKey string

// ControlPlane owns the VIP. Names of Services have a slash, so none of them is equal to it.
const ControlPlane ServiceKey = "control-plane"

// Family is an address family.
type Family uint8

// The families.
const (
	IPv4 Family = iota
	IPv6
)

// FamilyOf returns the family of a, which must be valid.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// String returns the family's name in the Kubernetes API.
func (f Family) String() string {
	if f == IPv4 {
		return "IPv4"
	}
	return "IPv6"
}

// Port is a port of a Service. Services that share an address have no port in common.
type Port struct {
	Protocol string // "TCP", "UDP" or "SCTP"
	Number   uint16
}

// String returns the port for people: "TCP 443".
func (p Port) String() string { return p.Protocol + " " + strconv.Itoa(int(p.Number)) }

// sorted returns ports in order, each once.
func sorted(ports []Port) []Port {
	return slices.Compact(slices.SortedFunc(slices.Values(ports), func(a, b Port) int {
		return cmp.Or(strings.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Number, b.Number))
	}))
}

// Request is what one Service requests.
type Request struct {
	// Service is unique among the requests. Of several with one key, the first counts.
	Service   ServiceKey
	Namespace string
	// Families are one or two, the primary one first.
	Families []Family
	// Require gives a new Service an address of every family or none (RequireDualStack). Without it,
	// the Service gets those that are available (SingleStack, PreferDualStack).
	Require bool
	// Addresses are requested, at most one of each family. In a family without one, the Service gets
	// any address.
	Addresses []netip.Addr
	// Previous are the addresses in the Service's status. The Service gets them again if the ledger
	// has no entry for it, and they are free in a pool that it may use. They are a hint, not a
	// reservation.
	Previous []netip.Addr
	// AnyPool allows Addresses that are in no pool (S9), except those of Reserved.Networks.
	AnyPool bool
	// Pool is the requested pool. Empty means the pools of the namespace, then the global ones, each
	// by name, without those for manual use.
	Pool string
	// ShareKey lets Services with the same key share an address if their ports differ. Without it,
	// they share only addresses of a Shared pool.
	ShareKey string
	// Local is externalTrafficPolicy: Local. Such a Service shares only with Services of the same
	// pods.
	Local bool
	// Selector identifies the pods of the Service: the same text for the same pods. Empty means
	// unknown.
	Selector string
	// Link is the name or pattern of the requested interfaces. Empty means any. A Service that joins
	// others at an address must not request other interfaces.
	Link  string
	Ports []Port
	// Invalid is set if the Service could not be read. It keeps what it has, and no other Service may
	// join it. Service, Namespace and Ports must be set.
	Invalid *Refusal
	// Fields appear in refusals.
	Fields Fields
}

// requested returns the requested address of the family; the zero Addr means any.
func (r *Request) requested(f Family) netip.Addr {
	for _, a := range r.Addresses {
		if FamilyOf(a) == f {
			return a
		}
	}
	return netip.Addr{}
}

// validate returns why the request as a whole cannot be granted, or nil.
func (r *Request) validate() *Refusal {
	switch families := len(r.Families); {
	case r.Invalid != nil:
		return r.Invalid
	case families == 0 || families > 2 || families == 2 && r.Families[0] == r.Families[1]:
		return refuse(Malformed, "the families are %v: set IPv4, IPv6 or both in spec.ipFamilies",
			r.Families)
	}
	field := r.Fields.addresses()
	for i, a := range r.Addresses {
		if !netaddr.Canonical(a) {
			return refuse(Malformed, "%s: %s is not a plain IPv4 or IPv6 address: "+
				"write it without a zone, and IPv4 as such", field, a)
		}
		switch f := FamilyOf(a); {
		case !slices.Contains(r.Families, f):
			return refuse(WrongFamily, "%s: %s is %s, which is not a family of the Service: "+
				"correct the address or spec.ipFamilies", field, a, f)
		case r.requested(f) != a || slices.Contains(r.Addresses[:i], a):
			return refuse(Malformed, "%s: %s is the second %s address: "+
				"request at most one of each family", field, a, f)
		}
	}
	return nil
}

// Fields are the places of a request's parts, such as "spec.loadBalancerIP" or "annotation NAME",
// so that a refusal names what to correct. Empty ones are described in words.
type Fields struct{ Addresses, Pool, ShareKey string }

func (f Fields) addresses() string { return cmp.Or(f.Addresses, "the requested address") }
func (f Fields) pool() string      { return cmp.Or(f.Pool, "the requested pool") }
func (f Fields) shareKey() string  { return cmp.Or(f.ShareKey, "the share key") }

// Bounds of one address in the ledger, whatever users write: its entry must fit into one Lease.
const (
	// MaxSharers is how many Services may share one address.
	MaxSharers = 256
	// MaxPorts is how many ports these may have in total.
	MaxPorts = 1000
	// maxShareKey is the longest share key that is recorded as it is, in bytes.
	maxShareKey = 63
)

// ShareKey returns a share key as the ledger records it. A hash replaces a key that is long or has
// other characters than names. Equal texts give equal keys.
func ShareKey(text string) string {
	if len(text) <= maxShareKey && !strings.ContainsFunc(text, func(c rune) bool {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		return !letter && !(c >= '0' && c <= '9') && !strings.ContainsRune("-_.:/", c)
	}) {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:16])
}

// terms decide, with key and ports, whether Services can share an address: one placement must suit
// all of them.
type terms struct {
	local          bool
	selector, link string
}

func (r *Request) terms() terms {
	return terms{local: r.Local, selector: r.Selector, link: ShareKey(r.Link)}
}

// String returns the terms as the ledger records them, so that a later Plan knows which Service
// changed.
func (t terms) String() string {
	policy := "Cluster"
	if t.local {
		policy = "Local"
	}
	return policy + "/" + t.selector + "/" + t.link
}

// compatible reports whether every node that can serve one can serve the other: policy Local needs
// the same pods, else the endpoints of one Service would keep the address from the other's nodes.
func (t terms) compatible(other terms) bool {
	return !t.local && !other.local || t.selector == other.selector && t.selector != ""
}
