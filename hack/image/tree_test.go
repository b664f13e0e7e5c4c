package main

import (
	"archive/tar"
	"bytes"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// write creates a file with its directories.
func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // independent of the umask
		t.Fatal(err)
	}
}

// sample creates a tree with each property that images keep: modes, symlinks, hard links, empty
// directories.
func sample(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir+"/usr/bin/tool", "#!tool", 0o755)
	write(t, dir+"/usr/bin/su", "#!su", 0o755|os.ModeSetuid)
	write(t, dir+"/etc-x", "sorts between etc and etc/", 0o640)
	write(t, dir+"/etc/conf", "text", 0o644)
	for _, err := range []error{
		os.Symlink("usr/bin", dir+"/bin"),
		os.Symlink("/nowhere", dir+"/broken"),
		os.Link(dir+"/usr/bin/tool", dir+"/usr/bin/tool5"),
		os.Mkdir(dir+"/tmp", 0o700),
		os.Chmod(dir+"/tmp", 0o777|os.ModeSticky),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCollectKeepsModesAndLinks(t *testing.T) {
	dir := sample(t)
	entries, err := collect([]input{{dir, "/", -1}, {dir + "/etc/conf", "/opt/a/conf", 0o400}},
		&bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{name: "bin", kind: tar.TypeSymlink, mode: 0o777, link: "usr/bin"},
		{name: "broken", kind: tar.TypeSymlink, mode: 0o777, link: "/nowhere"},
		{name: "etc", kind: tar.TypeDir, mode: 0o755},
		{name: "etc-x", kind: tar.TypeReg, mode: 0o640, source: dir + "/etc-x", size: 26},
		{name: "etc/conf", kind: tar.TypeReg, mode: 0o644, source: dir + "/etc/conf", size: 4},
		{name: "opt", kind: tar.TypeDir, mode: 0o755},
		{name: "opt/a", kind: tar.TypeDir, mode: 0o755},
		{name: "opt/a/conf", kind: tar.TypeReg, mode: 0o400, source: dir + "/etc/conf", size: 4},
		{name: "tmp", kind: tar.TypeDir, mode: 0o1777},
		{name: "usr", kind: tar.TypeDir, mode: 0o755},
		{name: "usr/bin", kind: tar.TypeDir, mode: 0o755},
		{name: "usr/bin/su", kind: tar.TypeReg, mode: 0o4755, source: dir + "/usr/bin/su", size: 4},
		{name: "usr/bin/tool", kind: tar.TypeReg, mode: 0o755, source: dir + "/usr/bin/tool", size: 6},
		{name: "usr/bin/tool5", kind: tar.TypeLink, mode: 0o755, link: "usr/bin/tool", source: dir +
			"/usr/bin/tool5", size: 6},
	}
	for i := range max(len(want), len(entries)) {
		if i >= len(want) || i >= len(entries) || want[i] != entries[i] {
			t.Fatalf("from entry %d on:\n%+v\nwant\n%+v", i, entries[min(i, len(entries)):],
				want[min(i, len(want)):])
		}
	}
}

func TestLaterInputsReplaceEarlierOnes(t *testing.T) {
	dir := sample(t)
	write(t, dir+"-new", "new", 0o755)
	defer os.Remove(dir + "-new")
	entries, err := collect([]input{{dir, "/", -1}, {dir + "-new", "/usr/bin/tool", -1}},
		&bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	for name, source := range map[string]string{"usr/bin/tool": dir + "-new", "usr/bin/tool5": dir +
		"/usr/bin/tool5"} {
		i := slices.IndexFunc(entries, func(e entry) bool { return e.name == name })
		if e := entries[i]; e.kind != tar.TypeReg || e.source != source {
			t.Errorf("%s is %+v, want the content of %s: the other name keeps the old content", name, e,
				source)
		}
	}
}

func TestSpecialFilesAreLeftOutWithAWarning(t *testing.T) {
	dir := sample(t)
	socket, err := net.Listen("unix", dir+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	var warnings bytes.Buffer
	entries, err := collect([]input{{dir, "/", -1}}, &warnings)
	if err != nil || slices.ContainsFunc(entries, func(e entry) bool { return e.name == "socket" }) {
		t.Fatalf("%v, %+v; want no socket", err, entries)
	}
	if !strings.Contains(warnings.String(), "left out "+dir+"/socket") {
		t.Errorf("warnings %q do not name the socket", warnings.String())
	}
}

func TestCollectRejects(t *testing.T) {
	dir := sample(t)
	file := dir + "/etc/conf"
	write(t, dir+"-wh/.wh.conf", "", 0o644)
	defer os.RemoveAll(dir + "-wh")
	for _, c := range []struct {
		name, want string
		inputs     []input
	}{
		{"no such source", "no such file", []input{{dir + "/none", "/x", -1}}},
		{"device", "neither a file nor a directory", []input{{"/dev/null", "/null", -1}}},
		{"file as root", "needs a name, as in /dest/conf", []input{{file, "/", -1}}},
		{"mode of a directory", "leave out the mode", []input{{dir, "/", 0o755}}},
		{"below a symlink", "/bin is not a directory", []input{{dir, "/", -1}, {file, "/bin/conf", -1}}},
		{"below a file", "/a is not a directory", []input{{file, "/a", -1}, {file, "/a/b", -1}}},
		{"file over a directory", "directory in one input", []input{{dir, "/", -1}, {file, "/etc", -1}}},
		{"deletion", "mean a deletion", []input{{dir + "-wh", "/", -1}}},
	} {
		if _, err := collect(c.inputs, &bytes.Buffer{}); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

// TestWriteTarNeedsTheListedSize: a file that changes between listing and copying is an error.
func TestWriteTarNeedsTheListedSize(t *testing.T) {
	for content, want := range map[string]string{"short": "missed writing", "much longer": "too long",
		"8 bytes.": ""} {
		file := t.TempDir() + "/file"
		write(t, file, content, 0o644)
		var out bytes.Buffer
		err := writeTar(&out, []entry{{name: "file", kind: tar.TypeReg, source: file, size: 8}},
			time.Unix(0, 0))
		if want == "" && err != nil || want != "" && (err == nil ||
			!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "write /file")) {
			t.Errorf("%q as 8 bytes: %v, want %q", content, err, want)
		}
	}
}
