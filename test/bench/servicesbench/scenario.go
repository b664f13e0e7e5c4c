package servicesbench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// births creates the Services and measures when each has its address and answers.
func (s *session) births(ctx context.Context, a *servicelab.ARPClient, r *result) error {
	ctx, cancel := context.WithTimeout(ctx, eachWithin)
	defer cancel()
	type seen struct {
		all map[string]given
		err error
	}
	watched := make(chan seen, 1)
	go func() {
		all, err := statuses(ctx, s.lab, r.Services, a.Query)
		watched <- seen{all, err}
	}()
	b, err := create(ctx, s.lab, r.Services)
	if err != nil {
		cancel()
		<-watched
		return err
	}
	status := <-watched
	if status.err != nil {
		return status.err
	}
	answers, err := a.Wait(ctx, r.Services)
	if err != nil {
		return err
	}
	r.Creating, r.Address, r.Answer, err = ages(b.sent, status.all, answers)
	return err
}

// ages works out how old each Service was when it had its address, and when that answered.
func ages(sent map[string]time.Time, all map[string]given,
	answers map[netip.Addr]servicelab.Answer) (creating time.Duration, address, answered spread,
	err error) {
	var first, last time.Time
	var addresses, replies []time.Duration
	owner := map[netip.Addr]string{}
	for name, at := range sent {
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
		g := all[name]
		if other, twice := owner[g.addr]; twice {
			return 0, spread{}, spread{},
				fmt.Errorf("services %s and %s have one address: %s", name, other, g.addr)
		}
		owner[g.addr] = name
		addresses = append(addresses, g.at.Sub(at))
		replies = append(replies, answers[g.addr].At.Sub(at))
	}
	return last.Sub(first), spreadOf(addresses), spreadOf(replies), nil
}

// spreadOf needs at least one.
func spreadOf(list []time.Duration) spread {
	slices.Sort(list)
	return spread{benchreport.Percentile(list, 50), benchreport.Percentile(list, 95),
		list[len(list)-1]}
}

// death takes the power from one node and measures until its addresses answer elsewhere. Another
// node dies in each run, also the one that gives out addresses, with its API server and its member
// of etcd.
func (s *session) death(ctx context.Context, a *servicelab.ARPClient, r *result) error {
	ctx, cancel := context.WithTimeout(ctx, eachWithin)
	defer cancel()
	victim := s.lab.Nodes[r.Run%len(s.lab.Nodes)]
	a.QueryAgain(slices.Collect(maps.Keys(a.Known())), "")
	now, err := a.Wait(ctx, r.Services)
	if err != nil {
		return err
	}
	mac := victim.Host.MAC.String()
	var its []netip.Addr
	for addr, who := range now {
		if who.From == mac {
			its = append(its, addr)
		}
	}
	r.Dead, r.DeadAddresses = victim.Name, len(its)
	if len(its) == 0 {
		return nil // with few Services a node may have none
	}
	start := time.Now()
	off := make(chan error, 1)
	go func() { off <- victim.PowerOff() }()
	a.QueryAgain(its, mac)
	moved, err := a.Wait(ctx, len(its))
	if err = errors.Join(err, <-off); err != nil {
		return err
	}
	var took []time.Duration
	for _, who := range moved {
		took = append(took, who.At.Sub(start))
	}
	r.Elsewhere = spreadOf(took)
	if r.Elsewhere.Max > elsewhereWithin {
		s.explain(start, victim)
	}
	return nil
}

// explain prints what the agents that were left wrote since a node died, before it is removed.
func (s *session) explain(start time.Time, victim *cluster.Node) {
	for _, n := range s.lab.Nodes {
		if n != victim {
			say("  %s since %s:\n    %s", n.Name, start.UTC().Format("15:04:05.000"),
				strings.Join(benchreport.LogSince(s.lab.LogOf(n), start.Add(-time.Second)), "\n    "))
		}
	}
}

// allocator is the node that gives out addresses.
func (s *session) allocator(ctx context.Context) (string, error) {
	lease, err := s.lab.Kube.CoordinationV1().Leases(metav1.NamespaceSystem).Get(ctx,
		config.DefaultServicesName, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("read lease of the allocator: %w", err)
	}
	if lease.Spec.HolderIdentity == nil {
		return "", errors.New("read lease of the allocator: it has no holder")
	}
	node := slices.IndexFunc(s.lab.Nodes,
		func(n *cluster.Node) bool { return strings.HasPrefix(*lease.Spec.HolderIdentity, n.Name) })
	if node < 0 {
		return "", fmt.Errorf("read lease of the allocator: its holder %s is no node",
			*lease.Spec.HolderIdentity)
	}
	return s.lab.Nodes[node].Name, nil
}

// clean mends everything and removes all Services, many at a time, before the lab removes what else
// there is.
func clean(ctx context.Context, l *servicelab.Lab) error {
	for _, n := range l.Nodes {
		if err := errors.Join(n.TerminateAgent(time.Second), n.PowerOn()); err != nil {
			return err
		}
	}
	if err := l.WaitReady(ctx); err != nil {
		return err
	}
	list, err := l.Kube.CoreV1().Services(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	err = each(ctx, l, len(list.Items),
		func(ctx context.Context, kube kubernetes.Interface, i int) error {
			if list.Items[i].Name == "kubernetes" {
				return nil
			}
			return kube.CoreV1().Services(metav1.NamespaceDefault).Delete(ctx, list.Items[i].Name,
				metav1.DeleteOptions{})
		})
	if err != nil {
		return fmt.Errorf("delete services: %w", err)
	}
	if err := l.Kube.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).DeleteCollection(ctx,
		metav1.DeleteOptions{},
		metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "!=kubernetes"}); err != nil {
		return fmt.Errorf("delete endpointslices: %w", err)
	}
	if err := l.Kube.CoreV1().Events(metav1.NamespaceDefault).DeleteCollection(ctx,
		metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return fmt.Errorf("delete events: %w", err)
	}
	return l.Reset(ctx)
}
