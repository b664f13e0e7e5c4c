package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// do runs a command line that must succeed and returns what it printed.
func do(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(args, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Fatalf("image %q: exit %d, %s", args, code, &stderr)
	}
	return stdout.String()
}

// hashOf returns the SHA-256 of a file.
func hashOf(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(content))
}

// openLayout opens an archive as an OCI layout with the reader of the library.
func openLayout(t *testing.T, path string) v1.ImageIndex {
	t.Helper()
	dir := t.TempDir()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for in := tar.NewReader(file); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		content, err2 := io.ReadAll(in)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, header.Name), string(content), 0o644)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestLibraryReadsImage(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	out := filepath.Join(t.TempDir(), "new/out.tar")
	printed := do(t, "-o", out, "--name", "localhost/x:1", "--name", "busybox:2", "--platform",
		"linux/arm64", "--file", sample(t)+":/",
		"--entrypoint", "/usr/bin/tool", "--entrypoint", "-v", "--label", "a=b=c")

	tag, err := name.NewTag("docker.io/library/busybox:2")
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(out, &tag)
	if err != nil {
		t.Fatalf("read as docker archive: %v", err)
	}
	if err := validate.Image(img); err != nil {
		t.Errorf("docker archive: %v", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := config.Config
	if config.Architecture != "arm64" || config.OS != "linux" ||
		!config.Created.Equal(time.Unix(1700000000, 0)) ||
		!slices.Equal(c.Entrypoint, []string{"/usr/bin/tool", "-v"}) || c.Labels["a"] != "b=c" ||
		len(c.Env) > 0 || c.User != "" {
		t.Errorf("configuration %+v", config)
	}

	index := openLayout(t, out)
	if err := validate.Index(index); err != nil {
		t.Errorf("OCI layout: %v", err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 2 || m.Manifests[0].Digest != m.Manifests[1].Digest ||
		!strings.Contains(printed, m.Manifests[0].Digest.String()) ||
		m.Manifests[0].Annotations[containerdName] != "localhost/x:1" ||
		m.Manifests[1].Annotations[containerdName] != "docker.io/library/busybox:2" {
		t.Errorf("index.json has %+v, printed was %s", m.Manifests, printed)
	}
}

func TestLayerIsIndependentOfTheMachine(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	out := filepath.Join(t.TempDir(), "out.tar")
	do(t, "-o", out, "--name", "localhost/x:1", "--file", sample(t)+":/")
	img, err := tarball.ImageFromPath(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v; want 1", len(layers), err)
	}
	plain, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	var names []string
	for in := tar.NewReader(plain); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" ||
			!h.ModTime.Equal(time.Unix(1700000000, 0)) || len(h.PAXRecords) > 0 {
			t.Errorf("%s: %+v", h.Name, h)
		}
	}
	want := "bin broken etc/ etc-x etc/conf tmp/ usr/ usr/bin/ usr/bin/su usr/bin/tool usr/bin/tool5"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("names %s, want %s", got, want)
	}
}

// TestSameFilesGiveTheSameBytes builds twice: in other directories, with other times of the files
// and another umask for single files.
func TestSameFilesGiveTheSameBytes(t *testing.T) {
	var hashes []string
	for i := range 2 {
		dir, out := sample(t), filepath.Join(t.TempDir(), "out.tar")
		tool := dir + "-tool"
		write(t, tool, "tool", 0o755-os.FileMode(i)*0o055)
		defer os.Remove(tool)
		at := time.Unix(int64(i)*1000, 0)
		if err := os.Chtimes(dir+"/etc/conf", at, at); err != nil {
			t.Fatal(err)
		}
		do(t, "-o", out, "--name", "localhost/x:1", "--file", dir+":/", "--file", tool+":/tool",
			"--label", "b=1", "--label", "a=1")
		do(t, "index", "-o", out+".oci", "--name", "localhost/x:1", out)
		hashes = append(hashes, hashOf(t, out)+hashOf(t, out+".oci"))
	}
	if hashes[0] != hashes[1] {
		t.Error("the archives differ")
	}
}

func TestIndexJoinsPlatforms(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/same", strings.Repeat("same layer ", 100), 0o755)
	var parts []string
	for _, arch := range []string{"amd64", "arm64"} {
		part := filepath.Join(dir, arch+".tar")
		do(t, "-o", part, "--name", "localhost/x:1", "--name", "localhost/x:2", "--platform", "linux/"+
			arch, "--file", dir+"/same:/same")
		parts = append(parts, part)
	}
	out := dir + "/index.tar"
	do(t, append([]string{"index", "-o", out, "--name", "localhost/x:1"}, parts...)...)
	outer := openLayout(t, out)
	if err := validate.Index(outer); err != nil {
		t.Fatal(err)
	}
	m, err := outer.IndexManifest()
	if err != nil || len(m.Manifests) != 1 ||
		m.Manifests[0].Annotations[containerdName] != "localhost/x:1" {
		t.Fatalf("index.json %+v, %v; want one name", m, err)
	}
	inner, err := outer.ImageIndex(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	m, err = inner.IndexManifest()
	if err != nil || len(m.Manifests) != 2 || m.Manifests[0].Platform.String() != "linux/amd64" ||
		m.Manifests[1].Platform.String() != "linux/arm64" {
		t.Errorf("platforms %+v, %v", m, err)
	}
	rejected(t, 1, "the index already has linux/amd64", "index", "-o", out, "--name",
		"localhost/x:1", parts[0], parts[0])
	rejected(t, 1, "no image for one platform", "index", "-o", out, "--name", "localhost/x:1", out)
}

// TestBigFilesAreStreamed proves that memory does not grow with the files.
func TestBigFilesAreStreamed(t *testing.T) {
	const size = 64 << 20
	dir := t.TempDir()
	write(t, dir+"/big", "", 0o644)
	if err := os.Truncate(dir+"/big", size); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do(t, "-o", dir+"/out.tar", "--name", "localhost/x:1", "--file", dir+"/big:/big")
	do(t, "index", "-o", dir+"/index.tar", "--name", "localhost/x:1", dir+"/out.tar")
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > size/4 {
		t.Errorf("allocated %d bytes for a file of %d", used, size)
	}
}

// rejected runs a command line that must fail with this code and a message.
func rejected(t *testing.T, code int, want string, args ...string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if got := run(args, &stdout, &stderr); got != code || !strings.Contains(stderr.String(), want) ||
		stdout.Len() > 0 {
		t.Errorf("image %q: exit %d, want %d and %q:\n%s%s", args, got, code, want, &stdout, &stderr)
	}
}

func TestRejectsCommandLines(t *testing.T) {
	ok := []string{"-o", filepath.Join(t.TempDir(), "out.tar"), "--name", "localhost/x:1", "--file",
		"main.go:/main.go"}
	for _, c := range []struct {
		want string
		args []string
	}{
		{"-o FILE", nil},
		{"--name REF", ok[:2]},
		{"--file SRC:/DEST", ok[:4]},
		{"want a tag", append(ok, "--name", "localhost:5000/x")},
		{"repository can only contain", append(ok, "--name", "No:1")},
		{"want SRC:/DEST", append(ok, "--file", "main.go:main.go")},
		{"not octal", append(ok, "--file", "main.go:/main.go:0888")},
		{"key=value", append(ok, "--label", "x")},
		{"os/arch", append(ok, "--platform", "linux")},
		{"only index takes arguments", append(ok, "x.tar")},
		{"index needs the archives", []string{"index", "-o", "x", "--name", "localhost/x:1"}},
		{"takes one --name",
			[]string{"index", "-o", "x", "--name", "localhost/x:1", "--name", "localhost/x:2",
				"x.tar"}},
	} {
		rejected(t, 2, c.want, c.args...)
	}
	var help bytes.Buffer
	if code := run([]string{"-h"}, io.Discard, &help); code != 0 ||
		!strings.Contains(help.String(), "-platform os/arch") {
		t.Errorf("help: exit %d, %s", code, &help)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	rejected(t, 2, "SOURCE_DATE_EPOCH", ok...)
}

// TestIndexRejectsArchives: a blob's name is a hash, never a path out of the layout.
func TestIndexRejectsArchives(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/text.tar", strings.Repeat("no archive ", 100), 0o644)
	for file, header := range map[string]*tar.Header{
		"escape": {Typeflag: tar.TypeReg, Name: "blobs/sha256/../../../escaped", Mode: 0o644},
		"index":  {Typeflag: tar.TypeReg, Name: "index.json", Mode: 0o644},
	} {
		if err := writeFile(dir+"/"+file+".tar", func(w io.Writer) error {
			out := tar.NewWriter(w)
			return errors.Join(out.WriteHeader(header), out.Close())
		}); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]string{"none": "no such file", "text": "invalid tar header",
		"escape": "blobs/sha256/../../../escaped: ", "index": "index.json: "} {
		rejected(t, 1, want, "index", "-o", dir+"/out/index.tar", "--name", "localhost/x:1",
			dir+"/"+file+".tar")
	}
	if left, err := os.ReadDir(dir + "/out"); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestSmallFilesComeFirst: a reader of the stream knows the image before its blobs.
func TestSmallFilesComeFirst(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.tar")
	do(t, "-o", out, "--name", "localhost/x:1", "--file", "main.go:/main.go")
	info, err := os.Stat(out)
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("mode %v, %v; want 0644 with every umask", info.Mode(), err)
	}
	file, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var names []string
	for in := tar.NewReader(file); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg || h.Mode != 0o644 || h.Uid != 0 || h.Uname != "" ||
			!h.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s: %+v", h.Name, h)
		}
		names = append(names, h.Name)
	}
	if len(names) != 6 || !slices.Equal(names[:3], []string{"index.json", "manifest.json",
		"oci-layout"}) {
		t.Errorf("entries %q", names)
	}
}

func TestNamesAreFull(t *testing.T) {
	for ref, want := range map[string]string{
		"localhost/kvip:1":            "localhost/kvip:1",
		"registry.example:5000/a/b:c": "registry.example:5000/a/b:c",
		"busybox:2":                   "docker.io/library/busybox:2",
		"some/tool:v1":                "docker.io/some/tool:v1",
	} {
		var o options
		if err := o.addName(ref); err != nil || !slices.Equal(o.names, []string{want}) {
			t.Errorf("%s is %q, %v; want %s", ref, o.names, err, want)
		}
	}
}

func TestSourceDateEpoch(t *testing.T) {
	for s, want := range map[string]int64{"": 0, "0": 0, "1700000000": 1700000000} {
		if got, err := epoch(s); err != nil || got.Unix() != want {
			t.Errorf("epoch %q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"-1", "1.5", "0x1", "99999999999999999999"} {
		if _, err := epoch(s); err == nil {
			t.Errorf("epoch %q is accepted", s)
		}
	}
}

// TestFailureLeavesNothing expects no partial archive and no temporary files.
func TestFailureLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	rejected(t, 1, "no such file", "-o", dir+"/out.tar", "--name", "localhost/x:1", "--file", dir+
		"/none:/x")
	rejected(t, 1, "write /proc", "-o", dir+"/out.tar", "--name", "localhost/x:1", "--file",
		"/proc/self/status:/proc")
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestFailureKeepsTheArchive: an archive of an earlier run stays until a complete one replaces it.
func TestFailureKeepsTheArchive(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.tar")
	write(t, out, "earlier", 0o600)
	rejected(t, 1, "write /proc", "-o", out, "--name", "localhost/x:1", "--file",
		"/proc/self/status:/proc")
	if got, err := os.ReadFile(out); err != nil || string(got) != "earlier" {
		t.Errorf("the archive is %q, %v", got, err)
	}
	do(t, "-o", out, "--name", "localhost/x:1", "--file", "main.go:/main.go")
	if _, err := tarball.ImageFromPath(out, nil); err != nil {
		t.Error(err)
	}
}
