package main

import (
	"archive/tar"
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
)

// entry is one name in the image.
type entry struct {
	name   string // as in a tar archive: without a leading slash
	kind   byte   // tar.TypeReg, TypeDir, TypeSymlink or TypeLink
	mode   int64  // permission bits with setuid, setgid and sticky
	source string // of a regular file: where its content is
	size   int64
	link   string // of a symlink its target, of a hard link the name of the first
}

// tree collects what is to be in the image, by name.
type tree struct {
	entries map[string]entry
	notes   io.Writer // told what was left out
}

// collect reads all inputs, without their content, and returns the entries sorted by name, so that
// a directory comes before what is in it.
func collect(inputs []input, notes io.Writer) ([]entry, error) {
	t := tree{entries: map[string]entry{}, notes: notes}
	for _, in := range inputs {
		if err := t.add(in); err != nil {
			return nil, fmt.Errorf("add %s as %s: %w", in.source, in.dest, err)
		}
	}
	if err := t.parents(); err != nil {
		return nil, err
	}
	sorted := make([]entry, 0, len(t.entries))
	for _, name := range slices.Sorted(maps.Keys(t.entries)) {
		sorted = append(sorted, t.entries[name])
	}
	return sorted, nil
}

// add takes one --file. A symlink as SRC itself is followed; those inside a directory are kept.
func (t tree) add(in input) error {
	info, err := os.Stat(in.source)
	if err != nil {
		return err
	}
	dest := strings.TrimPrefix(in.dest, "/")
	if info.IsDir() {
		if in.mode >= 0 {
			return fmt.Errorf("it is a directory: leave out the mode, that of each file is kept")
		}
		return t.addDir(in.source, dest)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("it is neither a file nor a directory")
	}
	if dest == "" {
		return fmt.Errorf("it is a file: name it, as in /dest/%s", filepath.Base(in.source))
	}
	mode := in.mode
	if mode < 0 { // not the umask of whoever made it
		mode = 0o644
		if info.Mode()&0o111 != 0 {
			mode = 0o755
		}
	}
	return t.put(entry{name: dest, kind: tar.TypeReg, mode: mode, source: in.source,
		size: info.Size()})
}

// addDir takes a directory with all below it. Modes, symlinks and hard links are kept; extended
// attributes are not; devices, pipes and sockets are left out, for container runtimes make their
// own.
func (t tree) addDir(source, dest string) error {
	links := map[[2]uint64]string{} // device and inode of a file with several names: the first one
	return filepath.WalkDir(source+"/", func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(source, at)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := entry{name: path.Join(dest, filepath.ToSlash(rel)), mode: permissions(info.Mode())}
		if e.name == "." || e.name == "" {
			return nil // the root is there, whatever an archive says
		}
		switch info.Mode().Type() {
		case fs.ModeDir:
			e.kind = tar.TypeDir
		case fs.ModeSymlink:
			e.kind, e.mode = tar.TypeSymlink, 0o777
			if e.link, err = os.Readlink(at); err != nil {
				return err
			}
		case 0:
			e.kind, e.source, e.size = tar.TypeReg, at, info.Size()
			if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Nlink > 1 {
				inode := [2]uint64{uint64(stat.Dev), stat.Ino}
				if first, seen := links[inode]; seen {
					e = entry{name: e.name, kind: tar.TypeLink, mode: e.mode, link: first, source: at,
						size: e.size}
				} else {
					links[inode] = e.name
				}
			}
		default:
			fmt.Fprintf(t.notes, "image: left out %s: %s\n", at, info.Mode().Type())
			return nil
		}
		return t.put(e)
	})
}

// permissions returns the mode bits as tar has them.
func permissions(m fs.FileMode) int64 {
	bits := int64(m.Perm())
	for bit, value := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000,
		fs.ModeSticky: 0o1000} {
		if m&bit != 0 {
			bits |= value
		}
	}
	return bits
}

// put adds an entry in the place of an earlier one of that name.
func (t tree) put(e entry) error {
	if base := path.Base(e.name); strings.HasPrefix(base, ".wh.") {
		return fmt.Errorf("%s: names that begin with .wh. mean a deletion in an image", e.name)
	}
	if old, found := t.entries[e.name]; found && (old.kind == tar.TypeDir) != (e.kind == tar.TypeDir) {
		return fmt.Errorf("/%s is a directory in one input and none in another", e.name)
	}
	t.entries[e.name] = e
	return nil
}

// parents adds the directories that no input brought, and makes whole again the hard links whose
// first name was replaced by a later input.
func (t tree) parents() error {
	for _, name := range slices.Sorted(maps.Keys(t.entries)) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			parent, found := t.entries[dir]
			if !found {
				t.entries[dir] = entry{name: dir, kind: tar.TypeDir, mode: 0o755}
			} else if parent.kind != tar.TypeDir {
				return fmt.Errorf("add /%s: /%s is no directory; if it is a symlink, name what it leads to",
					name, dir)
			}
		}
		e := t.entries[name]
		if e.kind == tar.TypeLink && !t.sameFile(e) {
			e.kind, e.link = tar.TypeReg, ""
			t.entries[name] = e
		}
	}
	return nil
}

// sameFile tells whether the first name of a hard link is still that file, and comes before it.
func (t tree) sameFile(e entry) bool {
	first := t.entries[e.link]
	if first.kind != tar.TypeReg || first.name >= e.name {
		return false
	}
	a, errA := os.Lstat(first.source)
	b, errB := os.Lstat(e.source)
	return errA == nil && errB == nil && os.SameFile(a, b)
}
