package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// snapshot is what the API says at one instant.
type snapshot struct {
	services []corev1.Service
	leases   []coordinationv1.Lease // of the ledger
}

func (w *environment) observe(ctx context.Context) (s snapshot, err error) {
	services, err := w.lab.Kube.CoreV1().Services(metav1.NamespaceDefault).List(ctx,
		metav1.ListOptions{})
	if err != nil {
		return s, fmt.Errorf("list services: %w", err)
	}
	leases, err := w.lab.Kube.CoordinationV1().Leases(metav1.NamespaceSystem).List(ctx,
		metav1.ListOptions{LabelSelector: svc.LabelRole + "=" + svc.RoleLedger})
	if err != nil {
		return s, fmt.Errorf("list the ledger: %w", err)
	}
	return snapshot{services.Items, leases.Items}, nil
}

// checkDuplicates is an error if an address was given out twice (S4): by the ledger, or to two
// Services of type LoadBalancer by their status. Nothing here is shared.
func (s snapshot) checkDuplicates() error {
	ledger, err := s.ledger()
	if err != nil {
		return err
	}
	for addr, entries := range ledger {
		if len(entries) > 1 {
			return fmt.Errorf("the ledger gives %s to %s and %s", addr, entries[0].Service,
				entries[1].Service)
		}
	}
	seen := map[netip.Addr]string{}
	for i := range s.services {
		one := &s.services[i]
		if one.Spec.Type != corev1.ServiceTypeLoadBalancer || one.DeletionTimestamp != nil {
			continue
		}
		for _, addr := range servicelab.IngressOf(one) {
			if other, twice := seen[addr]; twice {
				return fmt.Errorf("the status of both %s and %s has %s", other, one.Name, addr)
			}
			seen[addr] = one.Name
		}
	}
	return nil
}

// ledger joins the shards, of which no two may have one address.
func (s snapshot) ledger() (ipam.Ledger, error) {
	all := ipam.Ledger{}
	for _, l := range s.leases {
		for addr, entries := range svc.DecodeLedger(l.Annotations[svc.AnnotationLedger]) {
			if _, twice := all[addr]; twice {
				return nil, fmt.Errorf("two Leases of the ledger have %s", addr)
			}
			all[addr] = entries
		}
	}
	return all, nil
}

// consistent says what is not as it is to be, now that nothing changes; nil: status, ledger and
// kernels are.
func (w *environment) consistent(s snapshot) (addresses map[int]netip.Addr, err error) {
	ledger, err := s.ledger()
	if err != nil {
		return nil, err
	}
	status := map[string]*corev1.Service{}
	for i := range s.services {
		status[s.services[i].Name] = &s.services[i]
	}
	addresses = map[int]netip.Addr{}
	for i, want := range w.services {
		object := status[name(i)]
		switch {
		case want.there != (object != nil):
			return nil, fmt.Errorf("service %s: there %v, want %v", name(i), object != nil, want.there)
		case object == nil:
			continue
		}
		list := servicelab.IngressOf(object)
		if !want.balanced {
			if len(list) > 0 {
				return nil, fmt.Errorf("service %s is no LoadBalancer any more and its status has %v", name(i),
					list)
			}
			continue
		}
		if len(list) != 1 {
			return nil, fmt.Errorf("service %s: its status has %d addresses, want one", name(i), len(list))
		}
		if entries := ledger[list[0]]; len(entries) != 1 ||
			string(entries[0].Service) != metav1.NamespaceDefault+"/"+name(i) {
			return nil, fmt.Errorf("service %s: its status has %s, which the ledger gives to %v", name(i),
				list[0], entries)
		}
		addresses[i] = list[0]
	}
	if len(ledger) != len(addresses) {
		return nil, fmt.Errorf("the ledger has %d addresses, and Services have %d", len(ledger),
			len(addresses))
	}
	return addresses, w.checkPlacement(addresses)
}

// checkPlacement says which address is on other nodes than it is to be: one, for policy Local one
// with an endpoint or, where no node has one, none.
func (w *environment) checkPlacement(addresses map[int]netip.Addr) error {
	owners := map[netip.Addr][]string{}
	pool := netip.MustParsePrefix(servicelab.WidePool)
	for _, n := range w.lab.Nodes {
		for _, addr := range servicelab.AddressesOf(n.Host) {
			if pool.Contains(addr) {
				owners[addr] = append(owners[addr], n.Name)
			}
		}
	}
	for i, addr := range addresses {
		want, have := w.services[i], owners[addr]
		delete(owners, addr)
		none := want.local && len(want.endpoints) == 0
		switch {
		case none && len(have) > 0:
			return fmt.Errorf("service %s has no endpoint and policy Local, and %s is on %s", name(i), addr,
				strings.Join(have, " and "))
		case !none && len(have) != 1:
			return fmt.Errorf("service %s: %s is on %d nodes (%s), want one", name(i), addr, len(have),
				strings.Join(have, " and "))
		case !none && want.local && !want.endpoints[have[0]]:
			return fmt.Errorf("service %s has policy Local, and %s is on %s, which has no endpoint", name(i),
				addr, have[0])
		}
	}
	for addr, have := range owners {
		return fmt.Errorf("%s is on %s and no Service has it", addr, strings.Join(have, " and "))
	}
	return nil
}
