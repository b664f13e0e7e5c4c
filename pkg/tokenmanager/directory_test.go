package tokenmanager

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

// ca returns a certificate authority as PEM.
func ca(t *testing.T) []byte {
	t.Helper()
	return testutil.Must(fakeapi.NewStore()).CA()
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A saved token is loaded. Only its owner can read it, also if the kubelet made the directory.
func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	d := Directory(path)
	if _, err := d.Credentials(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
	ok(t, os.Mkdir(path, 0o755))
	if _, err := d.Credentials(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without files: %v", err)
	}
	certificate := ca(t)
	for _, hour := range []time.Duration{1, 2} {
		text := webToken(began, began.Add(hour*time.Hour))
		ok(t, d.save(text, certificate))
		got, gotCA, err := d.load()
		if err != nil || got.text != text || string(gotCA) != string(certificate) {
			t.Errorf("loaded %q, %v", got.text, err)
		}
	}
	for name, want := range map[string]fs.FileMode{
		"": 0o700 | fs.ModeDir, tokenFile: 0o600, caFile: 0o600,
	} {
		info, err := os.Lstat(filepath.Join(path, name))
		if ok(t, err); info.Mode() != want {
			t.Errorf("mode of %q is %v", name, info.Mode())
		}
	}
	entries, err := os.ReadDir(path)
	if ok(t, err); len(entries) != 2 {
		t.Errorf("files %v", entries)
	}
	own, err := d.Credentials()
	if err != nil || own.Source() != filepath.Join(path, tokenFile) ||
		string(own.CA()) != string(certificate) {
		t.Errorf("credentials %s, %v", own.Source(), err)
	}
}

// TestUnusableDirectories: files that another user may control are refused, and errors name them.
func TestUnusableDirectories(t *testing.T) {
	good := webToken(began, began.Add(time.Hour))
	for _, c := range []struct {
		name, says string
		make       func(path string) error
	}{
		{"a symbolic link", "symbolic link", func(p string) error { return os.Symlink(t.TempDir(), p) }},
		{"a file", "it is a file", func(p string) error { return os.WriteFile(p, nil, 0o600) }},
		{"no parent", "no such file", func(p string) error { return os.Remove(filepath.Dir(p)) }},
		{"garbage", "not a JSON Web Token", files(tokenFile, "garbage")},
		{"an empty token", "not a JSON Web Token", files(tokenFile, "")},
		{"claims that are not base64", "decode its claims", files(tokenFile, "a.!.c")},
		{"claims that are not JSON", "read its claims", files(tokenFile, "a.YQ.c")},
		{"a directory", "is a directory", func(p string) error {
			return os.MkdirAll(filepath.Join(p, tokenFile), 0o700)
		}},
		{"a token that is a link", "too many levels", func(p string) error {
			target := filepath.Join(p, tokenFile)
			return errors.Join(os.Mkdir(p, 0o700), os.Symlink("/etc/hostname", target))
		}},
		{"files of other programs", "passwd in it is not kvip's", func(p string) error {
			return errors.Join(files(tokenFile, good, "passwd", "")(p), os.Chmod(p, 0o755))
		}},
		{"no certificate", "holds no certificate", files(tokenFile, good, caFile, "garbage")},
	} {
		path := filepath.Join(t.TempDir(), "parent", "state")
		ok(t, os.Mkdir(filepath.Dir(path), 0o700))
		ok(t, c.make(path))
		d := Directory(path)
		err := d.secure()
		if err == nil {
			_, _, err = d.load()
		}
		if err == nil || !strings.Contains(err.Error(), c.says) ||
			!strings.Contains(err.Error(), filepath.Dir(path)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
}

// files makes a directory with these files: name, text, name, text.
func files(pairs ...string) func(path string) error {
	return func(path string) error {
		err := os.Mkdir(path, 0o700)
		for i := 0; i < len(pairs); i += 2 {
			err = errors.Join(err, os.WriteFile(filepath.Join(path, pairs[i]), []byte(pairs[i+1]), 0o600))
		}
		return err
	}
}

func TestDirectoryOfAnotherUser(t *testing.T) {
	testutil.NeedRoot(t)
	path := filepath.Join(t.TempDir(), "state")
	ok(t, errors.Join(os.Mkdir(path, 0o700), os.Chown(path, 1000, 1000)))
	err := Directory(path).secure()
	if err == nil || !strings.Contains(err.Error(), "belongs to user 1000") {
		t.Errorf("%v", err)
	}
	if err := Directory(path).save("a.b.c", nil); err == nil {
		t.Error("a token was stored there")
	}
}

// TestFailedSave: a failed write leaves the old token, and no other file.
func TestFailedSave(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	d := Directory(path)
	text := webToken(began, began.Add(time.Hour))
	ok(t, d.save(text, ca(t)))
	ok(t, os.Mkdir(filepath.Join(path, partOf(tokenFile)), 0o700))
	err := d.save("other", ca(t))
	if err == nil || !strings.Contains(err.Error(), filepath.Join(path, tokenFile)) {
		t.Errorf("%v", err)
	}
	if got, _, err := d.load(); err != nil || got.text != text {
		t.Errorf("loaded %q, %v", got.text, err)
	}
}

// TestSecure: an empty directory becomes private; kvip's own files do not prevent that.
func TestSecure(t *testing.T) {
	for name, content := range map[string][]string{
		"empty": nil, "own": {tokenFile, "x", caFile, "x"}, "interrupted": {partOf(caFile), "x"},
	} {
		path := filepath.Join(t.TempDir(), "state")
		ok(t, files(content...)(path))
		ok(t, os.Chmod(path, 0o755))
		ok(t, Directory(path).secure())
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
}
