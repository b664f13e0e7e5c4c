package allocator

import (
	"context"
	"maps"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

const (
	// statusWorkers is how many statuses are written at a time.
	statusWorkers = 24
	// echoTimeout is how long the queue waits until the watch shows a version that it wrote.
	echoTimeout = 30 * time.Second
)

// statusRetry has the pauses after failed writes of one status.
var statusRetry = backoff.Backoff{Min: 250 * time.Millisecond, Max: 30 * time.Second}

// statusQueue writes the statuses of Services, several at a time, each at the version that was
// reconciled. It is safe for concurrent use.
type statusQueue struct {
	cfg    Config
	client *statusClient
	queue  chan ipam.ServiceKey

	mu     sync.Mutex
	writes map[ipam.ServiceKey]*statusWrite
}

// statusWrite is the write of one status: waiting, running, or done and not yet seen by the watch.
type statusWrite struct {
	service *svc.Service
	want    desiredStatus
	queued  bool
	running bool
	// written is the version of the last write. Until the watch shows it, nothing is due. A version
	// that never comes, as after a restore of etcd, is awaited until the instant of that name.
	written  *metav1.ObjectMeta
	until    time.Duration
	retryAt  time.Duration
	failures int // in a row
}

func newStatusQueue(cfg Config, client *statusClient) *statusQueue {
	return &statusQueue{
		cfg: cfg, client: client,
		queue: make(chan ipam.ServiceKey, 1<<16), writes: map[ipam.ServiceKey]*statusWrite{},
	}
}

// run writes what is queued until ctx ends.
func (q *statusQueue) run(ctx context.Context) {
	var group sync.WaitGroup
	for range statusWorkers {
		group.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case key := <-q.queue:
					q.write(ctx, key)
				}
			}
		})
	}
	group.Wait()
}

// set requests a status of s. It is written if s has another one.
func (q *statusQueue) set(s *svc.Service, want desiredStatus) {
	q.mu.Lock()
	defer q.mu.Unlock()
	key, now := s.Key(), q.cfg.Clock()
	w := q.writes[key]
	switch {
	case want.matches(s):
		if w != nil && !w.running {
			delete(q.writes, key)
		}
		return
	case w == nil:
		w = &statusWrite{}
		q.writes[key] = w
	case w.awaits(s, now):
		return
	}
	if w.service == nil || w.service.ResourceVersion != s.ResourceVersion {
		w.retryAt, w.failures = 0, 0
	}
	w.service, w.want, w.written = s, want, nil // s includes the last write
	if w.queued || w.running || now < w.retryAt {
		return
	}
	select {
	case q.queue <- key:
		w.queued = true
	default: // full: the next reconcile queues it
	}
}

// awaits reports whether s is older than the last write.
func (w *statusWrite) awaits(s *svc.Service, now time.Duration) bool {
	return w.written != nil && now < w.until && s.ResourceVersion != w.written.ResourceVersion &&
		!svc.Newer(s, w.written)
}

// isWaiting reports whether no write is due before a Service changes: there is none, or each one
// waits for the watch or for its retry.
func (q *statusQueue) isWaiting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.cfg.Clock()
	for _, w := range q.writes {
		if w.isDue(now) {
			return false
		}
	}
	return true
}

// isDue reports whether the write is queued, running or to be queued.
func (w *statusWrite) isDue(now time.Duration) bool {
	switch {
	case w.queued || w.running:
		return true
	case w.written != nil:
		return now >= w.until
	}
	return now >= w.retryAt
}

// retain removes waiting writes of other Services: these are deleted, or this node is not the
// leader.
func (q *statusQueue) retain(keys map[ipam.ServiceKey]bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	maps.DeleteFunc(q.writes, func(key ipam.ServiceKey, w *statusWrite) bool {
		return !keys[key] && !w.running
	})
}

// write writes one status, if this node is still the leader.
func (q *statusQueue) write(ctx context.Context, key ipam.ServiceKey) {
	q.mu.Lock()
	w := q.writes[key]
	if w == nil || !w.queued { // removed, or done by an earlier entry of the queue
		q.mu.Unlock()
		return
	}
	w.queued, w.running = false, true
	service, want := w.service, w.want
	q.mu.Unlock()
	var written *metav1.ObjectMeta
	var err error
	if _, leader := q.cfg.Elector.IsLeader(); leader {
		written, err = q.client.write(ctx, service, want)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	w.finish(service, written, err, q.cfg.Clock())
}

// finish records the outcome of a write. A failed one is repeated after a pause, or at once if the
// Service has changed meanwhile.
func (w *statusWrite) finish(
	service *svc.Service, written *metav1.ObjectMeta, err error, now time.Duration,
) {
	w.running = false
	switch {
	case err == nil:
		w.written, w.until, w.failures, w.retryAt = written, now+echoTimeout, 0, 0
	case w.service == service:
		w.failures++
		w.retryAt = now + statusRetry.After(w.failures)
	}
}
