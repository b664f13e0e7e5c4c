package svc

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/kvip/kvip/pkg/apiclient"
)

const (
	// A list or watch that failed is tried again after a pause that grows from minPause to maxPause.
	minPause = 100 * time.Millisecond
	maxPause = 3 * time.Second
	// A type that is not installed, or must not be read, is asked for this often.
	absentPause = 5 * time.Second
	// A watch that lasted as long as this was a good one.
	goodWatch = 10 * time.Second
)

// patience is the reflector's own, between watches that are refused. Its default goes up to half a
// minute, for which nobody would see that an API server is back.
var patience = wait.Backoff{Duration: minPause, Cap: maxPause, Steps: 10, Factor: 2, Jitter: 0.2}

// source says how one kind of objects is read from an API server.
type source struct {
	// kind names the objects for people, as "services".
	kind string
	// resource is what the API calls them, as "services".
	resource string
	// example is an empty object of the type that the watch delivers.
	example runtime.Object
	list    func(ctx context.Context, s *apiclient.Server, o metav1.ListOptions) (runtime.Object, error)
	watch   func(ctx context.Context, s *apiclient.Server, o metav1.ListOptions) (watch.Interface, error)
	// optional says that kvip works without: that it must not be read is no reason to doubt the credentials (S9).
	optional bool
}

// run lists and watches until ctx ends, whatever comes. It may be called again after that.
func (m *mirror[T]) run(ctx context.Context, router *apiclient.Router) {
	if m.reflector == nil {
		m.reflector = cache.NewReflectorWithOptions(m.lister(router), m.example, m, cache.ReflectorOptions{Name: m.kind, Backoff: &patience})
	}
	ctx = logr.NewContext(ctx, quiet())
	for pause := minPause; ctx.Err() == nil; pause = min(2*pause, maxPause) {
		began := time.Now()
		_ = m.reflector.ListAndWatchWithContext(ctx) // what was wrong is noted with each request
		if time.Since(began) > goodWatch {
			pause = minPause
		}
		if m.state().absent {
			pause = absentPause
		}
		sleep(ctx, pause)
	}
}

// note remembers what is wrong, and logs each new trouble once.
func (m *mirror[T]) note(verb string, err error) {
	m.failed(verb, m.resource, err)
	m.mu.Lock()
	absent, text := apierrors.IsNotFound(err) || m.optional && apierrors.IsForbidden(err), err.Error()
	news := m.now.problem != text
	m.now.absent, m.now.problem = absent, text
	m.mu.Unlock()
	if news {
		m.log.Warn("cannot read objects; trying again", "kind", m.kind, "reason", err)
		m.changed(true)
	}
}

// worked says that a watch has begun.
func (m *mirror[T]) worked() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.absent, m.now.problem = false, ""
}

// lister asks the API server that the router names, and tells it what came of it.
func (m *mirror[T]) lister(router *apiclient.Router) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := ask(ctx, router, m.source, m.list, o)
			if err != nil && ctx.Err() == nil {
				m.note("list", err)
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := ask(ctx, router, m.source, m.watch, o)
			switch {
			case err == nil:
				m.worked()
			case ctx.Err() == nil && (o.SendInitialEvents == nil || apiclient.IsNoResponse(err)): // else a list follows
				m.note("watch", err)
			}
			return w, err
		},
	}
}

// ask makes one request to the API server that the router names.
func ask[R any](ctx context.Context, router *apiclient.Router, s source, request func(context.Context, *apiclient.Server, metav1.ListOptions) (R, error), o metav1.ListOptions) (R, error) {
	server, err := router.Server()
	if err != nil {
		var none R
		return none, err
	}
	result, err := request(ctx, server, o)
	if !s.optional || !apierrors.IsForbidden(err) {
		router.Report(server, err)
	}
	return result, err
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
