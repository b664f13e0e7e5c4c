package kubelease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/peer"
	"github.com/kvip/kvip/pkg/required"
)

// DirectoryName returns the name of the directory of a Lease, which is a Lease as well.
func DirectoryName(lease string) string { return lease + "-agents" }

// Annotations of a directory.
const (
	// AnnotationAgents has the agents that use the Lease, with their UDP addresses and public keys.
	AnnotationAgents = "kvip.dev/agents"
	// AnnotationFast is "allowed" once mode fast may have been used with the Lease (F8).
	AnnotationFast = "kvip.dev/mode-fast"
)

const fastAllowed = "allowed"

// Bounds of what is read from a directory.
const (
	maxAgents    = 32
	maxDirectory = 64 << 10 // bytes of agents; more count as none
)

// directoryBackoff is the pause after a write, longer after failures. conflictBackoff is the one
// after another agent was faster: agents that write at the same time must not do so again.
var (
	directoryBackoff = backoff.Backoff{Min: 200 * time.Millisecond, Max: 5 * time.Second}
	conflictBackoff  = backoff.Backoff{Min: 50 * time.Millisecond, Max: 2 * time.Second, Jitter: 0.8}
)

// Listing is the content of a directory.
type Listing struct {
	Agents   []peer.Agent
	EverFast bool // mode fast may have been used with the Lease (F8)
}

// entry is the JSON form of an agent.
type entry struct {
	ID        string         `json:"id"`
	Address   netip.AddrPort `json:"address"`
	Key       string         `json:"key"`
	Published time.Time      `json:"published"`
}

// DirectoryConfig of a Directory. Namespace, Lease and Router are required.
type DirectoryConfig struct {
	// Namespace and Lease name the Lease of the election. The directory is another Lease.
	Namespace, Lease string
	Router           *apiclient.Router
	// Log receives failures, once per outage. Nil discards them.
	Log *slog.Logger
	// OnFailure is called for each failed request, for metrics. It may be nil.
	OnFailure func(op string, err error)
}

// Directory publishes this agent in a Lease that all agents of an election share, and follows the
// others.
type Directory struct {
	cfg      DirectoryConfig
	name     string
	listings chan Listing
	changed  backoff.Signal

	mu      sync.Mutex
	self    *peer.Agent // to be published
	allow   bool        // mode fast is to be allowed
	allowed bool        // it was seen to be, which a deletion does not undo (F8)
	known   bool        // a state was seen
	current *coordinationv1.Lease
	failing bool
}

// NewDirectory returns a Directory, which does nothing before Run runs.
func NewDirectory(cfg DirectoryConfig) (*Directory, error) {
	if err := required.Fields("directory of agents", map[string]bool{
		"Namespace": cfg.Namespace == "", "Lease": cfg.Lease == "", "Router": cfg.Router == nil,
	}); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.OnFailure == nil {
		cfg.OnFailure = func(string, error) {}
	}
	return &Directory{
		cfg: cfg, name: DirectoryName(cfg.Lease), listings: make(chan Listing, 1),
		changed: backoff.NewSignal(),
	}, nil
}

// Publish sets what to publish of this agent.
func (d *Directory) Publish(self peer.Agent) { d.change(func() { d.self = &self }) }

// AllowFast records that mode fast may be used with the Lease from now on (F8).
func (d *Directory) AllowFast() { d.change(func() { d.allow = true }) }

// Listings returns the newest content after each change. Older ones that were not read are dropped.
func (d *Directory) Listings() <-chan Listing { return d.listings }

func (d *Directory) change(do func()) {
	d.mu.Lock()
	do()
	d.mu.Unlock()
	d.changed.Notify()
}

// Run publishes and follows until ctx ends.
func (d *Directory) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.publish(ctx)
	}()
	w := watcher{
		namespace: d.cfg.Namespace, name: d.name, router: d.cfg.Router, log: d.cfg.Log,
		succeeded: func() {}, failed: d.failed, deliver: d.observe,
	}
	w.run(ctx)
	<-done
	return nil
}

// observe takes a state of the directory.
func (d *Directory) observe(_ context.Context, lease *coordinationv1.Lease, _ string) {
	d.mu.Lock()
	d.known, d.current = true, lease
	listing := Listing{}
	if lease != nil {
		listing = decodeListing(lease)
	}
	d.allowed = d.allowed || listing.EverFast
	listing.EverFast = d.allowed
	d.mu.Unlock()
	select { // the newest replaces one that was not read
	case <-d.listings:
	default:
	}
	d.listings <- listing // watcher is the only sender
	d.changed.Notify()
}

