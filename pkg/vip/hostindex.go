package vip

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/link"
	"golang.org/x/sys/unix"
)

// labelSuffix after the link's name marks an IPv4 address of the control plane if the kernel
// keeps no IFA_PROTO. The kernel refuses labels of more than 15 characters (E10).
const labelSuffix = ":kvip"

// hostIndex is a listing of this host's addresses with an index, since there may be thousands.
type hostIndex struct {
	host []link.HostAddr
	// at has the positions of each address in host.
	at map[netip.Addr][]int
	// own has the positions of the node's own IPv4 addresses, by link.
	own map[int][]int
}

func newHostIndex(host []link.HostAddr) hostIndex {
	x := hostIndex{host: host, at: make(map[netip.Addr][]int, len(host)), own: map[int][]int{}}
	for i, h := range host {
		x.at[h.Prefix.Addr()] = append(x.at[h.Prefix.Addr()], i)
		if isNodeAddress(h) {
			x.own[h.Index] = append(x.own[h.Index], i)
		}
	}
	return x
}

// scope returns the scope for an address (E10). The kernel lists an IPv4 address after those
// of the same scope and before those of a narrower one. Beside the node's own address, an
// address has the same scope: programs such as the kubelet take the first of the list as the
// node's, and the kernel as a source. Alone on its link it has scope host, which the kernel
// never selects as a source.
func (x hostIndex) scope(a Address) uint8 {
	beside := func(i int) bool { return x.host[i].Prefix.Addr() != a.Addr }
	if a.Addr.Is4() && !slices.ContainsFunc(x.own[a.LinkIndex], beside) {
		return unix.RT_SCOPE_HOST
	}
	return unix.RT_SCOPE_UNIVERSE
}

// onLink returns a's VIP on a's link.
func (x hostIndex) onLink(a Address) (link.HostAddr, bool) {
	for _, i := range x.at[a.Addr] {
		if x.host[i].Index == a.LinkIndex {
			return x.host[i], true
		}
	}
	return link.HostAddr{}, false
}

// conflicting returns the deletions that a write of a needs: before it, of an address whose
// attributes a replace does not correct, and after it, from other links. It ignores addresses
// for which ignore returns true; nil ignores none.
func (x hostIndex) conflicting(
	a Address, scope uint8, ignore func(link.HostAddr, Address) bool,
) (before, after []Change) {
	for _, i := range x.at[a.Addr] {
		switch h := x.host[i]; {
		case ignore != nil && ignore(h, a):
		case h.Index != a.LinkIndex:
			after = append(after, Change{Address: addressOf(h)})
		case hasWrongAttributes(h, scope), x.precedesNode(i):
			before = append(before, Change{Address: addressOf(h)})
		}
	}
	return before, after
}

// precedesNode reports whether the IPv4 address at position i is listed before one of the
// node's own on its link, which was added later. Secondary addresses do not count: the kernel
// lists them last, so writing the address again would not change the order, and every refresh
// would repeat it.
func (x hostIndex) precedesNode(i int) bool {
	vip := x.host[i].Prefix.Addr()
	return vip.Is4() && slices.ContainsFunc(x.own[x.host[i].Index], func(own int) bool {
		h := x.host[own]
		return own > i && h.Prefix.Addr() != vip && h.Flags&unix.IFA_F_SECONDARY == 0
	})
}

// hasWrongAttributes reports whether an address has attributes that a replace does not correct.
func hasWrongAttributes(h link.HostAddr, scope uint8) bool {
	if h.Prefix.Addr().Is4() {
		return h.Scope != scope || h.Flags&unix.IFA_F_NOPREFIXROUTE == 0
	}
	return h.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0
}

// isNodeAddress reports whether h is a global IPv4 address that kvip did not write.
func isNodeAddress(h link.HostAddr) bool {
	return h.Prefix.Addr().Is4() && h.Scope == unix.RT_SCOPE_UNIVERSE && h.Proto != ServiceProto &&
		!isControlPlane(h)
}

// isControlPlane reports whether an address has the control plane's mark.
func isControlPlane(h link.HostAddr) bool {
	return h.Proto == ControlPlaneProto || h.Label != "" && h.Label == h.Link+labelSuffix
}

