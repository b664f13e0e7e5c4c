package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/link"
	"golang.org/x/sys/unix"
)

// plan is what a listing of this host and the wanted addresses lead to.
type plan struct {
	held    []Change // as they should be; Valid is the lifetime left
	clear   []Change // deletions of what is not wanted, and of what a write would not put right
	write   []Change
	moved   map[netip.Addr][]Change // deletions from other links, once the write was done
	refused []error                 // *AddressError
}

// newPlan compares. It reads the listing once, as it may have thousands of addresses, and so
// may want.
func newPlan(host []link.HostAddr, want []Address, valid time.Duration) plan {
	s := survey(host)
	p := plan{moved: map[netip.Addr][]Change{}}
	granted := make(map[netip.Addr]bool, len(want))
	for _, a := range want {
		a.VIP = a.VIP.Unmap()
		err := wantable(a)
		if err == nil && granted[a.VIP] {
			err = errors.New("it is wanted twice")
		}
		if err == nil {
			err = s.foreign(a)
		}
		if err != nil {
			p.refused = append(p.refused, &AddressError{a, err})
			continue
		}
		granted[a.VIP] = true
		p.place(s, a, valid)
	}
	for _, h := range host {
		if a := addressOf(h); isService(h) && !granted[a.VIP] {
			p.clear = append(p.clear, Change{Address: a})
		}
	}
	return p
}

func wantable(a Address) error {
	switch {
	case !a.VIP.IsValid() || a.VIP.Zone() != "" || a.VIP.IsUnspecified() || a.VIP.IsMulticast() || a.VIP.IsLoopback():
		return errors.New("it is no unicast address without a zone")
	case a.LinkIndex <= 0:
		return errors.New("no link is named")
	}
	return nil
}

// place makes the kernel have one wanted address as E10 says.
func (p *plan) place(s sighted, a Address, valid time.Duration) {
	c := Change{Address: a, Valid: valid, Scope: s.scope(a), New: true}
	held := false
	for _, at := range s.at[a.VIP] {
		h := s.host[at]
		there := Change{Address: addressOf(h)}
		switch {
		case harmless(h, a):
			continue // it is kube-proxy's
		case h.Index != a.LinkIndex:
			p.moved[a.VIP] = append(p.moved[a.VIP], there)
		case malformed(h, c.Scope), a.VIP.Is4() && at < s.lastOwn[a.LinkIndex]:
			p.clear = append(p.clear, there)
		case h.ValidLft == link.Forever || h.PreferredLft != 0:
			c.New = false // somebody made it permanent, and a write puts that right
		default:
			c.Valid, held = lifetime(h), true
		}
	}
	if held {
		p.held = append(p.held, c)
		return
	}
	p.write = append(p.write, c)
}

// sighted is a listing of this host, looked through once.
type sighted struct {
	host []link.HostAddr
	at   map[netip.Addr][]int // where an address stands in it
	// own says which links have an IPv4 address of the node's own (scopeFor's question), and
	// lastOwn where the last one stands that other addresses must not overtake.
	own     map[int]bool
	lastOwn map[int]int
}

func survey(host []link.HostAddr) sighted {
	s := sighted{host: host, at: make(map[netip.Addr][]int, len(host)), own: map[int]bool{}, lastOwn: map[int]int{}}
	for i, h := range host {
		s.at[h.Prefix.Addr()] = append(s.at[h.Prefix.Addr()], i)
		if !nodesOwn(h) {
			continue
		}
		s.own[h.Index] = true
		if h.Flags&unix.IFA_F_SECONDARY == 0 {
			s.lastOwn[h.Index] = i
		}
	}
	return s
}

// scope is scopeFor.
func (s sighted) scope(a Address) uint8 {
	if a.VIP.Is4() && !s.own[a.LinkIndex] {
		return unix.RT_SCOPE_HOST
	}
	return unix.RT_SCOPE_UNIVERSE
}

// harmless reports whether h is a's address as another program put it on another link, which receives
// nothing from outside: kube-proxy in IPVS mode puts every address of a status on one, on every node.
func harmless(h link.HostAddr, a Address) bool {
	return h.Isolated && h.Index != a.LinkIndex && !isService(h) && !controlPlane(h)
}

// foreign returns an error if the address is on this host and not by a Roster.
func (s sighted) foreign(a Address) error {
	for _, at := range s.at[a.VIP] {
		switch h := s.host[at]; {
		case isService(h), harmless(h, a):
		case h.Prefix.IsSingleIP() && controlPlane(h):
			return fmt.Errorf("%s is on %s: %w", h.Prefix, h.Link, ErrControlPlane)
		default:
			return fmt.Errorf("%s is on %s: %w (remove it, or give the Service another address)", h.Prefix, h.Link, ErrForeign)
		}
	}
	return nil
}

// isService says whether a Roster put an address there.
func isService(h link.HostAddr) bool { return h.Proto == ServiceProto && h.Prefix.IsSingleIP() }

// asServices reports whether an address has the attributes that a Roster gives to one, as far as every kernel
// keeps them: no other program writes a deprecated host address with a finite lifetime and without a route.
func asServices(h link.HostAddr) bool {
	return h.Prefix.IsSingleIP() && h.Proto == 0 && !controlPlane(h) && h.ValidLft != link.Forever && h.PreferredLft == 0 &&
		h.Flags&unix.IFA_F_NOPREFIXROUTE != 0
}

func addressOf(h link.HostAddr) Address {
	return Address{VIP: h.Prefix.Addr(), LinkIndex: h.Index, LinkName: h.Link}
}

// services returns the addresses with the Services mark.
func services(host []link.HostAddr) []Marked {
	var result []Marked
	for _, h := range host {
		if isService(h) {
			result = append(result, Marked{Address: addressOf(h), ValidLft: lifetime(h)})
		}
	}
	return result
}
