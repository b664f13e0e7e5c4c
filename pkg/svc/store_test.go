package svc

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kvip/kvip/test/testutil"
)

// testStore is a store of ConfigMaps that counts changes. Those with the data "skip" are of no
// interest.
type testStore struct {
	*store[*kubeVIPConfigMap]
	matters, wakes int
	failures       []string
	out            testutil.Log
}

func newTestStore() *testStore {
	s := &testStore{}
	s.store = &store[*kubeVIPConfigMap]{
		listWatch: listWatch{kind: "things", resource: "configmaps"},
		decode: decoder(func(m *corev1.ConfigMap) (*kubeVIPConfigMap, bool) {
			return &kubeVIPConfigMap{ObjectMeta: identified(m), Interfaces: m.Data}, m.Data["skip"] == ""
		}),
		count:   func() { s.matters++ },
		changed: func() { s.wakes++ },
		log:     slog.New(slog.NewTextHandler(&s.out, nil)),
		failed: func(verb, resource string, _ error) {
			s.failures = append(s.failures,
				verb+" "+resource)
		},
		items: map[string]*kubeVIPConfigMap{},
	}
	return s
}

// thing returns a ConfigMap a/NAME with one entry.
func thing(name, version, key, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, ResourceVersion: version},
		Data:       map[string]string{key: value},
	}
}

func (s *testStore) names() string {
	return strings.Join(slices.Sorted(maps.Keys(s.items)), " ")
}

func TestStoreKeepsDecodedObjects(t *testing.T) {
	s := newTestStore()
	for _, step := range []struct {
		name  string
		do    func() error
		want  string
		wakes int
	}{
		{"add", func() error { return s.Add(thing("x", "1", "k", "v")) }, "a/x", 1},
		{"add another", func() error { return s.Add(thing("y", "2", "k", "v")) }, "a/x a/y", 1},
		{"update", func() error { return s.Update(thing("x", "3", "k", "w")) }, "a/x a/y", 1},
		{"update to no interest", func() error { return s.Update(thing("x", "4", "skip", "1")) },
			"a/y", 1},
		{"add without interest", func() error { return s.Add(thing("z", "5", "skip", "1")) }, "a/y", 0},
		{"update without interest", func() error { return s.Update(thing("z", "6", "skip", "1")) },
			"a/y", 0},
		{"delete without interest", func() error { return s.Delete(thing("z", "6", "skip", "1")) },
			"a/y", 0},
		{"delete", func() error { return s.Delete(thing("y", "6", "k", "v")) }, "", 1},
		{"delete a missing one", func() error { return s.Delete(thing("y", "6", "k", "v")) }, "", 0},
		{"replace", func() error {
			return s.Replace([]any{thing("p", "7", "k", "v"), thing("q", "7", "skip", "1")}, "7")
		}, "a/p", 1},
		{"replace by nothing", func() error { return s.Replace(nil, "8") }, "", 1},
	} {
		wakes := s.wakes
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := s.names(); got != step.want || s.wakes != wakes+step.wakes {
			t.Errorf("%s: %q after %d wake-ups, want %q after %d",
				step.name, got, s.wakes-wakes, step.want, step.wakes)
		}
	}
}

func TestStoreReturnsValues(t *testing.T) {
	s := newTestStore()
	for _, name := range []string{"x", "y"} {
		if err := s.Add(thing(name, "1", "k", name)); err != nil {
			t.Fatal(err)
		}
	}
	if got, ok := s.get("a", "y"); !ok || got.Interfaces["k"] != "y" {
		t.Errorf("a/y is %+v, %v", got, ok)
	}
	if got, ok := s.get("a", "none"); ok || got != nil {
		t.Errorf("a missing object is %+v, %v", got, ok)
	}
	if got := s.all(); len(got) != 2 {
		t.Errorf("all are %+v", got)
	}
}

// Versions that differ in nothing important wake subscribers and do not count.
func TestStoreCountsWhatMatters(t *testing.T) {
	s := newTestStore()
	s.same = func(a, b *kubeVIPConfigMap) bool { return a.Interfaces["k"] == b.Interfaces["k"] }
	for _, step := range []struct {
		name string
		add  *corev1.ConfigMap
		want bool
	}{
		{"new", thing("x", "1", "k", "v"), true},
		{"the same", thing("x", "2", "k", "v"), false},
		{"different", thing("x", "3", "k", "w"), true},
		{"of no interest", thing("x", "4", "skip", "1"), true},
		{"new again", thing("x", "5", "k", "w"), true},
	} {
		matters, wakes := s.matters, s.wakes
		if err := s.Add(step.add); err != nil {
			t.Fatal(err)
		}
		if got := s.matters > matters; got != step.want || s.wakes != wakes+1 {
			t.Errorf("%s: matters %v, want %v", step.name, got, step.want)
		}
	}
}

