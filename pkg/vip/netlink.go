package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// labelSuffix after the link's name marks an IPv4 address where the kernel keeps no
// IFA_PROTO; the kernel refuses labels of more than 15 characters (E10).
const labelSuffix = ":kvip"

// Netlink returns the kernel of the calling thread's network namespace. The VIPs are
// recognised even where the kernel keeps neither mark: then a host address with a finite
// lifetime that equals one of them is kvip's.
func Netlink(vips []netip.Addr) Kernel {
	unmapped := make([]netip.Addr, len(vips))
	for i, vip := range vips {
		unmapped[i] = vip.Unmap()
	}
	return netlinkKernel{vips: unmapped}
}

type netlinkKernel struct{ vips []netip.Addr }

// Replace implements Kernel. Scope, label and prefix length of an existing address cannot
// be changed by a replace, so one with other attributes is removed first. ErrForeign if
// the VIP is on this host with a network's prefix length.
func (k netlinkKernel) Replace(a Address, valid time.Duration) error {
	if valid < time.Second || valid%time.Second != 0 {
		return fmt.Errorf("write address %s: lifetime %v is not whole seconds of at least 1", a.VIP, valid)
	}
	addresses, err := link.Addresses()
	if err != nil {
		return err
	}
	scope := scopeFor(addresses, a)
	before, after, err := obstacles(addresses, a, scope)
	if err != nil {
		return err
	}
	if err := k.deleteAll(before); err != nil {
		return err
	}
	request := addressRequest(a, scope, uint32(valid/time.Second), label(a, keepsProto(addresses)))
	if _, err := request.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("write address %s on %s: %w%s", a.VIP, a.LinkName, err, hint(err))
	}
	if !here(addresses, a) || len(before) > 0 {
		settle(a.VIP)
	}
	return k.deleteAll(after)
}

func here(addresses []link.HostAddr, a Address) bool {
	return slices.ContainsFunc(addresses, func(h link.HostAddr) bool { return h.Prefix.Addr() == a.VIP && h.Index == a.LinkIndex })
}

// settleWithin bounds settle: the address is written, and goes into use by itself.
const settleWithin = 100 * time.Millisecond

// settle waits until the kernel delivers packets to a new IPv6 address. It acknowledges the address
// first and makes its local route later, in a work queue (addrconf_dad_work), which takes milliseconds
// on a busy machine; whoever heard an announcement before that would be sent nowhere.
func settle(vip netip.Addr) {
	if vip.Is4() {
		return
	}
	for end := time.Now().Add(settleWithin); time.Now().Before(end); time.Sleep(time.Millisecond) {
		routes, err := netlink.RouteGet(vip.AsSlice())
		if err != nil || slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Type == unix.RTN_LOCAL }) {
			return
		}
	}
}

// obstacles returns where the VIP has to go before the write, as a replace would leave it
// with wrong attributes, and where after it, from other links.
func obstacles(addresses []link.HostAddr, a Address, scope uint8) (before, after []Address, err error) {
	for _, h := range addresses {
		if h.Prefix.Addr() != a.VIP {
			continue
		}
		there := Address{VIP: a.VIP, LinkIndex: h.Index, LinkName: h.Link}
		switch {
		case !h.Prefix.IsSingleIP():
			return nil, nil, fmt.Errorf("write address %s on %s: %s is on %s: %w (remove it, or choose another --vip)",
				a.VIP, a.LinkName, h.Prefix, h.Link, ErrForeign)
		case h.Index != a.LinkIndex:
			after = append(after, there)
		case malformed(h, scope), overtakes(addresses, a):
			before = append(before, there)
		}
	}
	return before, after, nil
}

// scopeFor returns the scope for an address (E10). The kernel lists an IPv4 address after those of
// the same scope, and before all of a narrower reach. So beside the node's own address it has the
// same scope: programs take the first of the list for the node's, as the kubelet does, and the
// kernel for a source. Alone on its link it has scope host, which is no source at all.
func scopeFor(addresses []link.HostAddr, a Address) uint8 {
	if a.VIP.Is4() && !slices.ContainsFunc(addresses, func(h link.HostAddr) bool { return ownBeside(h, a) }) {
		return unix.RT_SCOPE_HOST
	}
	return unix.RT_SCOPE_UNIVERSE
}

// ownBeside says whether h is an IPv4 address of the node's own, on the link of a.
func ownBeside(h link.HostAddr, a Address) bool {
	return h.Index == a.LinkIndex && h.Prefix.Addr() != a.VIP && nodesOwn(h)
}

// nodesOwn says whether h is an IPv4 address for the whole network that kvip did not put there.
func nodesOwn(h link.HostAddr) bool {
	return h.Prefix.Addr().Is4() && h.Scope == unix.RT_SCOPE_UNIVERSE && h.Proto != ServiceProto && !controlPlane(h)
}

