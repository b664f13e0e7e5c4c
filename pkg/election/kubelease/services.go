package kubelease

import (
	"net/netip"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// LabelRole is the label by which the Services part finds its Leases. The control plane's Lease carries
// it, too, with the value RoleControlPlane, so that the allocator finds it whatever its name is.
const (
	LabelRole    = "kvip.dev/services"
	RoleControlPlane = "control-plane"
)

// AnnotationAddresses has, on the control plane's Lease, the virtual IPs with their port, as
// "192.0.2.10:6443,[2001:db8::10]:6443". The allocator reserves them.
const AnnotationAddresses = "kvip.dev/addresses"

// maxAddresses bounds how many addresses are read: one of each family is all that kvip writes.
const maxAddresses = 8

// publish writes into l which addresses it is about.
func (d *Driver) publish(l *coordinationv1.Lease) *coordinationv1.Lease {
	if len(d.cfg.Addresses) == 0 {
		return l
	}
	if l.Labels == nil {
		l.Labels = map[string]string{}
	}
	if l.Annotations == nil {
		l.Annotations = map[string]string{}
	}
	texts := make([]string, len(d.cfg.Addresses))
	for i, a := range d.cfg.Addresses {
		texts[i] = a.String()
	}
	l.Labels[LabelRole], l.Annotations[AnnotationAddresses] = RoleControlPlane, strings.Join(texts, ",")
	return l
}

// Addresses returns the virtual IPs that a Lease of the control plane is about. What cannot be read is left
// out.
func Addresses(l *coordinationv1.Lease) []netip.AddrPort {
	if l.Labels[LabelRole] != RoleControlPlane {
		return nil
	}
	var all []netip.AddrPort
	for text := range strings.SplitSeq(l.Annotations[AnnotationAddresses], ",") {
		a, err := netip.ParseAddrPort(text)
		if err != nil || a.Addr().Zone() != "" || a.Addr().Is4In6() || a.Port() == 0 || slices.Contains(all, a) {
			continue
		}
		if all = append(all, a); len(all) == maxAddresses {
			break
		}
	}
	return all
}
