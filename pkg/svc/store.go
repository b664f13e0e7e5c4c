package svc

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/backoff"
)

// object is a decoded value with the metadata that a store needs: namespace, name and version.
type object interface {
	comparable
	metav1.Object
}

// decodeFunc decodes an object of the API. It returns false for an object of no interest.
type decodeFunc[T any] func(runtime.Object) (T, bool)

// decoder makes a decodeFunc from a function that takes objects of type O.
func decoder[O runtime.Object, T any](read func(O) (T, bool)) decodeFunc[T] {
	return func(o runtime.Object) (T, bool) {
		if object, ok := o.(O); ok {
			return read(object)
		}
		var none T
		return none, false
	}
}

// store keeps the decoded objects of one kind. It implements cache.ReflectorStore: client-go's
// reflector lists, watches, and lists again after the end of a watch.
type store[T object] struct {
	listWatch
	decode decodeFunc[T]
	// count is called for each change of items on which decisions may depend, before it can be seen.
	count   func()
	changed func() // called after each change of items, without a lock held
	// same reports whether two versions of an object differ in nothing on which decisions depend, such
	// as a renewed Lease. Nil: each version matters.
	same func(a, b T) bool
	// track receives each change, with the zero T for a missing object, and returns the value to keep.
	// Nil: the value that was read.
	track  func(old, now T) T
	log    *slog.Logger
	failed func(verb, resource string, err error)

	reflector *cache.Reflector // made by the first run; it remembers the last version read

	mu      sync.RWMutex
	items   map[string]T
	synced  bool   // everything was read once
	absent  bool   // the type is not installed, or the right to read it is missing
	problem string // present failure
}

// storeState is a snapshot of how well a store is synchronised.
type storeState struct {
	kind           string
	synced, absent bool
	problem        string
}

func (s *store[T]) state() storeState {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return storeState{s.kind, s.synced, s.absent, s.problem}
}

// all returns the values, in no order.
func (s *store[T]) all() []T {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]T, 0, len(s.items))
	for _, item := range s.items {
		list = append(list, item)
	}
	return list
}

// get returns one value. The namespace of a cluster-wide object is "".
func (s *store[T]) get(namespace, name string) (T, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	value, ok := s.items[cache.NewObjectName(namespace, name).String()]
	return value, ok
}

// Add implements cache.ReflectorStore.
func (s *store[T]) Add(o any) error {
	key, err := cache.MetaNamespaceKeyFunc(o)
	if err != nil {
		return fmt.Errorf("add %s: %w", s.kind, err)
	}
	value, ok := s.decoded(o)
	s.mu.Lock()
	old, had := s.items[key]
	value = s.tracked(old, value, ok)
	if ok {
		s.items[key] = value
	} else {
		delete(s.items, key)
	}
	known := ok || had // else it is of no interest, as a Lease of another --services-name
	if known && (!ok || !had || s.same == nil || !s.same(old, value)) {
		s.count()
	}
	s.mu.Unlock()
	if known {
		s.changed()
	}
	return nil
}

// Update implements cache.ReflectorStore.
func (s *store[T]) Update(o any) error { return s.Add(o) }

// Delete implements cache.ReflectorStore.
func (s *store[T]) Delete(o any) error {
	key, err := cache.MetaNamespaceKeyFunc(o)
	if err != nil {
		return fmt.Errorf("delete %s: %w", s.kind, err)
	}
	s.mu.Lock()
	var none T
	old, had := s.items[key]
	s.tracked(old, none, false)
	delete(s.items, key)
	if had {
		s.count()
	}
	s.mu.Unlock()
	if had {
		s.changed()
	}
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *store[T]) Replace(list []any, _ string) error {
	items := make(map[string]T, len(list))
	for _, o := range list {
		key, err := cache.MetaNamespaceKeyFunc(o)
		if err != nil {
			return fmt.Errorf("replace %s: %w", s.kind, err)
		}
		if value, ok := s.decoded(o); ok {
			items[key] = value
		}
	}
	s.mu.Lock()
	var none T
	for key, old := range s.items {
		if _, remains := items[key]; !remains {
			s.tracked(old, none, false)
		}
	}
	for key, value := range items {
		items[key] = s.tracked(s.items[key], value, true)
	}
	s.items, s.synced, s.absent, s.problem = items, true, false, ""
	s.count()
	s.mu.Unlock()
	s.changed()
	return nil
}

