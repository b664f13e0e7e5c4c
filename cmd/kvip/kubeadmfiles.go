package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/aymanbagabas/go-udiff"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubeadm"
)

// target is one file to write.
type target struct {
	path string // "-" is stdout
	flag string // the flag with the path
	want []byte // the new content
	have []byte // the present content

	before     []byte // the left side of the diff
	beforeName string
	exists     bool
	inPlace    bool // the user named the file as the one to edit
}

// targets returns the configuration, if there is one, and the manifest. The manifest is the last
// one to be written: the kubelet starts it at once.
func (p *preparation) targets(plan kubeadm.Plan, old []byte) ([]target, error) {
	text, err := p.manifest()
	if err != nil {
		return nil, err
	}
	var all []target
	if plan.Data != nil {
		all = append(all, target{
			path: p.output, flag: "output", want: plan.Data, before: old, beforeName: p.config,
			inPlace: p.config != "" && p.config != stdioPath && sameFile(p.config, p.output),
		})
	}
	if plan.ControlPlane {
		all = append(all, target{
			path: filepath.Join(p.manifestDir, manifestName), flag: "manifest-dir", want: text,
		})
	}
	for i := range all {
		if err := all[i].read(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// read reads the present content.
func (t *target) read() error {
	if t.path == stdioPath {
		return nil
	}
	info, err := os.Stat(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !info.Mode().IsRegular() {
		return &config.UsageError{
			Flag:   t.flag,
			Reason: fmt.Sprintf("%s is not a regular file", t.path),
			Hint:   "name another file",
		}
	}
	if err == nil {
		t.have, err = os.ReadFile(t.path)
	}
	if err != nil {
		return fmt.Errorf("read the present file: %w", err)
	}
	t.exists, t.before, t.beforeName = true, t.have, t.path
	return nil
}

// unchanged reports whether the file has the new content already.
func (t *target) unchanged() bool { return t.exists && bytes.Equal(t.have, t.want) }

// apply prints the differences or writes the files. It writes none if one of them must not be
// overwritten. After a failed write the same command may run again.
func (p *preparation) apply(targets []target, messages, stdout io.Writer) error {
	if p.dryRun {
		for _, t := range targets {
			if err := t.diff(stdout); err != nil {
				return err
			}
		}
	}
	for _, t := range targets {
		if t.exists && !t.unchanged() && !t.inPlace && !p.force {
			return &config.UsageError{Flag: t.flag, Reason: fmt.Sprintf("%s exists and differs", t.path),
				Hint: "show the difference with --dry-run, overwrite the file with --force"}
		}
	}
	if p.dryRun {
		return nil
	}
	for _, t := range targets {
		if err := t.write(messages, stdout); err != nil {
			return err
		}
	}
	return nil
}

// diff prints what would change.
func (t *target) diff(w io.Writer) error {
	if t.before == nil {
		t.beforeName = os.DevNull
	}
	text := udiff.Unified(t.beforeName, t.path, string(t.before), string(t.want))
	if text == "" {
		text = t.path + ": unchanged\n"
	}
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("print the difference: %w", err)
	}
	return nil
}

// write writes the file and prints its path and what was done.
func (t *target) write(messages, stdout io.Writer) error {
	if t.path == stdioPath {
		if _, err := stdout.Write(t.want); err != nil {
			return fmt.Errorf("print the configuration: %w", err)
		}
		return nil
	}
	done := "unchanged"
	if !t.unchanged() {
		if done = "written"; t.exists {
			done = "changed"
		}
		if err := writeFile(t.path, t.want); err != nil {
			return fmt.Errorf("write %s: %w", t.path, err)
		}
	}
	if _, err := fmt.Fprintf(messages, "%s: %s\n", t.path, done); err != nil {
		return fmt.Errorf("print what was written: %w", err)
	}
	return nil
}

// writeFile replaces or creates a file atomically. An existing file keeps its mode and owner; a new
// one gets mode 0600, and its directory is created. The name of the temporary file begins with a
// dot, which the kubelet ignores in its manifest directory.
func writeFile(path string, data []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, ".kvip-*")
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	err = errors.Join(err, copyAttributes(temp, path), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(temp.Name()))
	}
	return err
}

// copyAttributes gives the new file the mode and owner of the one at path, if that exists.
func copyAttributes(temp *os.File, path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := temp.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	return temp.Chmod(info.Mode().Perm())
}

// sameFile reports whether two paths name one file.
func sameFile(a, b string) bool {
	if one, err := os.Stat(a); err == nil {
		two, err := os.Stat(b)
		return err == nil && os.SameFile(one, two)
	}
	one, errOne := filepath.Abs(a)
	two, errTwo := filepath.Abs(b)
	return errOne == nil && errTwo == nil && one == two
}

// checkPatches checks the patches of the API server's static pod that kubeadm would apply. Patches
// that cannot be read become a note: the files may be for another machine.
func checkPatches(plan *kubeadm.Plan) error {
	if plan.Patches == "" {
		return nil
	}
	entries, err := os.ReadDir(plan.Patches)
	for _, entry := range entries {
		if !kubeadm.IsServerPatch(entry.Name()) {
			continue
		}
		path := filepath.Join(plan.Patches, entry.Name())
		data, errRead := readPatch(path)
		if err = errors.Join(err, errRead); errRead != nil {
			continue
		}
		if conflict := plan.CheckPatch(path, data); conflict != nil {
			return conflict
		}
	}
	if err != nil {
		plan.Notes = append(plan.Notes,
			fmt.Sprintf(
				"patches of kube-apiserver cannot be read here (%v): none of them may set bind-address", err))
	}
	return nil
}

// readPatch reads a regular file of at most the size of a kubeadm configuration.
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
