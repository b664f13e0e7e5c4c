package svc

import (
	"fmt"
	"log/slog"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
)

// object is a decoded value with the metadata that a cache needs: namespace, name and version.
type object interface {
	comparable
	metav1.Object
}

// mirror keeps the decoded objects of one kind. It is a store of client-go's reflector, which lists,
// watches, and begins anew after whatever ends a watch (410 and dropped connections included).
type mirror[T object] struct {
	source
	decode  func(runtime.Object) (T, bool) // false: of no interest
	changed func(matters bool)             // called after each change, without a lock held
	// same says of two versions of an object that they differ in nothing that decisions depend on, as
	// a Lease that was renewed. Nil: each version counts.
	same func(a, b T) bool
	// follow sees each change, with the zero T where there was or is none, and returns what counts. Nil: what
	// was read does.
	follow func(old, now T) T
	log    *slog.Logger
	failed func(verb, resource string, err error)

	reflector *cache.Reflector // made by the first run: it remembers the version that was read last

	mu    sync.RWMutex
	items map[string]T
	now   state
}

// state of a mirror.
type state struct {
	synced  bool   // everything was read once
	absent  bool   // the type is not installed, or there is no right to read it
	problem string // what is wrong at present
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
	value = m.followed(old, value, ok)
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
	var none T
	m.followed(m.items[key], none, false)
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
	for key, old := range m.items {
		if _, there := items[key]; !there {
			var none T
			m.followed(old, none, false)
		}
	}
	for key, value := range items {
		items[key] = m.followed(m.items[key], value, true)
	}
	m.items, m.now = items, state{synced: true}
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

// followed returns what counts of a change; has says that there is an object now. The caller holds the lock.
func (m *mirror[T]) followed(old, now T, has bool) T {
	var none T
	if !has {
		now = none
	}
	if m.follow == nil || old == none && now == none {
		return now
	}
	return m.follow(old, now)
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

// get returns one value by namespace and name; the namespace is empty for what has none.
func (m *mirror[T]) get(namespace, name string) (T, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	value, ok := m.items[cache.NewObjectName(namespace, name).String()]
	return value, ok
}

func (m *mirror[T]) state() state {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.now
}
