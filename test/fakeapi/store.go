package fakeapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Store is the state that the API servers of one cluster share, like etcd.
type Store struct {
	ca *authority

	mu        sync.Mutex
	revision  uint64
	compacted uint64            // a watch from an earlier version gets 410 Gone
	objects   map[string]object // by path
	changes   []change
	changed   chan struct{} // closed at the next change
	peers     []string      // in the EndpointSlice
	account   account
}

// change is an event for watches.
type change struct {
	revision uint64
	path     string
	event    string // ADDED, MODIFIED, DELETED
	object   object
	encoded  json.RawMessage
}

// NewStore returns an empty cluster with a new certificate authority.
func NewStore() (*Store, error) {
	ca, err := newAuthority()
	if err != nil {
		return nil, fmt.Errorf("create certificate authority: %w", err)
	}
	return &Store{ca: ca, revision: 100, objects: map[string]object{},
		changed: make(chan struct{})}, nil
}

// SetPeers sets the API servers ("address:port", one port for all) of the EndpointSlice
// default/kubernetes.
func (s *Store) SetPeers(hosts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers = hosts
}

// Compact drops the history: a watch that starts at an older version gets 410 Gone.
func (s *Store) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision++
	s.compacted, s.changes = s.revision, nil
}

// WriteCount returns the number of writes since the last Compact.
func (s *Store) WriteCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.changes)
}

// Put creates or replaces the object at a path with any version, like another client.
func (s *Store) Put(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("put %s: %w", path, err)
	}
	var o object
	if err := json.Unmarshal(text, &o); err != nil {
		return fmt.Errorf("put %s: %w", path, err)
	}
	delete(metadata(o), "resourceVersion")
	if _, err = s.update(path, o); err != nil {
		_, err = s.create(path, o)
	}
	return err
}

// Get decodes the object at a path into v. It returns false if the object does not exist.
func (s *Store) Get(path string, v any) (bool, error) {
	o, err := s.get(path)
	if err != nil {
		return false, nil
	}
	text, err := json.Marshal(o)
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	return true, err
}

// Delete removes the object at a path. A missing object is not an error.
func (s *Store) Delete(path string) {
	_, _ = s.remove(path)
}

func (s *Store) get(path string) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, found := s.objects[path]
	if !found {
		return nil, notFound(path)
	}
	return o, nil
}

func (s *Store) create(path string, o object) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, found := s.objects[path]; found {
		return nil, apiError{http.StatusConflict, "AlreadyExists", path + " already exists"}
	}
	meta := metadata(o)
	if meta["uid"] == nil {
		meta["uid"] = fmt.Sprintf("uid-%d", s.revision)
	}
	meta["creationTimestamp"] = time.Now().UTC().Format(time.RFC3339)
	return s.write(path, "ADDED", o)
}

// update replaces an object if its resourceVersion is that of o, or if o has none.
func (s *Store) update(path string, o object) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, found := s.objects[path]
	if !found {
		return nil, notFound(path)
	}
	have, meta := metadata(old), metadata(o)
	if v := meta["resourceVersion"]; v != nil && v != "" && v != have["resourceVersion"] {
		return nil, apiError{http.StatusConflict, "Conflict", "the object has been modified"}
	}
	meta["uid"], meta["creationTimestamp"] = have["uid"], have["creationTimestamp"]
	return s.write(path, "MODIFIED", o)
}

func (s *Store) remove(path string) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, found := s.objects[path]
	if !found {
		return nil, notFound(path)
	}
	delete(s.objects, path)
	o = maps.Clone(o)
	o["metadata"] = maps.Clone(metadata(o))
	return s.commit(path, "DELETED", o)
}

// write validates o like Kubernetes and stores it.
func (s *Store) write(path, event string, o object) (object, error) {
	spec, _ := o["spec"].(object)
	if d, ok := spec["leaseDurationSeconds"].(float64); ok && d <= 0 {
		return nil, apiError{http.StatusUnprocessableEntity, "Invalid",
			"spec.leaseDurationSeconds: must be greater than 0"}
	}
	if n, ok := spec["leaseTransitions"].(float64); ok && n < 0 {
		return nil, apiError{http.StatusUnprocessableEntity, "Invalid",
			"spec.leaseTransitions: must be greater than or equal to 0"}
	}
	o, err := s.commit(path, event, o)
	if err == nil {
		s.objects[path] = o
	}
	return o, err
}

// commit gives o the next version and sends it to watches.
func (s *Store) commit(path, event string, o object) (object, error) {
	s.revision++
	metadata(o)["resourceVersion"] = strconv.FormatUint(s.revision, 10)
	if p, known := parsePath(path); known {
		o["kind"], o["apiVersion"] = p.kind.kind, p.apiVersion
		metadata(o)["name"] = p.name
		if p.namespace != "" {
			metadata(o)["namespace"] = p.namespace
		}
	}
	encoded, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	s.changes = append(s.changes, change{s.revision, path, event, o, encoded})
	s.signal()
	return o, nil
}

// signal wakes the watches. Callers hold mu.
func (s *Store) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Store) wakeWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signal()
}

// list returns the selected objects, sorted by path, and the version of the list.
func (s *Store) list(sel selector) ([]object, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := []object{}
	for _, path := range slices.Sorted(maps.Keys(s.objects)) {
		if sel.matches(path, s.objects[path]) {
			items = append(items, s.objects[path])
		}
	}
	return items, s.revision
}

// since returns the changes after a version, the latest version, and a channel that is closed at
// the next change.
func (s *Store) since(version uint64, sel selector) (found []change, latest uint64,
	changed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if version < s.compacted {
		return nil, 0, nil, apiError{http.StatusGone, "Expired",
			fmt.Sprintf("too old resource version: %d (%d)", version, s.compacted)}
	}
	for _, c := range s.changes {
		if c.revision > version && sel.matches(c.path, c.object) {
			found = append(found, c)
		}
	}
	return found, s.revision, s.changed, nil
}

// endpointSlice returns the EndpointSlice that API servers write about themselves.
func (s *Store) endpointSlice() object {
	s.mu.Lock()
	defer s.mu.Unlock()
	endpoints, port := []object{}, 0
	for _, host := range s.peers {
		if address, text, err := net.SplitHostPort(host); err == nil {
			endpoints = append(endpoints, object{"addresses": []string{address}})
			port, _ = strconv.Atoi(text)
		}
	}
	return object{"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
		"addressType": "IPv4", "metadata": object{"name": "kubernetes", "namespace": "default",
			"resourceVersion": strconv.FormatUint(s.revision, 10)},
		"endpoints": endpoints,
		"ports":     []object{{"name": "https", "port": port, "protocol": "TCP"}}}
}