// publish writes what is missing in the directory, until ctx ends.
func (d *Directory) publish(ctx context.Context) {
	for failures, conflicts := 0, 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-d.changed:
		}
		next := d.next(time.Now())
		if next == nil {
			failures, conflicts = 0, 0
			continue
		}
		err := d.write(ctx, next)
		switch {
		case err == nil:
			failures, conflicts = 0, 0
			d.succeeded()
		case isConflict(err): // the watch shows what there is
			failures = 0
			conflicts++
			d.succeeded()
			backoff.Sleep(ctx, conflictBackoff.After(conflicts))
			continue
		default:
			failures++
			d.failed("update", fmt.Errorf("update lease %s/%s: %w", d.cfg.Namespace, d.name, err))
			d.changed.Notify()
		}
		backoff.Sleep(ctx, directoryBackoff.After(max(failures, 1)))
	}
}

// next returns the object to write, nil if there is nothing to change or nothing is known yet.
func (d *Directory) next(now time.Time) *coordinationv1.Lease {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.known {
		return nil
	}
	base := d.current
	if base == nil {
		base = &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: d.cfg.Namespace, Name: d.name},
		}
	}
	next, dirty := apiclient.CopyLease(base), false
	if (d.allow || d.allowed) && next.Annotations[AnnotationFast] != fastAllowed {
		next.Annotations[AnnotationFast], dirty = fastAllowed, true
	}
	list := decodeEntries(base.Annotations[AnnotationAgents])
	own := func(e entry) bool { return e.agent() == *d.self }
	if d.self != nil && !slices.ContainsFunc(list, own) {
		next.Annotations[AnnotationAgents], dirty = encodeEntries(list, *d.self, now), true
	}
	if !dirty {
		return nil
	}
	return next
}

// write creates or updates the object, if it is still the version that it builds on.
func (d *Directory) write(ctx context.Context, l *coordinationv1.Lease) error {
	return d.cfg.Router.Do(ctx, func(ctx context.Context, s *apiclient.Server) (err error) {
		ctx, cancel := context.WithTimeout(ctx, listTimeout)
		defer cancel()
		leases := s.Coordination.Leases(d.cfg.Namespace)
		if l.ResourceVersion == "" {
			_, err = leases.Create(ctx, l, metav1.CreateOptions{})
		} else {
			_, err = leases.Update(ctx, l, metav1.UpdateOptions{})
		}
		return err
	})
}

func (d *Directory) failed(op string, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	d.cfg.OnFailure(op, err)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.failing {
		d.cfg.Log.Warn("cannot follow the other agents; trying again", "lease", d.name, "err", err)
	}
	d.failing = true
}

func (d *Directory) succeeded() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing = false
}

func (e entry) agent() peer.Agent { return peer.Agent{ID: e.ID, Address: e.Address, Key: e.Key} }

// decodeListing returns the content of a directory.
func decodeListing(l *coordinationv1.Lease) Listing {
	listing := Listing{EverFast: l.Annotations[AnnotationFast] == fastAllowed}
	for _, e := range decodeEntries(l.Annotations[AnnotationAgents]) {
		listing.Agents = append(listing.Agents, e.agent())
	}
	return listing
}

// decodeEntries returns the agents of a directory, within bounds. Text that cannot be read has
// none: each agent then publishes itself again.
func decodeEntries(text string) []entry {
	var list []entry
	if json.Unmarshal([]byte(textUpTo(text, maxDirectory)), &list) != nil {
		return nil
	}
	list = slices.DeleteFunc(list, func(e entry) bool {
		return e.ID == "" || len(e.ID) > maxName || strings.Contains(e.ID, ",")
	})
	return list[:min(len(list), maxAgents)]
}

// encodeEntries returns a list with self. It replaces earlier agents of the same node, and the one
// that was published first if there are too many.
func encodeEntries(list []entry, self peer.Agent, now time.Time) string {
	node := election.NodeName(self.ID)
	list = slices.DeleteFunc(list, func(e entry) bool { return election.NodeName(e.ID) == node })
	slices.SortStableFunc(list, func(a, b entry) int { return a.Published.Compare(b.Published) })
	list = append(list[max(0, len(list)-maxAgents+1):], entry{
		ID: self.ID, Address: self.Address, Key: self.Key, Published: now.UTC().Truncate(time.Second),
	})
	slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.ID, b.ID) })
	text, err := json.Marshal(list)
	if err != nil { // a year beyond 9999
		return "[]"
	}
	return string(text)
}

// Agents returns the identities of the agents that have published themselves, sorted.
func Agents(
	ctx context.Context, router *apiclient.Router, namespace, lease string,
) (ids []string, err error) {
	w := watcher{namespace: namespace, name: DirectoryName(lease)}
	err = router.Do(ctx, func(ctx context.Context, s *apiclient.Server) error {
		list, err := s.Coordination.Leases(namespace).List(ctx, w.listOptions())
		if err != nil {
			return err
		}
		ids = nil
		for i := range list.Items {
			for _, a := range decodeListing(&list.Items[i]).Agents {
				ids = append(ids, a.ID)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list lease %s/%s: %w", namespace, w.name, err)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
