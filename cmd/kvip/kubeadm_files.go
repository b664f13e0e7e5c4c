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
	flag string // that chose the path
	want []byte
	// have is what is there, before is what a diff compares with, from what that is called; inPlace
	// says that the user named the file to be edited.
	have, before []byte
	from         string
	there        bool
	inPlace      bool
}

// targets returns the configuration, where there is one, and the manifest, in the order in which
// they are written: the kubelet starts what it finds.
func (p *preparation) targets(plan kubeadm.Plan, old []byte) ([]target, error) {
	text, err := p.manifest()
	if err != nil {
		return nil, err
	}
	var all []target
	if plan.Data != nil {
		all = append(all, target{path: p.output, flag: "output", want: plan.Data, before: old, from: p.config,
			inPlace: p.config != "" && p.config != stream && sameFile(p.config, p.output)})
	}
	if plan.ControlPlane {
		all = append(all, target{path: filepath.Join(p.manifestDir, manifestName), flag: "manifest-dir", want: text})
	}
	for i := range all {
		if err := all[i].look(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// look reads what is at the path now.
func (t *target) look() error {
	if t.path == stream {
		return nil
	}
	info, err := os.Stat(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !info.Mode().IsRegular() {
		return &config.UsageError{Flag: t.flag, Reason: fmt.Sprintf("%s is not a regular file", t.path), Hint: "name another place"}
	}
	if err == nil {
		t.have, err = os.ReadFile(t.path)
	}
	if err != nil {
		return fmt.Errorf("read what is there: %w", err)
	}
	t.there, t.before, t.from = true, t.have, t.path
	return nil
}

// unchanged says that the file is already as it should be.
func (t *target) unchanged() bool { return t.there && bytes.Equal(t.have, t.want) }

// carryOut shows the differences or writes the files, none if one of them may not be overwritten. After a
// failed write the same command may run again.
func (p *preparation) carryOut(targets []target, say, stdout io.Writer) error {
	if p.dryRun {
		for _, t := range targets {
			if err := t.diff(stdout); err != nil {
				return err
			}
		}
	}
	for _, t := range targets {
		if t.there && !t.unchanged() && !t.inPlace && !p.force {
			return &config.UsageError{Flag: t.flag, Reason: fmt.Sprintf("%s exists and differs", t.path),
				Hint: "see how with --dry-run, overwrite it with --force"}
		}
	}
	for _, t := range targets {
		if p.dryRun {
			continue
		}
		if err := t.write(say, stdout); err != nil {
			return err
		}
	}
	return nil
}

// diff prints what would change.
func (t *target) diff(to io.Writer) error {
	if t.before == nil {
		t.from = os.DevNull
	}
	text := udiff.Unified(t.from, t.path, string(t.before), string(t.want))
	if text == "" {
		text = t.path + ": unchanged\n"
	}
	if _, err := io.WriteString(to, text); err != nil {
		return fmt.Errorf("print the difference: %w", err)
	}
	return nil
}

// write brings the file to the disk and says so.
func (t *target) write(say, stdout io.Writer) error {
	if t.path == stream {
		if _, err := stdout.Write(t.want); err != nil {
			return fmt.Errorf("print the configuration: %w", err)
		}
		return nil
	}
	done := "unchanged"
	if !t.unchanged() {
		if done = "written"; t.there {
			done = "changed"
		}
		if err := writeFile(t.path, t.want); err != nil {
			return fmt.Errorf("write %s: %w", t.path, err)
		}
	}
	if _, err := fmt.Fprintf(say, "%s: %s\n", t.path, done); err != nil {
		return fmt.Errorf("print what was written: %w", err)
	}
	return nil
}

// writeFile replaces or makes a file in one step. An existing file keeps its mode and owner; a new
// one has mode 0600, and its directory is made. The unfinished file begins with a dot, which the
// kubelet passes over in its manifest directory.
func writeFile(path string, data []byte) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
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
	err = errors.Join(err, likeOld(temp, path), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(temp.Name()))
	}
	return err
}

// likeOld gives the new file the mode and owner of the one that it replaces.
func likeOld(temp *os.File, path string) error {
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

// sameFile says whether two paths lead to one place.
func sameFile(a, b string) bool {
	if one, err := os.Stat(a); err == nil {
		two, err := os.Stat(b)
		return err == nil && os.SameFile(one, two)
	}
	one, errOne := filepath.Abs(a)
	two, errTwo := filepath.Abs(b)
	return errOne == nil && errTwo == nil && one == two
}
