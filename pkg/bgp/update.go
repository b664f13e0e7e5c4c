package bgp

import (
	"fmt"
	"net/netip"
	"slices"

	codec "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// encoder makes the UPDATEs of one established session.
type encoder struct {
	localAS  uint32
	agreed   agreed
	nextHops [families]netip.Addr // invalid: routes of the family cannot be announced
}

// encode returns the UPDATEs of changes. The first table of a session ends with the end of the RIB
// of each family.
func (e encoder) encode(c changes, first bool) ([]*codec.BGPMessage, error) {
	messages, err := e.withdraw(c.withdraw)
	if err != nil {
		return nil, err
	}
	announcements, err := e.announce(c.announce)
	if err != nil {
		return nil, err
	}
	messages = append(messages, announcements...)
	for f := range families {
		if first && e.agreed.Families[f] {
			messages = append(messages, e.endOfRIB(f))
		}
	}
	return messages, nil
}

// withdraw returns UPDATEs that withdraw prefixes.
func (e encoder) withdraw(prefixes []netip.Prefix) ([]*codec.BGPMessage, error) {
	var messages []*codec.BGPMessage
	for f := range families {
		of := slices.DeleteFunc(slices.Clone(prefixes), func(p netip.Prefix) bool {
			return FamilyOf(p.Addr()) != f
		})
		for chunk := range chunks(of, maxSize-minUpdate-mpOverhead, prefixSize) {
			m, err := e.withdrawal(f, chunk)
			if err != nil {
				return nil, err
			}
			messages = append(messages, m)
		}
	}
	return messages, nil
}

// withdrawal returns one UPDATE that withdraws prefixes. IPv4 is withdrawn as it was announced: in
// the message itself, or as a route with a next hop of IPv6 (RFC 8950 section 4).
func (e encoder) withdrawal(f Family, prefixes []netip.Prefix) (*codec.BGPMessage, error) {
	list, err := nlri(prefixes)
	if err != nil {
		return nil, err
	}
	if !e.multiprotocol(f) {
		return codec.NewBGPUpdateMessage(list, nil, nil), nil
	}
	attribute, err := codec.NewPathAttributeMpUnreachNLRI(f.wire(), list)
	if err != nil {
		return nil, fmt.Errorf("encode withdrawal: %w", err)
	}
	return codec.NewBGPUpdateMessage(nil, []codec.PathAttributeInterface{attribute}, nil), nil
}

// announce returns UPDATEs that announce routes: those with the same attributes together (B14), in
// the order of the first one of each set. Routes of the control plane share no UPDATE with others,
// which would come before its next ones (B10).
func (e encoder) announce(routes []Route) ([]*codec.BGPMessage, error) {
	type set struct {
		family       Family
		attributes   string
		controlPlane bool
	}
	var order []set
	members := map[set][]Route{}
	for _, r := range routes {
		s := set{r.family(), r.key(), r.ControlPlane}
		if members[s] == nil {
			order = append(order, s)
		}
		members[s] = append(members[s], r)
	}
	var messages []*codec.BGPMessage
	for _, s := range order {
		prefixes := make([]netip.Prefix, len(members[s]))
		for i, r := range members[s] {
			prefixes[i] = r.Prefix
		}
		attributes, size, err := e.attributes(members[s][0].Attributes)
		if err != nil {
			return nil, err
		}
		for chunk := range chunks(prefixes, maxSize-minUpdate-mpOverhead-size, prefixSize) {
			m, err := e.announcement(s.family, attributes, chunk)
			if err != nil {
				return nil, err
			}
			messages = append(messages, m)
		}
	}
	return messages, nil
}

// announcement returns one UPDATE that announces prefixes.
func (e encoder) announcement(f Family, attributes []codec.PathAttributeInterface,
	prefixes []netip.Prefix) (*codec.BGPMessage, error) {
	list, err := nlri(prefixes)
	if err != nil {
		return nil, err
	}
	attributes = slices.Clone(attributes)
	if !e.multiprotocol(f) {
		hop, err := codec.NewPathAttributeNextHop(e.nextHops[f])
		if err != nil {
			return nil, fmt.Errorf("encode next hop: %w", err)
		}
		return codec.NewBGPUpdateMessage(nil, append(attributes, hop), list), nil
	}
	hops := []netip.Addr{e.nextHops[f].WithZone("")}
	if hops[0].IsLinkLocalUnicast() { // RFC 2545 section 3
		hops = append(hops, hops[0])
	}
	reach, err := codec.NewPathAttributeMpReachNLRI(f.wire(), list, hops...)
	if err != nil {
		return nil, fmt.Errorf("encode routes: %w", err)
	}
	return codec.NewBGPUpdateMessage(nil, append(attributes, reach), nil), nil
}

// endOfRIB returns the UPDATE that ends the first table of a family (RFC 4724 section 2).
func (e encoder) endOfRIB(f Family) *codec.BGPMessage { return codec.NewEndOfRib(f.wire()) }

// carries reports whether routes of a family can be announced.
func (e encoder) carries(f Family) bool { return e.agreed.Families[f] && e.nextHops[f].IsValid() }

// multiprotocol reports whether routes of a family are in the attributes of RFC 4760.
func (e encoder) multiprotocol(f Family) bool {
	return f == IPv6 || e.nextHops[f].Is6()
}

// attributes returns the attributes of a route except for its next hop, and their size.
func (e encoder) attributes(a Attributes) (list []codec.PathAttributeInterface, size int,
	err error) {
	list = append(list, codec.NewPathAttributeOrigin(codec.BGP_ORIGIN_ATTR_TYPE_IGP),
		codec.NewPathAttributeAsPath(e.asPath(a)))
	if a.MED != nil {
		list = append(list, codec.NewPathAttributeMultiExitDisc(*a.MED))
	}
	if e.agreed.Internal {
		list = append(list, codec.NewPathAttributeLocalPref(localPref(a)))
	}
	communities := slices.Clone(a.Communities)
	if a.Worse && !slices.Contains(communities, GracefulShutdown) {
		communities = append(communities, GracefulShutdown)
		slices.Sort(communities)
	}
	if len(communities) > 0 {
		list = append(list, codec.NewPathAttributeCommunities(communities))
	}
	if len(a.LargeCommunities) > 0 {
		large := make([]*codec.LargeCommunity, len(a.LargeCommunities))
		for i, c := range a.LargeCommunities {
			large[i] = codec.NewLargeCommunity(c.Admin, c.Data1, c.Data2)
		}
		list = append(list, codec.NewPathAttributeLargeCommunities(large))
	}
	for _, attribute := range list {
		data, err := attribute.Serialize()
		if err != nil {
			return nil, 0, fmt.Errorf("encode attributes: %w", err)
		}
		size += len(data)
	}
	return list, size, nil
}

// asPath returns the AS path: empty for internal peers (RFC 4271 section 5.1.2).
func (e encoder) asPath(a Attributes) []codec.AsPathParamInterface {
	if e.agreed.Internal {
		return nil
	}
	times := 1 + a.Prepend
	if a.Worse {
		times += worsePrepend
	}
	if e.agreed.FourOctetAS {
		return []codec.AsPathParamInterface{codec.NewAs4PathParam(codec.BGP_ASPATH_ATTR_TYPE_SEQ,
			slices.Repeat([]uint32{e.localAS}, times))}
	}
	return []codec.AsPathParamInterface{codec.NewAsPathParam(codec.BGP_ASPATH_ATTR_TYPE_SEQ,
		slices.Repeat([]uint16{uint16(e.localAS)}, times))}
}

// localPref returns the LOCAL_PREF of a route.
func localPref(a Attributes) uint32 {
	switch {
	case a.Worse:
		return 0
	case a.LocalPref != nil:
		return *a.LocalPref
	}
	return defaultLocalPref
}

// mpOverhead is the size of an attribute of RFC 4760 without its prefixes, with two next hops.
const mpOverhead = 4 + 5 + 32

// prefixSize returns the size of a prefix in an UPDATE.
func prefixSize(p netip.Prefix) int { return 1 + (p.Bits()+7)/8 }

// nlri converts prefixes.
func nlri(prefixes []netip.Prefix) ([]codec.PathNLRI, error) {
	list := make([]codec.PathNLRI, len(prefixes))
	for i, p := range prefixes {
		entry, err := codec.NewIPAddrPrefix(p)
		if err != nil {
			return nil, fmt.Errorf("encode prefix %v: %w", p, err)
		}
		list[i] = codec.PathNLRI{NLRI: entry}
	}
	return list, nil
}

// chunks divides a list into parts whose sizes sum up to budget at most.
func chunks[T any](list []T, budget int, size func(T) int) func(yield func([]T) bool) {
	return func(yield func([]T) bool) {
		for begin := 0; begin < len(list); {
			end, sum := begin, 0
			for end < len(list) && (end == begin || sum+size(list[end]) <= budget) {
				sum += size(list[end])
				end++
			}
			if !yield(list[begin:end]) {
				return
			}
			begin = end
		}
	}
}

// nextHops returns the next hop of each family in a session from the address local: what is
// configured, local itself, or an address that linkAddress finds on its interface. IPv4 has one of
// IPv6 where both sides know that (RFC 8950) and the interface has no address of IPv4.
func nextHops(cfg PeerConfig, local netip.Addr, a agreed,
	linkAddress func(Family) netip.Addr) (hops [families]netip.Addr) {
	for f := range families {
		switch {
		case !a.Families[f]:
		case cfg.NextHops[f].IsValid():
			hops[f] = cfg.NextHops[f]
		case FamilyOf(local) == f:
			hops[f] = local
		default:
			hops[f] = linkAddress(f)
			if f == IPv4 && !hops[f].IsValid() && a.IPv4OverIPv6 {
				hops[f] = local
			}
		}
		if f == IPv4 && hops[f].Is6() && !a.IPv4OverIPv6 {
			hops[f] = netip.Addr{}
		}
	}
	return hops
}
