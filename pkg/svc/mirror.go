package svc

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/kvip/kvip/pkg/apiclient"
)

const (
	// A list or watch that failed is tried again after a pause that grows from minPause to maxPause.
	minPause = 100 * time.Millisecond
	maxPause = 3 * time.Second
	// A type that is not installed is looked for this often.
	absentPause = 5 * time.Second
	// A watch that lasted as long as this was a good one.
	goodWatch = 10 * time.Second
)

// object is a decoded value with the metadata that a cache needs: namespace, name and version.
type object interface {
	comparable
	metav1.Object
}

// source says how one kind of objects is read from an API server.
type source struct {
	// kind names the objects for people, as "services".
	kind string
	// example is an empty object of the type that the watch delivers.
	example runtime.Object
	list    func(ctx context.Context, s *apiclient.Server, o metav1.ListOptions) (runtime.Object, error)
	watch   func(ctx context.Context, s *apiclient.Server, o metav1.ListOptions) (watch.Interface, error)
}

// mirror keeps the decoded objects of one kind. It is a store of client-go's reflector, which lists,
// watches, and begins anew after whatever ends a watch (410 and dropped connections included).
type mirror[T object] struct {
	source
	decode  func(runtime.Object) (T, bool) // false: of no interest
	changed func(matters bool)             // called after each change, without a lock held
	// same says of two versions of an object that they differ in nothing that decisions depend on, as
	// a Lease that was renewed. Nil: each version counts.
	same   func(a, b T) bool
	log    *slog.Logger
	failed func(kind string, err error)

	mu      sync.RWMutex
	items   map[string]T
	synced  bool
	problem string
}

// Add implements cache.ReflectorStore.
func (m *mirror[T]) Add(o any) error {
	key, err := cache.MetaNamespaceKeyFunc(o)
	if err != nil {
		return fmt.Errorf("take %s: %w", m.kind, err)
	}
	value, ok := m.take(o)
	m.mu.Lock()
	old, had := m.items[key]
	if ok {
		m.items[key] = value
	} else {
		delete(m.items, key)
	}
	m.mu.Unlock()
	m.changed(!ok || !had || m.same == nil || !m.same(old, value))
	return nil
}

// Update implements cache.ReflectorStore.
func (m *mirror[T]) Update(o any) error { return m.Add(o) }

// Delete implements cache.ReflectorStore.
func (m *mirror[T]) Delete(o any) error {
	key, err := cache.MetaNamespaceKeyFunc(o)
	if err != nil {
		return fmt.Errorf("take deletion of %s: %w", m.kind, err)
	}
	m.mu.Lock()
	delete(m.items, key)
	m.mu.Unlock()
	m.changed(true)
	return nil
}

// Replace implements cache.ReflectorStore.
func (m *mirror[T]) Replace(list []any, _ string) error {
	items := make(map[string]T, len(list))
	for _, o := range list {
		key, err := cache.MetaNamespaceKeyFunc(o)
		if err != nil {
			return fmt.Errorf("take list of %s: %w", m.kind, err)
		}
		if value, ok := m.take(o); ok {
			items[key] = value
		}
	}
	m.mu.Lock()
	m.items, m.synced, m.problem = items, true, ""
	m.mu.Unlock()
	m.changed(true)
	return nil
}

// Resync implements cache.ReflectorStore.
func (m *mirror[T]) Resync() error { return nil }

// Transformer implements cache.TransformingStore: while a long list arrives, only decoded values are
// kept.
func (m *mirror[T]) Transformer() cache.TransformFunc {
	return func(o any) (any, error) {
		if raw, ok := o.(runtime.Object); ok {
			if value, ok := m.decode(raw); ok {
				return value, nil
			}
		}
		return o, nil
	}
}

// take decodes what was not decoded by the transformer.
func (m *mirror[T]) take(o any) (T, bool) {
	if value, ok := o.(T); ok {
		return value, true
	}
	raw, ok := o.(runtime.Object)
	if !ok {
		var none T
		return none, false
	}
	return m.decode(raw)
}

// all returns every value, in no order.
func (m *mirror[T]) all() []T {
	m.mu.RLock()
	defer m.mu.RUnlock()
	list := make([]T, 0, len(m.items))
	for _, item := range m.items {
		list = append(list, item)
	}
	return list
}

// state says whether the list was read once, and what is wrong at present.
func (m *mirror[T]) state() (synced bool, problem string) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.synced, m.problem
}

// run lists and watches until ctx ends, whatever comes.
func (m *mirror[T]) run(ctx context.Context, router *apiclient.Router) {
	logger := quiet(m.log)
	reflector := cache.NewReflectorWithOptions(m.lister(router), m.example, m, cache.ReflectorOptions{Name: m.kind, Logger: &logger})
	for pause := minPause; ctx.Err() == nil; {
		began := time.Now()
		err := reflector.ListAndWatchWithContext(ctx)
		if time.Since(began) > goodWatch {
			pause = minPause
		}
		if err != nil && ctx.Err() == nil {
			m.note(err)
		}
		if err == nil { // the server ended the watch, as it does after some minutes
			continue
		}
		if apierrors.IsNotFound(err) { // the type is not installed
			pause = absentPause
		}
		sleep(ctx, pause)
		pause = min(2*pause, maxPause)
	}
}

// note remembers what is wrong, and logs each new trouble once.
func (m *mirror[T]) note(err error) {
	m.failed(m.kind, err)
	m.mu.Lock()
	defer m.mu.Unlock()
	if text := err.Error(); m.problem != text {
		m.problem = text
		m.log.Warn("cannot read objects; trying again", "kind", m.kind, "reason", err)
	}
}

// lister asks the API server that the router names, and tells it what came of it.
func (m *mirror[T]) lister(router *apiclient.Router) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			server, err := router.Server()
			if err != nil {
				return nil, err
			}
			list, err := m.list(ctx, server, o)
			router.Report(server, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			server, err := router.Server()
			if err != nil {
				return nil, err
			}
			w, err := m.watch(ctx, server, o)
			router.Report(server, err)
			if err == nil {
				m.worked()
			}
			return w, err
		},
	}
}

func (m *mirror[T]) worked() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.problem = ""
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
