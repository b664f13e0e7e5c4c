package svc

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/ipam"
)

// Pool is what kvip reads of an IPPool.
type Pool struct {
	metav1.ObjectMeta // with the generation
	// Pool is the decoded pool; it may be used if Err is nil.
	ipam.Pool
	// Err says what is wrong with the object, naming the field and the fix.
	Err error
	// Status is the status of the object.
	Status v1alpha1.IPPoolStatus
}

func readPool(p *v1alpha1.IPPool) (*Pool, bool) {
	result := &Pool{ObjectMeta: identified(p), Status: p.Status}
	result.Generation = p.Generation
	result.Pool, result.Err = poolOf(p)
	return result, true
}

// poolOf decodes the spec. The API server has seen most mistakes by then.
func poolOf(p *v1alpha1.IPPool) (ipam.Pool, error) {
	pool := ipam.Pool{
		Name: p.Name, AvoidBuggyIPs: p.Spec.AvoidBuggyIPs, Manual: p.Spec.AutoAssign != nil && !*p.Spec.AutoAssign,
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