// controlPlane says whether an address carries the control plane's mark.
func controlPlane(h link.HostAddr) bool {
	return h.Proto == Proto || h.Label != "" && h.Label == h.Link+labelSuffix
}

// overtakes says whether an IPv4 address is listed before one of the node's own, which came later.
// Secondary ones do not count: the kernel lists them behind all others, so to write the address anew
// would not change the order, and would be done with each refresh.
func overtakes(addresses []link.HostAddr, a Address) bool {
	at := slices.IndexFunc(addresses, func(h link.HostAddr) bool { return h.Prefix.Addr() == a.VIP && h.Index == a.LinkIndex })
	return a.VIP.Is4() && at >= 0 && slices.ContainsFunc(addresses[at:], func(h link.HostAddr) bool {
		return ownBeside(h, a) && h.Flags&unix.IFA_F_SECONDARY == 0
	})
}

// malformed says whether an address has attributes that a replace does not put right.
func malformed(h link.HostAddr, scope uint8) bool {
	if h.Prefix.Addr().Is4() {
		return h.Scope != scope || h.Flags&unix.IFA_F_NOPREFIXROUTE == 0
	}
	return h.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0
}

func (k netlinkKernel) deleteAll(list []Address) error {
	for _, a := range list {
		if err := k.Delete(a); err != nil {
			return err
		}
	}
	return nil
}

// Delete implements Kernel.
func (k netlinkKernel) Delete(a Address) error {
	_, err := deleteRequest(a).Execute(unix.NETLINK_ROUTE, 0)
	if err != nil && !notThere(err) {
		return fmt.Errorf("delete address %s from %s: %w%s", a.VIP, a.LinkName, err, hint(err))
	}
	return nil
}

// notThere says whether a deletion failed because the address, or its link, is not there.
func notThere(err error) bool {
	return errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV)
}

// List implements Kernel.
func (k netlinkKernel) List() ([]Marked, error) {
	addresses, err := link.Addresses()
	if err != nil {
		return nil, err
	}
	return markedOn(addresses, k.vips, keepsProto(addresses)), nil
}

// There implements Kernel.
func (k netlinkKernel) There(a Address) (bool, error) {
	addresses, err := link.Addresses()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(addresses, func(h link.HostAddr) bool {
		return h.Prefix.Addr() == a.VIP && h.Prefix.IsSingleIP() && h.Index == a.LinkIndex
	}), nil
}

// markedOn picks kvip's addresses: those with the proto, else the label, else, if the kernel
// keeps no proto, host addresses equal to a VIP with a finite lifetime (E10).
func markedOn(addresses []link.HostAddr, vips []netip.Addr, keepsProto bool) []Marked {
	var result []Marked
	for _, h := range addresses {
		a := Address{VIP: h.Prefix.Addr(), LinkIndex: h.Index, LinkName: h.Link}
		ours := controlPlane(h) || !keepsProto && h.ValidLft != link.Forever && slices.Contains(vips, a.VIP)
		if ours && h.Prefix.IsSingleIP() {
			result = append(result, Marked{Address: a, ValidLft: lifetime(h)})
		}
	}
	return result
}

// lifetime is what is left of an address, or Forever.
func lifetime(h link.HostAddr) time.Duration {
	if h.ValidLft == link.Forever {
		return Forever
	}
	return time.Duration(h.ValidLft) * time.Second
}

// keepsProto says whether the kernel was seen to keep IFA_PROTO: it marks its own IPv6
// addresses, ::1 among them, and the release that brought that is 5.18.
func keepsProto(addresses []link.HostAddr) bool {
	return slices.ContainsFunc(addresses, func(h link.HostAddr) bool { return h.Proto != 0 }) || since518(release())
}

func release() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

func since518(release string) bool {
	var major, minor int
	_, err := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return err == nil && (major > 5 || major == 5 && minor >= 18)
}

// label returns the fallback mark, or "" where it is not needed or does not fit.
func label(a Address, keepsProto bool) string {
	text := a.LinkName + labelSuffix
	if keepsProto || !a.VIP.Is4() || a.LinkName == "" || len(text) >= unix.IFNAMSIZ {
		return ""
	}
	return text
}

// hint says what to do about an error, where that is known.
func hint(err error) string {
	switch {
	case errors.Is(err, unix.EPERM):
		return " (kvip needs the capability NET_ADMIN)"
	case errors.Is(err, unix.EACCES):
		return " (IPv6 is disabled on the link, see sysctl net.ipv6.conf)"
	case errors.Is(err, unix.ENODEV):
		return " (the link was removed; a new one of that name has a new index)"
	}
	return ""
}
