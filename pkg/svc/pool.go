package svc

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/kubevip"
)

// Pool is the decoded part of an IPPool.
type Pool struct {
	// ObjectMeta has namespace, name, UID, resourceVersion, generation and labels only.
	metav1.ObjectMeta
	// Pool is the decoded spec, valid if Err is nil.
	ipam.Pool
	// Err is why the spec is invalid, with the field and the fix.
	Err error
	// Announcement is how clients find the addresses, also those of a pool that is invalid.
	Announcement v1alpha1.Announcement
	// Status is the status of the object.
	Status v1alpha1.IPPoolStatus

	ranges []ipam.Range // that can be parsed, also of an invalid pool
}

func readPool(p *v1alpha1.IPPool) (*Pool, bool) {
	result := &Pool{
		ObjectMeta: identified(p), Status: p.Status,
		Announcement: cmp.Or(p.Spec.Announcement, v1alpha1.Layer2), // an old definition has no field
	}
	result.Generation, result.Labels = p.Generation, p.Labels
	result.Pool, result.Err = decodePool(p)
	for _, text := range p.Spec.Addresses {
		if r, err := ipam.ParseRange(string(text)); err == nil {
			result.ranges = append(result.ranges, r)
		}
	}
	return result, true
}

// decodePool decodes the spec. The API server has refused most mistakes already.
func decodePool(p *v1alpha1.IPPool) (ipam.Pool, error) {
	pool := ipam.Pool{
		Name: p.Name, AvoidBuggyIPs: p.Spec.AvoidBuggyIPs,
		Manual:     p.Spec.AutoAssign != nil && !*p.Spec.AutoAssign,
		Descending: p.Spec.SearchOrder == v1alpha1.Descending, Shared: p.Spec.Sharing == v1alpha1.ByPort,
	}
	for _, n := range p.Spec.Namespaces {
		pool.Namespaces = append(pool.Namespaces, string(n))
	}
	for i, text := range p.Spec.Addresses {
		r, err := ipam.ParseRange(string(text))
		if err != nil {
			return pool, fmt.Errorf("IPPool %s: spec.addresses[%d]: %w", p.Name, i, err)
		}
		pool.Ranges = append(pool.Ranges, r)
	}
	if err := pool.Validate(); err != nil {
		return pool, fmt.Errorf("IPPool %s: spec.addresses: %w", p.Name, err)
	}
	return pool, nil
}

// kubeVIPConfigMap is the decoded part of kube-vip's ConfigMap of pools (S9).
type kubeVIPConfigMap struct {
	metav1.ObjectMeta
	Pools []ipam.Pool
	// Interfaces are for the Services of a namespace; that of "" is for all other namespaces.
	Interfaces map[string]string
	// Problems are invalid, unsupported or excessive values.
	Problems []error
}

const (
	maxKubeVIPPools = 500  // of a ConfigMap
	maxRanges       = 1000 // of one of its pools
	maxProblems     = 20   // of a ConfigMap
)

// readKubeVIPConfigMap decodes m up to its limits, and reports what exceeds them.
func readKubeVIPConfigMap(m *corev1.ConfigMap) (*kubeVIPConfigMap, bool) {
	result := &kubeVIPConfigMap{ObjectMeta: identified(m)}
	pools, problems := kubevip.ParsePools(m.Data)
	interfaces, more := kubevip.ParseInterfaces(m.Data)
	for _, err := range append(problems, more...) {
		result.addProblem(err)
	}
	result.Pools, result.Interfaces = first(pools, maxKubeVIPPools), interfaces
	if n := len(pools); n > maxKubeVIPPools {
		const format = "it has %d pools, of which the first %d are used: make IPPools of the others"
		result.addProblem(fmt.Errorf(format, n, maxKubeVIPPools))
	}
	for i := range result.Pools {
		p := &result.Pools[i]
		if n := len(p.Ranges); n > maxRanges {
			p.Ranges = p.Ranges[:maxRanges]
			const format = "%s has %d ranges, of which the first %d are used: write larger ones"
			result.addProblem(fmt.Errorf(format, p.Name, n, maxRanges))
		}
	}
	return result, true
}

// addProblem adds a problem of the ConfigMap; only the first ones are kept.
func (m *kubeVIPConfigMap) addProblem(err error) {
	if len(m.Problems) < maxProblems {
		text := fmt.Sprintf("ConfigMap %s/%s: %v", kubevip.PoolsNamespace, kubevip.PoolsConfigMap, err)
		m.Problems = append(m.Problems, errors.New(Brief(text)))
	}
}

// serviceCIDR is the decoded part of a ServiceCIDR: networks of the Services' addresses inside the
// cluster.
type serviceCIDR struct {
	metav1.ObjectMeta
	prefixes []netip.Prefix
}

func readServiceCIDR(s *networkingv1.ServiceCIDR) (*serviceCIDR, bool) {
	return &serviceCIDR{ObjectMeta: identified(s), prefixes: parsePrefixes(s.Spec.CIDRs)}, true
}

// parsePrefixes returns the valid prefixes of a list.
func parsePrefixes(texts []string) (list []netip.Prefix) {
	for _, text := range texts {
		if p, err := netip.ParsePrefix(text); err == nil {
			list = append(list, p)
		}
	}
	return list
}