// track receives each change of each operation, and its result is kept.
func TestStoreTracksChanges(t *testing.T) {
	s := newTestStore()
	var calls []string
	version := func(m *kubeVIPConfigMap) string {
		if m == nil {
			return "-"
		}
		return m.Name + m.ResourceVersion
	}
	kept := &kubeVIPConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept", ResourceVersion: "0"}}
	s.track = func(old, now *kubeVIPConfigMap) *kubeVIPConfigMap {
		calls = append(calls, version(old)+">"+version(now))
		if now != nil && now.ResourceVersion == "2" {
			return kept
		}
		return now
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Add(thing("x", "1", "k", "v")))
	must(s.Add(thing("x", "2", "k", "v")))
	if got, _ := s.get("a", "x"); got != kept {
		t.Errorf("the store keeps %+v", got)
	}
	must(s.Add(thing("x", "3", "k", "v")))
	must(s.Add(thing("x", "4", "skip", "1")))
	must(s.Add(thing("y", "5", "skip", "1"))) // never there: not a change
	must(s.Add(thing("x", "6", "k", "v")))
	must(s.Replace([]any{thing("z", "7", "k", "v")}, "7"))
	must(s.Delete(thing("z", "8", "k", "v")))
	want := "->x1 x1>x2 kept0>x3 x3>- ->x6 x6>- ->z7 z7>-"
	if got := strings.Join(calls, " "); got != want {
		t.Errorf("changes %s, want %s", got, want)
	}
}

// The metric of failed requests names the resource.
func TestEachListWatchHasAResource(t *testing.T) {
	for _, l := range []listWatch{
		listServices, listNodes, listSlices, listPools, listKubeVIPConfigMap, listServiceCIDRs,
		listLeases("a"), listLease("a", "x"),
	} {
		if l.kind == "" || l.resource == "" {
			t.Errorf("%q has the resource %q", l.kind, l.resource)
		}
	}
}

// A reflector passes decoded and raw objects. Objects of another type are of no interest.
func TestStoreTransformer(t *testing.T) {
	s := newTestStore()
	transform := s.Transformer()
	for _, c := range []struct {
		name string
		in   any
		same bool // returned unchanged
	}{
		{"of interest", thing("x", "1", "k", "v"), false},
		{"of no interest", thing("x", "1", "skip", "1"), true},
		{"another type", &corev1.Secret{}, true},
		{"not an object", "text", true},
	} {
		got, err := transform(c.in)
		if err != nil || (got == c.in) != c.same {
			t.Errorf("%s: %T, %v", c.name, got, err)
		}
	}
	decoded, _ := transform(thing("x", "1", "k", "v"))
	if err := s.Add(decoded); err != nil || s.names() != "a/x" {
		t.Errorf("a decoded object: %v, %q", err, s.names())
	}
	if err := s.Add(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}); err != nil ||
		s.names() != "a/x" {
		t.Errorf("an object of another type: %v, %q", err, s.names())
	}
	for name, do := range map[string]func() error{
		"add":     func() error { return s.Add("text") },
		"delete":  func() error { return s.Delete("text") },
		"replace": func() error { return s.Replace([]any{"text"}, "1") },
	} {
		if err := do(); err == nil || !strings.HasPrefix(err.Error(), name+" things: ") {
			t.Errorf("%s of a value without metadata: %v", name, err)
		}
	}
	if err := s.Resync(); err != nil {
		t.Error(err)
	}
}

// A failure is logged when it is new, and ends with a list or a watch.
func TestStoreRecordsFailures(t *testing.T) {
	s := newTestStore()
	gone := apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, "")
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "things"}, "", nil)
	for _, step := range []struct {
		name     string
		optional bool
		do       func()
		want     storeState
		logs     int
	}{
		{"unreachable", false, func() { s.recordFailure("list", errors.New("refused")) },
			storeState{problem: "refused"}, 1},
		{"again", false, func() { s.recordFailure("watch", errors.New("refused")) },
			storeState{problem: "refused"}, 1},
		{"not installed", false, func() { s.recordFailure("list", gone) },
			storeState{problem: gone.Error(), absent: true}, 2},
		{"forbidden", false, func() { s.recordFailure("list", forbidden) },
			storeState{problem: forbidden.Error()}, 3},
		{"forbidden and optional", true, func() { s.recordFailure("list", forbidden) },
			storeState{problem: forbidden.Error(), absent: true}, 3},
		{"a watch", true, s.recordSuccess, storeState{}, 3},
		{"a failure again", true, func() { s.recordFailure("list", gone) },
			storeState{problem: gone.Error(), absent: true}, 4},
		{"a list", true, func() { _ = s.Replace(nil, "1") }, storeState{synced: true}, 4},
	} {
		s.optional = step.optional
		step.do()
		step.want.kind = "things"
		if got := s.state(); got != step.want {
			t.Errorf("%s: %+v, want %+v", step.name, got, step.want)
		}
		if got := s.out.Count("cannot read objects"); got != step.logs {
			t.Errorf("%s: %d log messages, want %d", step.name, got, step.logs)
		}
	}
	want := "list configmaps watch configmaps list configmaps"
	if got := strings.Join(s.failures, " "); !strings.HasPrefix(got, want) || len(s.failures) != 6 {
		t.Errorf("reported %s", got)
	}
}
