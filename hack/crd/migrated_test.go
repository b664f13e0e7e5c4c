package crd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestMigratedObjectsAreAccepted: an API server accepts each object that `kvip migrate` prints,
// with all its fields. The notes in front of them are comments.
func TestMigratedObjectsAreAccepted(t *testing.T) {
	files, err := filepath.Glob("../../pkg/metallb/testdata/*.golden")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %d files", err, len(files))
	}
	files = append(files, "../../pkg/kubevip/migrate/testdata/bgp-daemonset.objects",
		"../../pkg/kubevip/migrate/testdata/bgp-nexthops.golden")
	servers := map[string]*server{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range documentsOf(string(text)) {
			var object map[string]any
			if err := yaml.Unmarshal([]byte(document), &object); err != nil {
				t.Fatal(err)
			}
			kind, _ := object["kind"].(string)
			if object["apiVersion"] != "kvip.dev/v1alpha1" {
				continue
			}
			if servers[kind] == nil {
				servers[kind] = newServer(t, kind)
			}
			servers[kind].accept(t, filepath.Base(file)+": "+kind, wholeNumbers(object).(map[string]any))
		}
	}
	if len(servers) != 4 {
		t.Errorf("objects of %d kinds", len(servers))
	}
}

// documentsOf returns the documents of a golden file: those between separators, and those that its
// notes have after one.
func documentsOf(text string) []string {
	all := strings.Split(text, "\n---\n")
	for line := range strings.Lines(text) {
		if _, document, found := strings.Cut(line, "---: {"); found {
			all = append(all, "{"+document)
		}
	}
	return all
}

// wholeNumbers returns a value with the whole numbers that an API server decodes from JSON.
func wholeNumbers(value any) any {
	switch v := value.(type) {
	case float64:
		return int64(v)
	case map[string]any:
		for key := range v {
			v[key] = wholeNumbers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = wholeNumbers(v[i])
		}
	}
	return value
}
