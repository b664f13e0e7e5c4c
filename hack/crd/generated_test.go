package crd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestCommittedIsGenerated generates all files again, into another directory.
func TestCommittedIsGenerated(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("./generate.sh", dir, dir).CombinedOutput(); err != nil {
		t.Fatalf("generate: %v\n%s", err, out)
	}
	for name, committed := range map[string]string{"crd-ippool.yaml": "../../templates",
		"zz_generated.deepcopy.go": "../../pkg/apis/v1alpha1"} {
		made, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		have, err := os.ReadFile(filepath.Join(committed, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(made, have) {
			t.Errorf("%s/%s differs from the output of the generator: run make generate", committed, name)
		}
	}
}
