package svc

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/kubevip"
)

// KubeVIPConfigMap are the pools of kube-vip's ConfigMap.
type KubeVIPConfigMap struct {
	metav1.ObjectMeta
	Pools []ipam.Pool
	// Interfaces are for the Services of a namespace, "" for those of all others.
	Interfaces map[string]string
	Problems   []error
}

func readLegacy(m *corev1.ConfigMap) (*KubeVIPConfigMap, bool) {
	result := &KubeVIPConfigMap{ObjectMeta: identified(m)}
	pools, problems := kubevip.ParsePools(m.Data)
	interfaces, more := kubevip.ParseInterfaces(m.Data)
	result.Pools, result.Interfaces = pools, interfaces
	for _, p := range append(problems, more...) {
		result.problem(p)
	}
	result.bound()
	return result, true
}

const (
	// maxLegacyPools, maxRanges and maxProblems are how many of each are used of kube-vip's ConfigMap.
	maxLegacyPools = 500
	maxRanges      = 1000
	maxProblems    = 20
)

// problem adds what is wrong with the ConfigMap, the first of many.
func (p *KubeVIPConfigMap) problem(err error) {
	if len(p.Problems) < maxProblems {
		text := fmt.Sprintf("ConfigMap %s/%s: %v", kubevip.PoolsNamespace, kubevip.PoolsConfigMap, err)
		p.Problems = append(p.Problems, errors.New(Brief(text)))
	}
}

// bound leaves out what is too much, and says so.
func (p *KubeVIPConfigMap) bound() {
	if n := len(p.Pools); n > maxLegacyPools {
		p.Pools = p.Pools[:maxLegacyPools]
		p.problem(fmt.Errorf("it has %d pools, of which the first %d are used: make IPPools of the others", n, maxLegacyPools))
	}
	for i := range p.Pools {
		if n := len(p.Pools[i].Ranges); n > maxRanges {
			p.Pools[i].Ranges = p.Pools[i].Ranges[:maxRanges]
			p.problem(fmt.Errorf("%s has %d ranges, of which the first %d are used: write larger ones", p.Pools[i].Name, n, maxRanges))
		}
	}
}

// readForeign reads kube-vip's annotations of a Service (S9).
func readForeign(annotations map[string]string) Annotations {
	w, notes, err := kubevip.ParseAnnotations(annotations)
	result := Annotations{Fields: ipam.Fields{Addresses: "annotation " + kubevip.ShareKey}, Addresses: w.Addresses, Key: w.ShareKey, Link: w.Interface, Ignore: w.Ignore, Err: err}
	for _, n := range notes {
		result.Notes = append(result.Notes, n.String())
	}
	return result
}
