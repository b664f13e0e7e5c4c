package metallb

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/ipam"
)

// poolSpec are the fields of an IPAddressPool that have a counterpart.
type poolSpec struct {
	Addresses     []string `json:"addresses"`
	AutoAssign    *bool    `json:"autoAssign"`
	AvoidBuggyIPs bool     `json:"avoidBuggyIPs"`
	Allocation    struct {
		Namespaces []string `json:"namespaces"`
	} `json:"serviceAllocation"`
}

// addPool translates an IPAddressPool.
func (m *migration) addPool(o object) {
	var spec poolSpec
	if !m.decode(o, &spec) {
		return
	}
	pool := &v1alpha1.IPPool{
		TypeMeta:   typeMeta(v1alpha1.Kind),
		ObjectMeta: metav1.ObjectMeta{Name: o.name, Labels: o.labels},
	}
	pool.Spec.Addresses = m.addresses(o, spec.Addresses)
	pool.Spec.AvoidBuggyIPs = spec.AvoidBuggyIPs
	if spec.AutoAssign != nil && !*spec.AutoAssign {
		pool.Spec.AutoAssign = spec.AutoAssign
	}
	const namespaces = "spec.serviceAllocation.namespaces"
	pool.Spec.Namespaces = names[v1alpha1.Namespace](m, o, namespaces, spec.Allocation.Namespaces)
	for _, name := range pool.Spec.Namespaces {
		if len(name) > 63 || strings.Contains(string(name), ".") {
			m.refuse(o, namespaces, "%q cannot name a namespace", name)
		}
	}
	pool.Spec.Announcement = m.announcement(o)
	m.output.pools = append(m.output.pools, pool)
}

// typeMeta returns the type of an object of kvip.
func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion().String(), Kind: kind}
}

// addresses translates the entries of a pool.
func (m *migration) addresses(o object, list []string) (all []v1alpha1.Addresses) {
	const field = "spec.addresses"
	if len(list) == 0 || len(list) > maxNames {
		m.refuse(o, field, "has %d entries, and a pool of kvip has 1 to %d", len(list), maxNames)
		return nil
	}
	var ranges []ipam.Range
	for _, entry := range list {
		text := strings.ReplaceAll(entry, " ", "")
		if prefix, err := netip.ParsePrefix(text); err == nil {
			text = prefix.Masked().String()
		}
		r, err := ipam.ParseRange(text)
		switch {
		case err != nil:
			m.refuse(o, field, "%v", err)
			continue
		case !r.First.IsGlobalUnicast() || !r.Last.IsGlobalUnicast():
			m.refuse(o, field, "%s has addresses that are not for hosts", text)
			continue
		}
		overlaps := func(other ipam.Range) bool {
			return r.Contains(other.First) || other.Contains(r.First)
		}
		if slices.ContainsFunc(ranges, overlaps) {
			m.refuse(o, field, "%s overlaps with another entry; remove or narrow one of the two", text)
		}
		ranges = append(ranges, r)
		if strings.Contains(text, "-") {
			text = r.First.String() + "-" + r.Last.String()
		}
		all = append(all, v1alpha1.Addresses(text))
	}
	return all
}

// announcement returns how the addresses of a pool are announced: by the kind of advertisement that
// selects it.
func (m *migration) announcement(pool object) v1alpha1.Announcement {
	var byL2, byBGP string
	for _, o := range m.objects {
		if o.pools == nil || !o.pools.selects(pool) {
			continue
		}
		if o.kind == kindL2 {
			byL2 = o.name
		} else {
			byBGP = o.name
		}
	}
	switch {
	case byL2 != "" && byBGP != "":
		m.refuse(pool, "", "L2Advertisement %s and BGPAdvertisement %s select it, and a pool of kvip is "+
			"announced in one way; let one of them name other pools, or divide the pool", byL2, byBGP)
	case byL2 == "" && byBGP == "":
		m.refuse(pool, "", "no advertisement selects it: MetalLB announces none of its addresses, and "+
			"kvip announces those of every pool; give its L2Advertisement or BGPAdvertisement too, or "+
			"remove the pool")
	case byBGP != "":
		return v1alpha1.BGP
	}
	return v1alpha1.Layer2
}

// poolSelection is which pools an advertisement selects.
type poolSelection struct {
	names  map[string]bool
	labels []labels.Selector
	all    bool // it has neither names nor selectors
}

// selectedPools reads the selection of a spec that is not decoded yet. Selectors that are not valid
// select nothing, and are refused when the spec is decoded.
func selectedPools(spec map[string]any) *poolSelection {
	listed, _ := spec["ipAddressPools"].([]any)
	byLabels, _ := spec["ipAddressPoolSelectors"].([]any)
	s := &poolSelection{names: map[string]bool{}, all: len(listed)+len(byLabels) == 0}
	for _, one := range listed {
		if name, ok := one.(string); ok {
			s.names[name] = true
		}
	}
	var selectors []metav1.LabelSelector
	if raw, err := json.Marshal(byLabels); err != nil || json.Unmarshal(raw, &selectors) != nil {
		return s
	}
	for i := range selectors {
		if selector, err := metav1.LabelSelectorAsSelector(&selectors[i]); err == nil {
			s.labels = append(s.labels, selector)
		}
	}
	return s
}

// selects reports whether a pool is selected.
func (s *poolSelection) selects(pool object) bool {
	return s.all || s.names[pool.name] || slices.ContainsFunc(s.labels, func(l labels.Selector) bool {
		return l.Matches(labels.Set(pool.labels))
	})
}
