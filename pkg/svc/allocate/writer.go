package allocate

import (
	"context"
	"maps"
	"sync"
	"time"

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
	// written is the version that the last write gave: until the watch shows it, nothing is to be done.
	written *metav1.ObjectMeta
	retryAt time.Duration
	pause   time.Duration
}

func newWriter(cfg Config) *writer {
	return &writer{cfg: cfg, status: newStatusClient(cfg), queue: make(chan ipam.Owner, 1<<16), jobs: map[ipam.Owner]*job{}}
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
	owner := s.Owner()
	j := w.jobs[owner]
	if want.met(s) {
		if j != nil && !j.running {
			delete(w.jobs, owner)
		}
		return
	}
	if j == nil {
		j = &job{}
		w.jobs[owner] = j
	}
	if j.written != nil && !svc.Newer(s, j.written) && s.ResourceVersion != j.written.ResourceVersion {
		return // what was written is not seen yet
	}
	if j.service == nil || j.service.ResourceVersion != s.ResourceVersion {
		j.retryAt, j.pause = 0, 0
	}
	j.service, j.want = s, want
	if j.queued || j.running || w.cfg.Clock() < j.retryAt {
		return
	}
	select {
	case w.queue <- owner:
		j.queued = true
	default: // full: the next turn comes in a second
	}
}

// forget drops what belongs to Services that are gone.
func (w *writer) forget(services []*svc.Service) {
	known := make(map[ipam.Owner]bool, len(services))
	for _, s := range services {
		known[s.Owner()] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.jobs, func(owner ipam.Owner, j *job) bool { return !known[owner] && !j.running })
}

// stop forgets what was not begun: another node has the seat.
func (w *writer) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for owner, j := range w.jobs {
		if !j.running {
			delete(w.jobs, owner)
		}
	}
}

// work writes one status, unless this node has lost the seat meanwhile.
func (w *writer) work(ctx context.Context, owner ipam.Owner) {
	w.mu.Lock()
	j := w.jobs[owner]
	if j == nil {
		w.mu.Unlock()
		return
	}
	j.queued, j.running = false, true
	service, want := j.service, j.want
	w.mu.Unlock()
	var written *metav1.ObjectMeta
	var err error
	if _, held := w.cfg.Keeper.Held(); held {
		written, err = w.status.write(ctx, service, want)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	j.running = false
	if err != nil {
		j.pause = min(max(2*j.pause, firstRetry), lastRetry)
		j.retryAt = w.cfg.Clock() + j.pause
		return
	}
	j.written, j.pause, j.retryAt = written, 0, 0
}
