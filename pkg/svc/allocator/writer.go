package allocator

import (
	"context"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

const (
	// writers is how many statuses are written at a time.
	writers = 24
	// A status that could not be written is tried again after a pause between these.
	firstRetry = 250 * time.Millisecond
	lastRetry  = 30 * time.Second
	// A version that was written is waited for so long.
	notSeen = 30 * time.Second
)

// writer writes statuses of Services, many at a time, each at the version that was decided upon.
type writer struct {
	cfg    Config
	status *statusClient
	queue  chan ipam.Owner

	mu   sync.Mutex
	jobs map[ipam.Owner]*job
}

// job is what is to be written to one Service, or was.
type job struct {
	service *svc.Service
	want    wish
	queued  bool
	running bool
	// written is the version that the last write gave: until the watch shows it, nothing is to be done. A
	// version that never comes, as after etcd was restored from a backup, is waited for until then.
	written *metav1.ObjectMeta
	until   time.Duration
	retryAt time.Duration
	pause   time.Duration
}

func newWriter(cfg Config) *writer {
	return &writer{cfg: cfg, status: newStatusClient(cfg), queue: make(chan ipam.Owner, 1<<16), jobs: map[ipam.Owner]*job{}}
}

// announce posts the Event that says where a Service is announced now.
func (w *writer) announce(ctx context.Context, n announcement) {
	w.status.events.change(ctx, n.service, corev1.EventTypeNormal, ReasonAnnounced, n.text)
}

// run works the queue off until ctx ends.
func (w *writer) run(ctx context.Context) {
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case owner := <-w.queue:
					w.work(ctx, owner)
				}
			}
		})
	}
	group.Wait()
}

// service says what the status of s is to say. It is written if s says otherwise.
func (w *writer) service(s *svc.Service, want wish) {
	w.mu.Lock()
	defer w.mu.Unlock()
	owner, now := s.Owner(), w.cfg.Clock()
	j := w.jobs[owner]
	switch {
	case want.met(s):
		if j != nil && !j.running {
			delete(w.jobs, owner)
		}
		return
	case j == nil:
		j = &job{}
		w.jobs[owner] = j
	case j.awaits(s, now):
		return
	}
	if j.service == nil || j.service.ResourceVersion != s.ResourceVersion {
		j.retryAt, j.pause = 0, 0
	}
	j.service, j.want, j.written = s, want, nil // s has what was written
	if j.queued || j.running || now < j.retryAt {
		return
	}
	select {
	case w.queue <- owner:
		j.queued = true
	default: // full: the next turn comes in a second
	}
}

// awaits is whether s is older than what was written.
func (j *job) awaits(s *svc.Service, now time.Duration) bool {
	return j.written != nil && now < j.until && s.ResourceVersion != j.written.ResourceVersion && !svc.Newer(s, j.written)
}

// idle is whether every Service says what it is to say.
func (w *writer) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.jobs) == 0
}

// waits reports whether nothing is to be done before one of the Services changes: what failed is not due yet.
func (w *writer) waits() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.cfg.Clock()
	for _, j := range w.jobs {
		if j.isDue(now) {
			return false
		}
	}
	return true
}

// isDue reports whether the job is under way, or is to be looked at.
func (j *job) isDue(now time.Duration) bool {
	switch {
	case j.queued || j.running:
		return true
	case j.written != nil:
		return now >= j.until // before that, the watch shows it
	}
	return now >= j.retryAt
}

// only forgets what was not begun for other Services than these: they are gone, or another node has the seat.
func (w *writer) only(owners map[ipam.Owner]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.jobs, func(owner ipam.Owner, j *job) bool { return !owners[owner] && !j.running })
}

// work writes one status, unless this node has lost the seat meanwhile.
func (w *writer) work(ctx context.Context, owner ipam.Owner) {
	w.mu.Lock()
	j := w.jobs[owner]
	if j == nil || !j.queued { // forgotten, or done under an earlier entry of the queue
		w.mu.Unlock()
		return
	}
	j.queued, j.running = false, true
	service, want := j.service, j.want
	w.mu.Unlock()
	var written *metav1.ObjectMeta
	var err error
	if _, held := w.cfg.Elector.IsLeader(); held {
		written, err = w.status.write(ctx, service, want)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	j.done(service, written, err, w.cfg.Clock())
}

// done notes how a write ended. What failed is tried again after a pause, unless the Service has changed
// meanwhile: then there is another thing to try.
func (j *job) done(service *svc.Service, written *metav1.ObjectMeta, err error, now time.Duration) {
	j.running = false
	switch {
	case err == nil:
		j.written, j.until, j.pause, j.retryAt = written, now+notSeen, 0, 0
	case j.service == service:
		j.pause = min(max(2*j.pause, firstRetry), lastRetry)
		j.retryAt = now + j.pause
	}
}
