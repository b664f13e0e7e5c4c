package svc

import (
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// serviceCIDR is what kvip reads of a ServiceCIDR: networks from which Services have their addresses inside the
// cluster.
type serviceCIDR struct {
	metav1.ObjectMeta
	prefixes []netip.Prefix
}

func readServiceCIDR(s *networkingv1.ServiceCIDR) (*serviceCIDR, bool) {
	result := &serviceCIDR{ObjectMeta: identified(s)}
	for _, text := range s.Spec.CIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			result.prefixes = append(result.prefixes, p)
		}
	}
	return result, true
}
