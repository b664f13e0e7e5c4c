package svc

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/kubevip"
)

// LegacyPools are the pools of kube-vip's ConfigMap.
type LegacyPools struct {
	metav1.ObjectMeta
	Pools []ipam.Pool
	// Interfaces are for the Services of a namespace, "" for those of all others.
	Interfaces map[string]string
	Problems   []error
}

func readLegacy(m *corev1.ConfigMap) (*LegacyPools, bool) {
	result := &LegacyPools{ObjectMeta: identified(m)}
	pools, problems := kubevip.Pools(m.Data)
	interfaces, more := kubevip.Interfaces(m.Data)
	result.Pools, result.Interfaces = pools, interfaces
	for _, p := range append(problems, more...) {
		result.Problems = append(result.Problems, fmt.Errorf("ConfigMap %s/%s: %w", kubevip.PoolsNamespace, kubevip.PoolsConfigMap, p))
	}
	return result, true
}

// readForeign reads kube-vip's annotations of a Service (S9).
func readForeign(annotations map[string]string) Wishes {
	w, notes, err := kubevip.Annotations(annotations)
	result := Wishes{Fields: ipam.Fields{Addresses: "annotation " + kubevip.ShareKey}, Addresses: w.Addresses, Key: w.ShareKey, Link: w.Interface, Ignore: w.Ignore, Err: err}
	for _, n := range notes {
		result.Notes = append(result.Notes, n.String())
	}
	return result
}
