package allocator

import (
	"context"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

const (
	// electionPrefix begins the name of the Lease that kube-vip has for a Service, in the Service's
	// namespace, where its setting svc_election is true; the Service's name follows.
	electionPrefix = "kubevip-"
	// electionsEvery is how often these Leases are listed.
	electionsEvery = 5 * time.Second
	// minElection and maxElection bound for how long a holder is respected without a change.
	minElection = 5 * time.Second
	maxElection = 10 * time.Minute
	// leasesPerPage and leasePages bound one listing of the cluster's Leases.
	leasesPerPage = 500
	leasePages    = 40
)

// election is kube-vip's Lease of one Service.
type election struct {
	holder, version string
	duration        time.Duration
	changedAt       time.Duration // when it was last seen to change
	changed         bool          // it was seen to, not only found
	respected       bool          // when it was listed last
}

// respects reports whether the holder has not been silent for too long.
func (e election) respects(now time.Duration) bool {
	return now-e.changedAt <= min(max(e.duration, minElection), maxElection)
}

// elections are kube-vip's Leases of Services. A Service whose Lease is renewed is kube-vip's (S9).
type elections struct {
	mu      sync.Mutex
	known   bool // they were listed since this node has the seat, or must not be
	of      map[ipam.Owner]election
	changes uint64 // grows when holders may answer otherwise
}

// observe takes in a listing that began at now. Silence counts from the last change that was seen (E2).
func (e *elections) observe(seen map[ipam.Owner]election, now time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	changed := !e.known || len(seen) != len(e.of)
	for owner, next := range seen {
		last, had := e.of[owner]
		next.changedAt, next.changed = now, e.known
		if had && last.version == next.version {
			next.changedAt, next.changed = last.changedAt, last.changed
		}
		next.respected = next.respects(now)
		seen[owner] = next
		changed = changed || last.holder != next.holder || last.respected != next.respected || last.changed != next.changed
	}
	e.known, e.of = true, seen
	if changed {
		e.changes++
	}
}

// forget begins anew: another node has the seat.
func (e *elections) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known, e.of = false, nil
}

// state returns whether the Leases are known, and a number that grows when they change.
func (e *elections) state() (known bool, changes uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.known, e.changes
}

// holders returns who is respected at now, by Service. Of a Lease that this node has found and not seen to change
// nobody knows whether it is renewed: what is in the ledger is kvip's until then, as it was for the former allocator.
func (e *elections) holders(now time.Duration, l ipam.Ledger) map[ipam.Owner]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	names := make(map[ipam.Owner]string, len(e.of))
	for owner, one := range e.of {
		if one.respects(now) {
			names[owner] = one.holder
		}
	}
	for _, holders := range l {
		for _, h := range holders {
			if !e.of[h.Owner].changed {
				delete(names, h.Owner)
			}
		}
	}
	return names
}

// electionOf reads a Lease; false if it is none of kube-vip's for a Service, or nobody holds it.
func electionOf(l *coordinationv1.Lease) (ipam.Owner, election, bool) {
	service, ok := strings.CutPrefix(l.Name, electionPrefix)
	if !ok || service == "" || l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" {
		return "", election{}, false
	}
	one := election{holder: svc.Brief(*l.Spec.HolderIdentity), version: l.ResourceVersion}
	if l.Spec.LeaseDurationSeconds != nil {
		one.duration = time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
	}
	return ipam.Owner(l.Namespace + "/" + service), one, true
}

// followElections lists kube-vip's Leases of Services while this node has the seat.
func (a *Allocator) followElections(ctx context.Context) {
	if !a.cfg.KubeVIP {
		return
	}
	var listed time.Duration
	for ctx.Err() == nil {
		_, held := a.cfg.Elector.IsLeader()
		known, _ := a.elections.state()
		if now := a.cfg.Clock(); held && (!known || now-listed >= electionsEvery) {
			listed = now
			a.listElections(ctx, now)
		}
		pause(ctx, lookAgain)
	}
}

// listElections lists them once. Without the right to, no kube-vip is respected.
func (a *Allocator) listElections(ctx context.Context, now time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, electionsEvery)
	defer cancel()
	seen := map[ipam.Owner]election{}
	options := metav1.ListOptions{Limit: leasesPerPage}
	failed := a.cfg.failed()
	err := failed.do(ctx, a.cfg.Router, "list", "leases", func(ctx context.Context, server *apiclient.Server) error {
		for range leasePages {
			list, err := server.Coordination.Leases(metav1.NamespaceAll).List(ctx, options)
			if failed.of("list", "leases", err); apierrors.IsForbidden(err) { // no reason to change credentials
				a.writer.status.rights.missing("list leases", "kube-vip's own elections for Services are not respected", err)
				return nil
			}
			if err != nil {
				return err
			}
			for i := range list.Items {
				if owner, one, ok := electionOf(&list.Items[i]); ok {
					seen[owner] = one
				}
			}
			if options.Continue = list.Continue; options.Continue == "" {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		a.cfg.Log.Debug("cannot list kube-vip's leases of Services; trying again", "reason", err)
		return
	}
	a.elections.observe(seen, now)
}
