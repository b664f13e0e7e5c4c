package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// input is one --file.
type input struct {
	source string // path on this machine
	dest   string // clean absolute path in the image
	mode   int64  // permission bits, or -1: those of the source
}

// entry is one name in the image.
type entry struct {
	name   string // as in a tar archive: without a leading slash
	kind   byte   // tar.TypeReg, TypeDir, TypeSymlink or TypeLink
	mode   int64  // permission bits with setuid, setgid and sticky
	source string // of a regular file: the file to copy
	size   int64
	link   string // of a symlink its target, of a hard link the name of the first
}

// tree has the entries of the image by name.
type tree struct {
	entries  map[string]entry
	warnings io.Writer // names skipped files
}

// collect lists all inputs and returns the entries sorted by name, so that a directory comes before
// its content. Content of files is not read.
func collect(inputs []input, warnings io.Writer) ([]entry, error) {
	t := tree{map[string]entry{}, warnings}
	for _, in := range inputs {
		if err := t.add(in); err != nil {
			return nil, fmt.Errorf("add %s as %s: %w", in.source, in.dest, err)
		}
	}
	if err := t.complete(); err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Values(t.entries), func(a, b entry) int {
		return strings.Compare(a.name, b.name)
	}), nil
}

// add adds one --file. A symlink as SRC itself is followed; those inside a directory are kept.
func (t tree) add(in input) error {
	info, err := os.Stat(in.source)
	if err != nil {
		return err
	}
	dest := strings.TrimPrefix(in.dest, "/")
	switch {
	case info.IsDir() && in.mode >= 0:
		return errors.New("mode of a directory: leave out the mode, each file keeps its own")
	case info.IsDir():
		return t.addDir(in.source, dest)
	case !info.Mode().IsRegular():
		return errors.New("neither a file nor a directory")
	case dest == "":
		return fmt.Errorf("a file needs a name, as in /dest/%s", filepath.Base(in.source))
	}
	mode := in.mode
	if mode < 0 { // independent of the umask that created the file
		mode = 0o644
		if info.Mode()&0o111 != 0 {
			mode = 0o755
		}
	}
	return t.put(entry{name: dest, kind: tar.TypeReg, mode: mode, source: in.source,
		size: info.Size()})
}

// addDir adds a directory with all below it. Modes, symlinks and hard links are kept, extended
// attributes are not. Devices, pipes and sockets are skipped: container runtimes create their own.
func (t tree) addDir(source, dest string) error {
	links := map[[2]uint64]string{} // device and inode of a file with several names: the first one
	return filepath.WalkDir(source+"/", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(source, file)
		if err != nil {
			return err
		}
		name := path.Join(dest, filepath.ToSlash(rel))
		if name == "." || name == "" {
			return nil // every image has the root
		}
		if kind := d.Type(); kind != 0 && kind != fs.ModeDir && kind != fs.ModeSymlink {
			fmt.Fprintf(t.warnings, "image: left out %s: %s\n", file, kind)
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := ""
		if d.Type() == fs.ModeSymlink {
			if target, err = os.Readlink(file); err != nil {
				return err
			}
		}
		header, err := tar.FileInfoHeader(info, target)
		if err != nil {
			return err
		}
		e := entry{name: name, kind: header.Typeflag, mode: header.Mode, size: header.Size,
			link: target}
		if e.kind != tar.TypeReg {
			return t.put(e)
		}
		e.source = file
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Nlink > 1 {
			inode := [2]uint64{uint64(stat.Dev), stat.Ino}
			if first, found := links[inode]; found {
				e.kind, e.link = tar.TypeLink, first
			} else {
				links[inode] = name
			}
		}
		return t.put(e)
	})
}

// put adds an entry, or replaces an earlier one of that name.
func (t tree) put(e entry) error {
	if strings.HasPrefix(path.Base(e.name), ".wh.") {
		return fmt.Errorf("%s: names that begin with .wh. mean a deletion in an image", e.name)
	}
	if old, found := t.entries[e.name]; found && (old.kind == tar.TypeDir) != (e.kind == tar.TypeDir) {
		return fmt.Errorf("/%s is a directory in one input and a file in another", e.name)
	}
	t.entries[e.name] = e
	return nil
}

// complete adds missing parent directories, and turns a hard link into a file if a later input
// replaced its first name, or if its first name sorts after it.
func (t tree) complete() error {
	for _, name := range slices.Sorted(maps.Keys(t.entries)) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			parent, found := t.entries[dir]
			if !found {
				t.entries[dir] = entry{name: dir, kind: tar.TypeDir, mode: 0o755}
			} else if parent.kind != tar.TypeDir {
				return fmt.Errorf("add /%s: /%s is not a directory; if it is a symlink, name its target",
					name, dir)
			}
		}
		e := t.entries[name]
		if first := t.entries[e.link]; e.kind == tar.TypeLink &&
			(first.kind != tar.TypeReg || first.name >= name || !sameFile(first.source, e.source)) {
			e.kind, e.link = tar.TypeReg, ""
			t.entries[name] = e
		}
	}
	return nil
}

// sameFile reports whether two paths are one file.
func sameFile(a, b string) bool {
	infoA, errA := os.Lstat(a)
	infoB, errB := os.Lstat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// writeTar streams the entries into a tar archive: owner 0:0 without names, the given time, nothing
// else of this machine.
func writeTar(w io.Writer, entries []entry, modified time.Time) error {
	out := tar.NewWriter(w)
	for _, e := range entries {
		if err := writeEntry(out, e, modified); err != nil {
			return fmt.Errorf("write /%s: %w", e.name, err)
		}
	}
	return out.Close()
}

func writeEntry(out *tar.Writer, e entry, modified time.Time) error {
	header := &tar.Header{Typeflag: e.kind, Name: e.name, Linkname: e.link, Mode: e.mode,
		ModTime: modified}
	switch e.kind {
	case tar.TypeDir:
		header.Name += "/"
	case tar.TypeReg:
		header.Size = e.size
	}
	if err := out.WriteHeader(header); err != nil || e.kind != tar.TypeReg {
		return err
	}
	content, err := os.Open(e.source)
	if err != nil {
		return err
	}
	defer content.Close()
	if _, err := io.Copy(out, content); err != nil {
		return fmt.Errorf("copy %s, %d bytes when it was listed: %w", e.source, e.size, err)
	}
	return out.Flush() // an error if the file has become shorter
}
