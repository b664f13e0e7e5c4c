package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kvip/kvip/test/draw"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// pace is the pause between two changes.
const pace = 20 * time.Millisecond

// change is one thing that happens, more often the larger its weight.
type change struct {
	name   string
	weight int
	do     func(w *environment, ctx context.Context) error
}

var deeds = []change{
	{"creations and deletions", 40,
		func(w *environment, ctx context.Context) error { return w.toggle(ctx, w.any()) }},
	{"moves of endpoints", 25,
		func(w *environment, ctx context.Context) error { return w.move(ctx, w.any()) }},
	{"changes of policy", 20,
		func(w *environment, ctx context.Context) error { return w.flip(ctx, w.any()) }},
	{"changes of type", 8,
		func(w *environment, ctx context.Context) error { return w.retype(ctx, w.any()) }},
	{"cut connections", 3, (*environment).cut},
	{"refusals of the API", 1, (*environment).refuse},
	{"silences of the API", 1, (*environment).swallow},
	{"ends of an agent", 1, (*environment).restart},
}

// churn does one thing after the other until ctx ends.
func (w *environment) churn(ctx context.Context) error {
	for ctx.Err() == nil {
		d := w.pick()
		if err := d.do(w, context.WithoutCancel(ctx)); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		w.counts[d.name]++
		time.Sleep(pace)
	}
	return nil
}

func (w *environment) pick() change {
	return draw.Weighted(w.random, deeds, func(d change) int { return d.weight })
}

func (w *environment) any() int { return w.random.IntN(len(w.services)) }

// toggle creates the Service, or deletes it.
func (w *environment) toggle(ctx context.Context, i int) error {
	s := &w.services[i]
	s.epoch++
	if s.there {
		s.there = false
		return w.lab.Delete(ctx, name(i))
	}
	s.there, s.balanced = true, true
	return errors.Join(w.lab.Create(ctx, name(i), policy(s.local)), w.writeEndpoints(ctx, i))
}

// flip changes the policy.
func (w *environment) flip(ctx context.Context, i int) error {
	s := &w.services[i]
	s.local = !s.local
	if !s.there || !s.balanced {
		return nil
	}
	return w.lab.Change(ctx, name(i), policy(s.local))
}

func policy(local bool) servicelab.Edit {
	return func(s *corev1.Service) {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
		if local {
			servicelab.Local(s)
		}
	}
}

// retype makes a ClusterIP of a LoadBalancer, or the other way.
func (w *environment) retype(ctx context.Context, i int) error {
	s := &w.services[i]
	if !s.there {
		return nil
	}
	s.epoch++
	s.balanced = !s.balanced
	return w.lab.Change(ctx, name(i), func(o *corev1.Service) {
		o.Spec.Type, o.Spec.ExternalTrafficPolicy,
			o.Spec.AllocateLoadBalancerNodePorts = corev1.ServiceTypeClusterIP, "", nil
		if s.balanced {
			noNodePorts := false
			o.Spec.Type, o.Spec.AllocateLoadBalancerNodePorts = corev1.ServiceTypeLoadBalancer, &noNodePorts
			policy(s.local)(o)
		}
	})
}

// move moves the endpoints: none, one or more nodes have them then.
func (w *environment) move(ctx context.Context, i int) error {
	s := &w.services[i]
	s.endpoints = map[string]bool{}
	for _, n := range w.lab.Nodes {
		if w.random.IntN(2) == 0 {
			s.endpoints[n.Name] = true
		}
	}
	if !s.there {
		return nil
	}
	return w.writeEndpoints(ctx, i)
}

func (w *environment) writeEndpoints(ctx context.Context, i int) error {
	states := map[string]servicelab.State{}
	for node := range w.services[i].endpoints {
		states[node] = servicelab.Ready
	}
	err := w.lab.Endpoints(ctx, name(i), states)
	if apierrors.IsConflict(err) { // the API server of another node had more
		err = w.lab.Endpoints(ctx, name(i), states)
	}
	return err
}
