package bgp

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Family is an address family of unicast routes.
type Family uint8

// The families.
const (
	IPv4 Family = iota
	IPv6
	families // how many there are
)

// String returns "ipv4" or "ipv6".
func (f Family) String() string {
	if f == IPv6 {
		return "ipv6"
	}
	return "ipv4"
}

// FamilyOf returns the family of an address.
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// LargeCommunity is a large community (RFC 8092).
type LargeCommunity struct {
	Admin, Data1, Data2 uint32
}

// Compare orders large communities by their values.
func (c LargeCommunity) Compare(other LargeCommunity) int {
	return cmp.Or(cmp.Compare(c.Admin, other.Admin), cmp.Compare(c.Data1, other.Data1),
		cmp.Compare(c.Data2, other.Data2))
}

// GracefulShutdown is the well-known community of a path that is about to go: a router that knows
// it uses any other path (RFC 8326 section 4).
const GracefulShutdown uint32 = 0xffff0000

// Attributes are what a peer receives with a prefix. The zero value is a plain path.
type Attributes struct {
	// Worse makes every other path win against this one (B5): it has the community of a graceful
	// shutdown, for external peers three more times the own AS, and for internal ones LOCAL_PREF 0.
	Worse bool
	// Prepend is how often the own AS stands in the AS path of external peers beyond the one time
	// that every path has, at most MaxPrepend. Internal peers would take it for a loop.
	Prepend int
	// LocalPref is the LOCAL_PREF that internal peers receive; nil means 100. External peers do not
	// receive it (RFC 4271 section 5.1.5).
	LocalPref *uint32
	// MED is the MULTI_EXIT_DISC. Nil means none.
	MED *uint32
	// Communities in ascending order.
	Communities []uint32
	// LargeCommunities in ascending order.
	LargeCommunities []LargeCommunity
}

// Limits of Attributes, so that an UPDATE has room for prefixes.
const (
	MaxPrepend     = 10
	MaxCommunities = 64 // of each kind
)

const (
	worsePrepend     = 3
	defaultLocalPref = 100
)

// key returns a text that is the same for equal attributes.
func (a Attributes) key() string {
	b := make([]byte, 0, 16+4*len(a.Communities)+12*len(a.LargeCommunities))
	b = append(b, byte(a.Prepend), 0)
	if a.Worse {
		b[1] = 1
	}
	for _, optional := range []*uint32{a.LocalPref, a.MED} {
		if optional == nil {
			b = append(b, 0)
			continue
		}
		b = binary.BigEndian.AppendUint32(append(b, 1), *optional)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(a.Communities)))
	for _, c := range a.Communities {
		b = binary.BigEndian.AppendUint32(b, c)
	}
	for _, c := range a.LargeCommunities {
		b = binary.BigEndian.AppendUint32(b, c.Admin)
		b = binary.BigEndian.AppendUint32(b, c.Data1)
		b = binary.BigEndian.AppendUint32(b, c.Data2)
	}
	return string(b)
}

// Route is a prefix that is announced.
type Route struct {
	Prefix netip.Prefix
	Attributes
	// ControlPlane marks a route of the control plane: it is sent first, and always fits into the
	// limit of a session (B10).
	ControlPlane bool
}

// family returns the family of the route's prefix.
func (r Route) family() Family { return FamilyOf(r.Prefix.Addr()) }

// Validate returns an error if no UPDATE can carry the route, or if its Attributes exceed their
// limits. A Speaker does not announce such a route.
func (r Route) Validate() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("announce %v: %w", r.Prefix, fmt.Errorf(format, args...))
	}
	switch {
	case !r.Prefix.IsValid() || r.Prefix.Addr().Is4In6() || r.Prefix != r.Prefix.Masked():
		return fail("want a prefix without host bits")
	case r.Prepend < 0 || r.Prepend > MaxPrepend:
		return fail("AS path with %d more ASes: want 0 to %d", r.Prepend, MaxPrepend)
	case len(r.Communities) > MaxCommunities || len(r.LargeCommunities) > MaxCommunities:
		return fail("there are more than %d communities", MaxCommunities)
	}
	return nil
}