// Resync implements cache.ReflectorStore.
func (s *store[T]) Resync() error { return nil }

// Transformer implements cache.TransformingStore: during a long list only decoded values are kept.
func (s *store[T]) Transformer() cache.TransformFunc {
	return func(o any) (any, error) {
		if raw, ok := o.(runtime.Object); ok {
			if value, ok := s.decode(raw); ok {
				return value, nil
			}
		}
		return o, nil
	}
}

// decoded decodes what the transformer has not decoded.
func (s *store[T]) decoded(o any) (value T, ok bool) {
	if value, ok = o.(T); ok {
		return value, true
	}
	if raw, isObject := o.(runtime.Object); isObject {
		return s.decode(raw)
	}
	return value, false
}

// tracked returns the value to keep after a change. exists reports whether the object exists now.
// The caller holds the lock.
func (s *store[T]) tracked(old, now T, exists bool) T {
	var none T
	if !exists {
		now = none
	}
	if s.track == nil || old == none && now == none {
		return now
	}
	return s.track(old, now)
}

const (
	minPause    = 100 * time.Millisecond // after a failed list or watch
	maxPause    = 3 * time.Second
	absentPause = 5 * time.Second  // between requests for a type that is absent, at first
	goodWatch   = 10 * time.Second // a watch of this duration resets the pause
)

// watchBackoff is the reflector's own, between refused watches. Its default grows to half a minute,
// in which kvip would not see that an API server is back.
var watchBackoff = wait.Backoff{
	Duration: minPause, Cap: maxPause, Steps: 10, Factor: 2, Jitter: 0.2,
}

// run lists and watches until ctx ends, despite all failures. It may run again after that.
func (s *store[T]) run(ctx context.Context, router *apiclient.Router) {
	if s.reflector == nil {
		options := cache.ReflectorOptions{Name: s.kind, Backoff: &watchBackoff}
		s.reflector = cache.NewReflectorWithOptions(s.listerWatcher(router), s.example, s, options)
	}
	// client-go's log repeats the errors that each request reports.
	ctx = logr.NewContext(ctx, logr.Discard())
	pauses := backoff.Backoff{Min: minPause, Max: maxPause}
	absentPauses := backoff.Backoff{
		Min: absentPause, Max: max(absentPause, s.maxAbsentPause), Jitter: 0.2,
	}
	absences := 0
	for failures := 1; ctx.Err() == nil; failures++ {
		began := time.Now()
		_ = s.reflector.ListAndWatchWithContext(ctx)
		if time.Since(began) > goodWatch {
			failures = 1
		}
		pause := pauses.After(failures)
		if s.state().absent {
			absences++
			pause = absentPauses.After(absences)
		} else {
			absences = 0
		}
		backoff.Sleep(ctx, pause)
	}
}

// listerWatcher sends the requests to the API server that the router chooses, and reports the
// results to it.
func (s *store[T]) listerWatcher(router *apiclient.Router) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := send(ctx, router, s.listWatch, s.list, o)
			if err != nil && ctx.Err() == nil {
				s.recordFailure("list", err)
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := send(ctx, router, s.listWatch, s.watch, o)
			listFollows := o.SendInitialEvents != nil && !apiclient.IsNoResponse(err)
			switch {
			case err == nil:
				s.recordSuccess()
			case ctx.Err() == nil && !listFollows:
				s.recordFailure("watch", err)
			}
			return w, err
		},
	}
}

// recordFailure stores and counts a failure, and logs it unless it is the present one already.
func (s *store[T]) recordFailure(verb string, err error) {
	absent := apierrors.IsNotFound(err) || s.optional && apierrors.IsForbidden(err)
	if !absent || s.maxAbsentPause == 0 { // else most clusters would count it all the time
		s.failed(verb, s.resource, err)
	}
	s.mu.Lock()
	isNew, changed := s.problem != err.Error(), s.absent != absent
	s.absent, s.problem = absent, err.Error()
	if isNew || changed {
		s.count()
	}
	s.mu.Unlock()
	if isNew {
		s.log.Warn("cannot read objects; trying again", "kind", s.kind, "err", err)
	}
	if isNew || changed {
		s.changed()
	}
}

// recordSuccess resets the failure when a watch has begun.
func (s *store[T]) recordSuccess() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.absent, s.problem = false, ""
}
