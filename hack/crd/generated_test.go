package crd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// files returns the names of the files of a directory that match a pattern.
func files(t *testing.T, dir, pattern string) (names []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		names = append(names, filepath.Base(path))
	}
	return names
}

// TestCommittedIsGenerated generates all files again, into another directory.
func TestCommittedIsGenerated(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("./generate.sh", dir, dir).CombinedOutput(); err != nil {
		t.Fatalf("generate: %v\n%s", err, out)
	}
	for pattern, committed := range map[string]string{"crd-*.yaml": "../../templates",
		"zz_*.go": "../../pkg/apis/v1alpha1"} {
		names := files(t, dir, pattern)
		if have := files(t, committed, pattern); len(names) == 0 || !slices.Equal(have, names) {
			t.Errorf("%s has %q, the generator makes %q", committed, have, names)
		}
		for _, name := range names {
			made, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			have, err := os.ReadFile(filepath.Join(committed, name))
			if err == nil && !bytes.Equal(made, have) {
				t.Errorf("%s/%s differs from the output of the generator: run make generate", committed,
					name)
			}
		}
	}
	if crds := files(t, dir, "crd-*.yaml"); len(crds) != len(kinds) {
		t.Errorf("the generator makes %q, the tests know %q", crds, kinds)
	}
}
