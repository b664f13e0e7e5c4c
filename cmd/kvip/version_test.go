package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

func TestCommitOf(t *testing.T) {
	settings := func(pairs ...string) *debug.BuildInfo {
		info := &debug.BuildInfo{}
		for i := 0; i < len(pairs); i += 2 {
			info.Settings = append(info.Settings, debug.BuildSetting{Key: pairs[i], Value: pairs[i+1]})
		}
		return info
	}
	const revision = "0123456789abcdef0123456789abcdef01234567"
	for _, test := range []struct {
		info *debug.BuildInfo
		want string
	}{
		{nil, "unknown"}, {settings(), "unknown"}, {settings("vcs.modified", "true"), "unknown"},
		{settings("vcs.revision", revision, "vcs.modified", "false"), "0123456789ab"},
		{settings("vcs.revision", revision, "vcs.modified", "true"), "0123456789ab-dirty"},
		{settings("vcs.revision", "abc"), "abc"},
	} {
		if got := commitOf(test.info); got != test.want {
			t.Errorf("%+v: %q; want %q", test.info, got, test.want)
		}
	}
}

// TestPlainBuildTellsTheCommit builds the program without the Makefile, in a repository of its own.
func TestPlainBuildTellsTheCommit(t *testing.T) {
	dir := t.TempDir()
	in := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	source, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	files := exec.Command("tar", "-c", "go.mod", "go.sum", "cmd", "pkg", "templates")
	files.Dir = source
	unpack := exec.Command("tar", "-x", "-C", dir)
	if unpack.Stdin, err = files.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := files.Start(); err != nil {
		t.Fatal(err)
	}
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("copy the sources: %v\n%s", err, out)
	}
	if err := files.Wait(); err != nil {
		t.Fatal(err)
	}
	in("git", "init", "-q")
	in("git", "add", ".")
	in("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false",
		"commit", "-q", "-m", "t")
	in("go", "build", "-buildvcs=true", "-o", "kvip-here", "./cmd/kvip")
	head := in("git", "rev-parse", "HEAD")
	if got := in("./kvip-here", "version"); !strings.Contains(got, "commit "+head[:12]) {
		t.Errorf("%s; want commit %s", got, head[:12])
	}
}

func TestVersionIsPrintedInEachWay(t *testing.T) {
	var line, flag, object, errs bytes.Buffer
	for out, args := range map[*bytes.Buffer][]string{
		&line: {"version"}, &flag: {"--version"}, &object: {"version", "-o", "json"},
	} {
		if code := run(args, out, &errs); code != exitOK || errs.Len() > 0 {
			t.Fatalf("%v: code %d, %s", args, code, errs.String())
		}
	}
	var b build
	if err := json.Unmarshal(object.Bytes(), &b); err != nil || b != thisBuild() {
		t.Errorf("%s: %v", object.String(), err)
	}
	if line.String() != flag.String() || !strings.Contains(line.String(), b.Version) {
		t.Errorf("version: %q, --version: %q", line.String(), flag.String())
	}
}

// TestImageNote: what a registry may have is not noted.
func TestImageNote(t *testing.T) {
	before := version
	t.Cleanup(func() { version = before })
	for _, row := range []struct {
		version, image string
		noted          bool
	}{
		{"dev", "localhost/kvip:dev", true},
		{"v1.2.3", "localhost/kvip:v1.2.3", true},
		{"v1.2.3-4-gabcdef0", "registry.example/kvip:v1.2.3-4-gabcdef0", true},
		{"v1.2.3-dirty", "registry.example/kvip:v1.2.3-dirty", true},
		{"abcdef0", "registry.example/kvip:abcdef0", true},
		{"v1.2.3", "registry.example/kvip:v1.2.3", false},
		{"v1.2.3-rc.1", "registry.example/kvip:v1.2.3-rc.1", false},
	} {
		version = row.version
		note := imageNote(newManifestPod(), row.image)
		if (note != "") != row.noted || row.noted && !strings.Contains(note, " "+row.image+" ") {
			t.Errorf("%s, %s: %q", row.version, row.image, note)
		}
	}
}
