package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kvip/kvip/pkg/kubeadm"
)

// checkPatches looks at the patches of the API server's static pod that kubeadm would apply. What
// cannot be read, which may be because the files are for another machine, becomes a note.
func checkPatches(plan *kubeadm.Plan) error {
	if plan.Patches == "" {
		return nil
	}
	entries, err := os.ReadDir(plan.Patches)
	for _, entry := range entries {
		if kubeadm.IsServerPatch(entry.Name()) {
			path := filepath.Join(plan.Patches, entry.Name())
			data, bad := readPatch(path)
			if err = errors.Join(err, bad); bad != nil {
				continue
			}
			if conflict := plan.CheckPatch(path, data); conflict != nil {
				return conflict
			}
		}
	}
	if err != nil {
		plan.Notes = append(plan.Notes, fmt.Sprintf("patches of kube-apiserver cannot be read here (%v): none may set bind-address", err))
	}
	return nil
}

// readPatch reads a file that is not larger than a kubeadm configuration may be.
func readPatch(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > kubeadm.MaxSize {
		return nil, fmt.Errorf("%s is not a small regular file", path)
	}
	return os.ReadFile(path)
}