// isService reports whether a ServiceOwner wrote an address.
func isService(h link.HostAddr) bool { return h.Proto == ServiceProto && h.Prefix.IsSingleIP() }

// looksLikeService reports whether an address has the attributes that a ServiceOwner writes,
// as far as every kernel keeps them: no other program writes a deprecated host address with a
// finite lifetime and without a route.
func looksLikeService(h link.HostAddr) bool {
	return h.Prefix.IsSingleIP() && h.Proto == 0 && !isControlPlane(h) &&
		h.ValidLft != link.Forever && h.PreferredLft == 0 && h.Flags&unix.IFA_F_NOPREFIXROUTE != 0
}

// isIsolatedCopy reports whether h is a's address as another program added it to another link
// that receives nothing from outside: kube-proxy in IPVS mode adds every address of a status
// to one, on every node.
func isIsolatedCopy(h link.HostAddr, a Address) bool {
	return h.Isolated && h.Index != a.LinkIndex && !isService(h) && !isControlPlane(h)
}

// foreign returns an error if another component wrote a's address.
func (x hostIndex) foreign(a Address) error {
	for _, i := range x.at[a.Addr] {
		switch h := x.host[i]; {
		case isService(h), isIsolatedCopy(h, a):
		case h.Prefix.IsSingleIP() && isControlPlane(h):
			return fmt.Errorf("%s is on %s: %w", h.Prefix, h.Link, ErrControlPlane)
		default:
			return fmt.Errorf("%s is on %s: %w (remove it, or give the Service another address)",
				h.Prefix, h.Link, ErrForeign)
		}
	}
	return nil
}

func addressOf(h link.HostAddr) Address {
	return Address{Addr: h.Prefix.Addr(), LinkIndex: h.Index, LinkName: h.Link}
}

func markedOf(h link.HostAddr) Marked {
	return Marked{Address: addressOf(h), ValidLft: lifetime(h)}
}

// lifetime returns the lifetime that is left, or Forever.
func lifetime(h link.HostAddr) time.Duration {
	if h.ValidLft == link.Forever {
		return Forever
	}
	return time.Duration(h.ValidLft) * time.Second
}

// ControlPlaneAddresses returns the addresses that a kvip of the control plane wrote: those
// with its mark, else with its label. If the kernel keeps no mark, also the host addresses
// with a finite lifetime that equal one of vips (E10).
func ControlPlaneAddresses(kernel Kernel, vips []netip.Addr) ([]Marked, error) {
	host, err := kernel.Addresses()
	if err != nil {
		return nil, err
	}
	return controlPlaneAddresses(host, unmapped(vips), kernel.KeepsMarks(host)), nil
}

func controlPlaneAddresses(host []link.HostAddr, vips []netip.Addr, keepsMarks bool) []Marked {
	var result []Marked
	for _, h := range host {
		unmarked := !keepsMarks && h.ValidLft != link.Forever &&
			slices.Contains(vips, h.Prefix.Addr())
		if h.Prefix.IsSingleIP() && (isControlPlane(h) || unmarked) {
			result = append(result, markedOf(h))
		}
	}
	return result
}

// HostVIPs returns the control plane's virtual IPs on this host, sorted, of all agents.
func HostVIPs() ([]netip.Addr, error) {
	list, err := ControlPlaneAddresses(Netlink(), nil)
	if err != nil {
		return nil, err
	}
	all := make([]netip.Addr, len(list))
	for i, m := range list {
		all[i] = m.Addr
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), nil
}

// serviceAddresses returns the addresses with the mark of Services.
func serviceAddresses(host []link.HostAddr) []Marked {
	var result []Marked
	for _, h := range host {
		if isService(h) {
			result = append(result, markedOf(h))
		}
	}
	return result
}

// label returns the fallback mark, or "" if it is not needed or does not fit.
func label(a Address, keepsMarks bool) string {
	text := a.LinkName + labelSuffix
	if keepsMarks || !a.Addr.Is4() || a.LinkName == "" || len(text) >= unix.IFNAMSIZ {
		return ""
	}
	return text
}

// unmapped returns the addresses with IPv4-mapped ones as IPv4.
func unmapped(vips []netip.Addr) []netip.Addr {
	result := make([]netip.Addr, len(vips))
	for i, vip := range vips {
		result[i] = vip.Unmap()
	}
	return result
}
