package allocator

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/kubevip"
	"github.com/kvip/kvip/pkg/svc"
)

// source is a pool and where it is from.
type source struct {
	ipam.Pool
	object *svc.Pool // nil: of kube-vip's ConfigMap
	err    error     // it cannot be used, or not as it is now
}

// pools returns all pools. One that has become wrong is used as it was, as long as this agent runs; its
// Services keep their addresses in any case.
func (a *Allocator) pools() []source {
	var all []source
	good := map[string]ipam.Pool{}
	for _, p := range a.cfg.Cache.Pools() {
		s := source{Pool: p.Pool, object: p, err: p.Err}
		if last, had := a.goodPools[p.Pool.Name]; p.Err != nil && had {
			s.Pool = last
		}
		if p.Err == nil || len(s.Ranges) > 0 && a.goodPools[p.Pool.Name].Name != "" {
			good[p.Pool.Name] = s.Pool
		}
		all = append(all, s)
	}
	a.goodPools = good
	legacy, problems := a.cfg.Cache.KubeVIPPools()
	for _, p := range legacy {
		all = append(all, source{Pool: p})
	}
	a.tellProblems(problems)
	return all
}

// tellProblems says what is wrong with kube-vip's ConfigMap, by Events on it.
func (a *Allocator) tellProblems(problems []error) {
	for _, p := range problems {
		a.cfg.Log.Debug("a value of kube-vip's ConfigMap cannot be used", "reason", p)
		a.background(func(ctx context.Context) {
			a.writer.status.events.about(ctx, corev1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: kubevip.PoolsNamespace, Name: kubevip.PoolsConfigMap},
				corev1.EventTypeWarning, string(ipam.Malformed), p.Error())
		})
	}
}

func usable(all []source) []ipam.Pool {
	var list []ipam.Pool
	for _, s := range all {
		if s.err == nil || len(s.Ranges) > 0 && s.Validate() == nil {
			list = append(list, s.Pool)
		}
	}
	return list
}
