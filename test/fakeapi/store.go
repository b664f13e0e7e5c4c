package fakeapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// object is a Kubernetes object as JSON has it.
type object = map[string]any

// Store is what the API servers of one cluster have in common: the etcd of the fake.
type Store struct {
	ca *authority

	mu        sync.Mutex
	revision  uint64
	compacted uint64            // watches from before it are told 410 Gone
	objects   map[string]object // by path
	changes   []change
	more      chan struct{} // closed at the next change
	peers     []string      // in the EndpointSlice
	rights    rights
}

// change is what a watch delivers.
type change struct {
	revision uint64
	path     string
	kind     string // ADDED, MODIFIED, DELETED
	object   object
	text     json.RawMessage
}

// NewStore returns an empty cluster with a certificate authority of its own.
func NewStore() (*Store, error) {
	ca, err := newAuthority()
	if err != nil {
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	return &Store{ca: ca, revision: 100, objects: map[string]object{}, more: make(chan struct{})}, nil
}

// SetPeers names the API servers ("address:port", with one port for all) in the
// EndpointSlice default/kubernetes.
func (s *Store) SetPeers(hosts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers = hosts
}

// Compact forgets the past: a watch that starts at an older version is told 410 Gone.
func (s *Store) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision++
	s.compacted, s.changes = s.revision, nil
}

// WriteCount is how many writes were applied.
func (s *Store) WriteCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.changes)
}

// failure is an error that the API server answers with a Status object.
type failure struct {
	code   int
	reason string
	detail string
}

func (f failure) Error() string { return f.detail }

func notFound(path string) failure {
	return failure{http.StatusNotFound, "NotFound", path + " not found"}
}

func (s *Store) get(path string) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.objects[path]
	if !ok {
		return nil, notFound(path)
	}
	return l, nil
}

func (s *Store) create(path string, l object) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.objects[path]; ok {
		return nil, failure{http.StatusConflict, "AlreadyExists", path + " already exists"}
	}
	meta := metadata(l)
	if meta["uid"] == nil {
		meta["uid"] = fmt.Sprintf("uid-%d", s.revision)
	}
	meta["creationTimestamp"] = time.Now().UTC().Format(time.RFC3339)
	return s.put(path, "ADDED", l)
}

// update replaces an object whose resourceVersion is still the one that l names, or any
// if l names none.
func (s *Store) update(path string, l object) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.objects[path]
	if !ok {
		return nil, notFound(path)
	}
	is, want := metadata(old), metadata(l)
	if v := want["resourceVersion"]; v != nil && v != "" && v != is["resourceVersion"] {
		return nil, failure{http.StatusConflict, "Conflict", "the object has been modified"}
	}
	want["uid"], want["creationTimestamp"] = is["uid"], is["creationTimestamp"]
	return s.put(path, "MODIFIED", l)
}

func (s *Store) remove(path string) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.objects[path]
	if !ok {
		return nil, notFound(path)
	}
	delete(s.objects, path)
	l = maps.Clone(l)
	meta := maps.Clone(metadata(l))
	l["metadata"] = meta
	return s.note(path, "DELETED", l)
}

// put checks l the way Kubernetes does and stores it.
func (s *Store) put(path, kind string, l object) (object, error) {
	spec, _ := l["spec"].(object)
	if d, ok := spec["leaseDurationSeconds"].(float64); ok && d <= 0 {
		return nil, failure{http.StatusUnprocessableEntity, "Invalid",
			"spec.leaseDurationSeconds: must be greater than 0"}
	}
	if n, ok := spec["leaseTransitions"].(float64); ok && n < 0 {
		return nil, failure{http.StatusUnprocessableEntity, "Invalid",
			"spec.leaseTransitions: must be greater than or equal to 0"}
	}
	l, err := s.note(path, kind, l)
	if err == nil {
		s.objects[path] = l
	}
	return l, err
}

// note gives l the next version and tells the watches.
func (s *Store) note(path, kind string, l object) (object, error) {
	s.revision++
	metadata(l)["resourceVersion"] = strconv.FormatUint(s.revision, 10)
	if at, ok := placeOf(path); ok {
		l["kind"], l["apiVersion"] = at.kind.kind, at.apiVersion
		metadata(l)["name"] = at.name
		if at.namespace != "" {
			metadata(l)["namespace"] = at.namespace
		}
	}
	text, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	s.changes = append(s.changes, change{s.revision, path, kind, l, text})
	close(s.more)
	s.more = make(chan struct{})
	return l, nil
}

func metadata(l object) object {
	meta, ok := l["metadata"].(object)
	if !ok {
		meta = object{}
		l["metadata"] = meta
	}
	return meta
}

// list returns the selected objects, in order, and the version of the list.
func (s *Store) list(from selection) ([]object, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := []object{}
	for _, path := range slices.Sorted(maps.Keys(s.objects)) {
		if from.has(path, s.objects[path]) {
			items = append(items, s.objects[path])
		}
	}
	return items, s.revision
}

// since returns the changes after a version, and a channel that is closed at the next one.
func (s *Store) since(version uint64, from selection) (found []change, upTo uint64,
	more <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if version < s.compacted {
		return nil, 0, nil, failure{http.StatusGone, "Expired",
			fmt.Sprintf("too old resource version: %d (%d)", version, s.compacted)}
	}
	for _, c := range s.changes {
		if c.revision > version && from.has(c.path, c.object) {
			found = append(found, c)
		}
	}
	return found, s.revision, s.more, nil
}

// Put makes or replaces the object at a path, whatever its version, as somebody else would.
func (s *Store) Put(path string, o any) error {
	text, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("put %s: %w", path, err)
	}
	var l object
	if err := json.Unmarshal(text, &l); err != nil {
		return fmt.Errorf("put %s: %w", path, err)
	}
	delete(metadata(l), "resourceVersion")
	if _, err = s.update(path, l); err != nil {
		_, err = s.create(path, l)
	}
	return err
}

// Get reads the object at a path into o; false if there is none.
func (s *Store) Get(path string, o any) (bool, error) {
	l, err := s.get(path)
	if err != nil {
		return false, nil
	}
	text, err := json.Marshal(l)
	if err == nil {
		err = json.Unmarshal(text, o)
	}
	return true, err
}

// Delete removes the object at a path, if it is there.
func (s *Store) Delete(path string) {
	_, _ = s.remove(path)
}
