// Package inspect collects what the API and every agent report on one Service: which nodes announce
// its addresses, since when, and why. It changes nothing and decides nothing.
package inspect

import (
	"context"
	"fmt"
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/required"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/svc/speaker"
)

// Config of a query.
type Config struct {
	// Router chooses the API server. Required.
	Router *apiclient.Router
	// Reader decodes the Service.
	Reader svc.Reader
	// LeaseNamespace is the namespace of the nodes' Leases. Required by Service.
	LeaseNamespace string
	// Namespace and Name are the Service's. Required by Service.
	Namespace, Name string
}

// Report is the result of a query on one Service.
type Report struct {
	Service string `json:"service"`
	// Managed reports whether kvip serves it. SkipReason is why not.
	Managed    bool   `json:"managed"`
	SkipReason string `json:"skipReason,omitempty"`
	// Status lists the addresses in its status. Condition is kvip's condition there.
	Status    []netip.Addr      `json:"status"`
	Condition *metav1.Condition `json:"condition,omitempty"`
	Addresses []Address         `json:"addresses"`
	// Problem names the addresses that no node announces, or more than one without routes; "" if
	// there are none, as far as is known.
	Problem string `json:"problem,omitempty"`
	// Responded are the nodes whose agents responded.
	Responded []string `json:"responded"`
	// Problems are present failures, by the node that reports them.
	Problems map[string]string `json:"problems,omitempty"`
	// Unreachable are the reasons why agents did not respond, by node.
	Unreachable map[string]string `json:"unreachable,omitempty"`
}

// Address is one address of the Service in the best report of all agents. Present, State and Since
// are set if Node announces it.
type Address struct {
	speaker.AddressReport
	// On are the states of the address on the nodes that have it.
	On map[string]string `json:"on"`
}

// Service queries the API and the agents. It fails if the API does not return the Service.
func Service(ctx context.Context, cfg Config) (Report, error) {
	if err := required.Fields("inspection", map[string]bool{
		"Router": cfg.Router == nil, "LeaseNamespace": cfg.LeaseNamespace == "",
		"Namespace": cfg.Namespace == "", "Name": cfg.Name == "",
	}); err != nil {
		return Report{}, err
	}
	var one *svc.Service
	var leases []*svc.Lease
	var addresses map[string][]netip.Addr
	err := cfg.Router.Do(ctx, func(ctx context.Context, s *apiclient.Server) error {
		object, err := s.Core.Services(cfg.Namespace).Get(ctx, cfg.Name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("get service %s/%s: %w", cfg.Namespace, cfg.Name, err)
		}
		one = cfg.Reader.Service(object)
		if leases, err = listNodeLeases(ctx, s, cfg.LeaseNamespace); err != nil {
			return err
		}
		addresses, err = listNodeAddresses(ctx, s)
		return err
	})
	if err != nil {
		return Report{}, err
	}
	r := reportOf(one)
	answers, unreachable := queryAgents(ctx, leases, addresses, r.Service)
	r.Addresses, r.Unreachable, r.Problems = merge(answers), unreachable, map[string]string{}
	r.Responded = make([]string, len(answers))
	for i, answer := range answers {
		r.Responded[i] = answer.Node
		if answer.Problem != "" {
			r.Problems[answer.Node] = answer.Problem
		}
	}
	r.Problem = r.problem()
	return r, nil
}

// reportOf returns the part of the report that comes from the API.
func reportOf(one *svc.Service) Report {
	r := Report{
		Service: string(one.Key()), Managed: one.Managed, SkipReason: one.SkipReason,
		Status: append([]netip.Addr{}, one.Status...), Condition: one.Condition,
	}
	if !one.Managed && one.SkipReason == "" {
		r.SkipReason = "it is not of type LoadBalancer"
	}
	return r
}

// listNodeLeases returns the Leases of nodes that have not released them.
func listNodeLeases(
	ctx context.Context, s *apiclient.Server, namespace string,
) ([]*svc.Lease, error) {
	options := metav1.ListOptions{LabelSelector: svc.LabelRole + "=" + svc.RoleNode}
	list, err := s.Coordination.Leases(namespace).List(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("list leases of nodes in %s: %w", namespace, err)
	}
	var all []*svc.Lease
	for i := range list.Items {
		if l := svc.ReadLease(&list.Items[i]); l.Holder != "" && l.Info.Node != "" {
			all = append(all, l)
		}
	}
	return all, nil
}

func listNodeAddresses(ctx context.Context, s *apiclient.Server) (map[string][]netip.Addr, error) {
	list, err := s.Core.Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	all := map[string][]netip.Addr{}
	for _, n := range list.Items {
		for _, a := range n.Status.Addresses {
			if addr, err := netip.ParseAddr(a.Address); err == nil {
				all[n.Name] = append(all[n.Name], addr)
			}
		}
	}
	return all, nil
}

// maxNames limits how many Services ServiceNames reads.
const maxNames = 500

// ServiceNames returns the Services that kvip serves, as NAMESPACE/NAME in the API's order, for the
// completion of names. Of more than maxNames Services of type LoadBalancer it reads the first ones.
func ServiceNames(ctx context.Context, cfg Config) (all []string, err error) {
	err = cfg.Router.Do(ctx, func(ctx context.Context, s *apiclient.Server) error {
		options := metav1.ListOptions{FieldSelector: "spec.type=LoadBalancer", Limit: maxNames}
		list, err := s.Core.Services(metav1.NamespaceAll).List(ctx, options)
		if err != nil {
			return fmt.Errorf("list services: %w", err)
		}
		all = nil
		for i := range list.Items {
			if one := cfg.Reader.Service(&list.Items[i]); one.Managed {
				all = append(all, string(one.Key()))
			}
		}
		return nil
	})
	return all, err
}
