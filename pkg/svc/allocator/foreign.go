package allocator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

const (
	// takeOverInterval is the least time between two take-overs of one status: a program that writes
	// it all the time keeps it.
	takeOverInterval = 10 * time.Minute
	// kubeVIPManager is kube-vip's name as the owner of fields.
	kubeVIPManager = "kube-vip"
	// serviceLeasePrefix is the prefix of the Lease that kube-vip has for a Service, in the Service's
	// namespace, with its setting svc_election. The name of the Service follows.
	serviceLeasePrefix = "kubevip-"
	// serviceLeasesInterval is the time between two lists of these Leases.
	serviceLeasesInterval = 5 * time.Second
	// The holder of such a Lease counts for its duration without a change, within these limits.
	minLeaseDuration = 5 * time.Second
	maxLeaseDuration = 10 * time.Minute
	// leasesPerPage and maxLeasePages limit one list of the cluster's Leases.
	leasesPerPage = 500
	maxLeasePages = 40
)

// statusOwners returns the owner of each managed Service that belongs to another program: the one
// that wrote its status, or a kube-vip with a Lease for it (S9).
func (a *Allocator) statusOwners(services []*svc.Service,
	l ipam.Ledger) map[ipam.ServiceKey]string {
	a.takeovers.retain(services)
	now := a.cfg.Clock()
	all, electing := map[ipam.ServiceKey]string{}, a.foreign.holders(now, l)
	for _, s := range services {
		if !s.Managed {
			continue
		}
		if holder := electing[s.Key()]; holder != "" {
			all[s.Key()] = fmt.Sprintf("kube-vip at %s, which renews lease %s/%s%s",
				holder, s.Namespace, serviceLeasePrefix, s.Name)
		} else if program := a.takeovers.foreign(s, l, now); program != "" {
			all[s.Key()] = program
		}
	}
	return all
}

// takeover is the take-over of another program's status.
type takeover struct {
	at   time.Duration
	done bool // kvip has owned the status since
}

// takeovers are the recent ones.
type takeovers map[ipam.ServiceKey]takeover

// foreign returns the program that owns the status of s, "" if kvip may write it. kvip takes over a
// status of kube-vip, and one with the addresses that the ledger has for s: once in
// takeOverInterval, so that two programs do not overwrite each other for ever.
func (t takeovers) foreign(s *svc.Service, l ipam.Ledger, now time.Duration) string {
	key := s.Key()
	last, known := t[key]
	if len(s.StatusBy) == 0 {
		switch {
		case known && now-last.at > takeOverInterval:
			delete(t, key)
		case known:
			t[key] = takeover{last.at, true}
		}
		return ""
	}
	allowed := !writtenByOthers(s) || recordsAll(l, key, s)
	if !allowed || known && last.done && now-last.at <= takeOverInterval {
		return strings.Join(s.StatusBy, ", ")
	}
	if !known || last.done {
		t[key] = takeover{at: now}
	}
	return ""
}

// retain removes the entries of deleted Services.
func (t takeovers) retain(services []*svc.Service) {
	if len(t) == 0 {
		return
	}
	exists := make(map[ipam.ServiceKey]bool, len(services))
	for _, s := range services {
		exists[s.Key()] = true
	}
	for key := range t {
		if !exists[key] {
			delete(t, key)
		}
	}
}

// writtenByOthers reports whether a program other than kvip and kube-vip wrote the status of s.
func writtenByOthers(s *svc.Service) bool {
	return slices.ContainsFunc(s.StatusBy, func(m string) bool { return m != kubeVIPManager })
}

// recordsAll reports whether the ledger has all addresses of the status for the Service.
func recordsAll(l ipam.Ledger, key ipam.ServiceKey, s *svc.Service) bool {
	for _, a := range s.Status {
		if !slices.ContainsFunc(l[a], func(e ipam.Entry) bool { return e.Service == key }) {
			return false
		}
	}
	return len(s.Status) > 0
}

// serviceLease is kube-vip's Lease of one Service.
type serviceLease struct {
	holder, version string
	duration        time.Duration
	changedAt       time.Duration // of the last observed change
	changed         bool          // a change was observed, not only the Lease
	valid           bool          // at the last list
}

// isValid reports whether the holder has renewed the Lease recently.
func (l serviceLease) isValid(now time.Duration) bool {
	return now-l.changedAt <= min(max(l.duration, minLeaseDuration), maxLeaseDuration)
}

// serviceLeases are kube-vip's Leases of Services. A Service whose Lease is renewed belongs to
// kube-vip (S9). It is safe for concurrent use.
type serviceLeases struct {
	mu      sync.Mutex
	known   bool // they were listed since this node became the leader
	of      map[ipam.ServiceKey]serviceLease
	version uint64 // grows with each change of holders
}

// observe records a list that began at now. Silence counts from the last observed change (E2).
func (l *serviceLeases) observe(seen map[ipam.ServiceKey]serviceLease, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed := !l.known || len(seen) != len(l.of)
	for key, next := range seen {
		last, had := l.of[key]
		next.changedAt, next.changed = now, l.known
		if had && last.version == next.version {
			next.changedAt, next.changed = last.changedAt, last.changed
		}
		next.valid = next.isValid(now)
		seen[key] = next
		changed = changed || last.holder != next.holder || last.valid != next.valid ||
			last.changed != next.changed
	}
	l.known, l.of = true, seen
	if changed {
		l.version++
	}
}

// forget discards the list: this node is not the leader.
func (l *serviceLeases) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known, l.of = false, nil
}

// state returns whether the Leases are known, and a number that grows when they change.
func (l *serviceLeases) state() (known bool, version uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known, l.version
}

