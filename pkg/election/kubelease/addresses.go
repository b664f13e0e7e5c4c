package kubelease

import (
	"net/netip"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// LabelRole is the label by which the Services part finds its Leases. The control plane's Lease has
// it too, with the value RoleControlPlane, so that the allocator finds it under any name.
const (
	LabelRole        = "kvip.dev/role"
	RoleControlPlane = "control-plane"
)

// AnnotationVIPs lists, on the control plane's Lease, the VIPs with their port, as in
// "192.0.2.10:6443,[2001:db8::10]:6443". The allocator reserves them.
const AnnotationVIPs = "kvip.dev/vips"

// maxAddresses bounds how many addresses are read. kvip writes one of each family.
const maxAddresses = 8

// setAddresses writes the VIPs of a Lease into it. Its labels and annotations must not be nil.
func setAddresses(l *coordinationv1.Lease, addresses []netip.AddrPort) {
	if len(addresses) == 0 {
		return
	}
	texts := make([]string, len(addresses))
	for i, a := range addresses {
		texts[i] = a.String()
	}
	l.Labels[LabelRole] = RoleControlPlane
	l.Annotations[AnnotationVIPs] = strings.Join(texts, ",")
}

// Addresses returns the VIPs of a Lease of the control plane. It skips unreadable ones.
func Addresses(l *coordinationv1.Lease) []netip.AddrPort {
	if l.Labels[LabelRole] != RoleControlPlane {
		return nil
	}
	var all []netip.AddrPort
	for text := range strings.SplitSeq(l.Annotations[AnnotationVIPs], ",") {
		a, err := netip.ParseAddrPort(text)
		if err != nil || a.Addr().Zone() != "" || a.Addr().Is4In6() || a.Port() == 0 ||
			slices.Contains(all, a) {
			continue
		}
		if all = append(all, a); len(all) == maxAddresses {
			break
		}
	}
	return all
}