// holders returns the valid holders at now, by Service. A Lease without an observed change may be
// left behind: until then, a Service of the ledger stays kvip's, as with the former allocator.
func (l *serviceLeases) holders(now time.Duration, ledger ipam.Ledger) map[ipam.ServiceKey]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := make(map[ipam.ServiceKey]string, len(l.of))
	for key, one := range l.of {
		if one.isValid(now) {
			names[key] = one.holder
		}
	}
	for _, entries := range ledger {
		for _, entry := range entries {
			if !l.of[entry.Service].changed {
				delete(names, entry.Service)
			}
		}
	}
	return names
}

// readServiceLease decodes a Lease. It is false if the Lease is not kube-vip's for a Service, or
// has no holder.
func readServiceLease(l *coordinationv1.Lease) (ipam.ServiceKey, serviceLease, bool) {
	service, ok := strings.CutPrefix(l.Name, serviceLeasePrefix)
	if !ok || service == "" || l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" {
		return "", serviceLease{}, false
	}
	one := serviceLease{holder: svc.Brief(*l.Spec.HolderIdentity), version: l.ResourceVersion}
	if l.Spec.LeaseDurationSeconds != nil {
		one.duration = time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
	}
	return ipam.ServiceKey(l.Namespace + "/" + service), one, true
}

// followServiceLeases lists kube-vip's Leases of Services while this node is the leader.
func (a *Allocator) followServiceLeases(ctx context.Context) {
	if !a.cfg.KubeVIP {
		return
	}
	var listed time.Duration
	failing := false
	for ctx.Err() == nil {
		_, leader := a.cfg.Elector.IsLeader()
		known, _ := a.foreign.state()
		if now := a.cfg.Clock(); leader && (!known || now-listed >= serviceLeasesInterval) {
			listed = now
			err := a.listServiceLeases(ctx, now)
			switch {
			case err != nil && !failing && ctx.Err() == nil:
				a.cfg.Log.Warn("cannot list kube-vip's Leases of Services; trying again", "err", err)
			case err == nil && failing:
				a.cfg.Log.Info("listed kube-vip's Leases of Services again")
			}
			failing = err != nil
		}
		backoff.Sleep(ctx, pollInterval)
	}
}

// listServiceLeases lists them once. Without the permission, kvip respects no such Lease. After an
// error those of the last list count.
func (a *Allocator) listServiceLeases(ctx context.Context, now time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, serviceLeasesInterval)
	defer cancel()
	var seen map[ipam.ServiceKey]serviceLease
	failures := a.cfg.failures()
	err := failures.send(ctx, a.cfg.Router, "list", "leases",
		func(ctx context.Context, server *apiclient.Server) (err error) {
			leases := server.Coordination.Leases(metav1.NamespaceAll)
			seen, err = readServiceLeases(func(o metav1.ListOptions) (*coordinationv1.LeaseList, error) {
				list, err := leases.List(ctx, o)
				return list, failures.count("list", "leases", err)
			})
			if apierrors.IsForbidden(err) { // keep the credentials
				a.allowed.missing("list leases", "kube-vip's Leases of Services are ignored", err)
				return nil
			}
			return err
		})
	if err != nil {
		return err
	}
	a.foreign.observe(seen, now)
	return nil
}

// readServiceLeases reads the cluster's Leases in pages, by list. It returns an error if there are
// more than fit: those that it has not read would count as gone.
func readServiceLeases(
	list func(metav1.ListOptions) (*coordinationv1.LeaseList, error),
) (map[ipam.ServiceKey]serviceLease, error) {
	seen := map[ipam.ServiceKey]serviceLease{}
	options := metav1.ListOptions{Limit: leasesPerPage}
	for range maxLeasePages {
		page, err := list(options)
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			if key, one, ok := readServiceLease(&page.Items[i]); ok {
				seen[key] = one
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return seen, nil
		}
	}
	return nil, fmt.Errorf("list leases: more than %d", leasesPerPage*maxLeasePages)
}

// removeFinalizers removes the finalizer of kube-vip's cloud provider from Services that wait for
// it, since kvip replaces it (S9). The ledger has none of their addresses by then. A Service with a
// status of another program waits: other cloud providers use the same finalizer, and have to clean
// up.
func (a *Allocator) removeFinalizers(services []*svc.Service) {
	for _, s := range services {
		if len(s.Finalizers) == 0 || writtenByOthers(s) {
			continue
		}
		// Each removal is the same: it is paced as a status that does not change.
		a.writePaced("service "+string(s.Key()), v1alpha1.IPPoolStatus{}, func(ctx context.Context) {
			a.removeFinalizer(ctx, s)
		})
	}
}

func (a *Allocator) removeFinalizer(ctx context.Context, s *svc.Service) {
	rest := slices.DeleteFunc(slices.Clone(s.Finalizers), func(f string) bool {
		return f == svc.CleanupFinalizer
	})
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": s.ResourceVersion, "uid": s.UID, "finalizers": rest,
	}})
	if err == nil {
		failures := a.cfg.failures()
		options := metav1.PatchOptions{FieldManager: svc.FieldManager}
		err = failures.send(ctx, a.cfg.Router, "patch", "services",
			func(ctx context.Context, server *apiclient.Server) error {
				services := server.Core.Services(s.Namespace)
				_, err := services.Patch(ctx, s.Name, types.MergePatchType, body, options)
				failures.count("patch", "services", err)
				if apierrors.IsForbidden(err) { // keep the credentials
					a.allowed.missing("patch services", "Services that wait for kube-vip's cloud provider "+
						"are not deleted: remove the finalizer "+svc.CleanupFinalizer, err)
					return nil
				}
				return err
			})
	}
	if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		a.cfg.Log.Warn("cannot remove a finalizer; trying again", "service", s.Key(), "err", err)
	}
}
