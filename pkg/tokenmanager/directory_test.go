package tokenmanager

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

// webToken is a token with those claims and a worthless signature.
func webToken(issued, expires time.Time) string {
	claims := fmt.Sprintf(`{"iat":%d,"exp":%d}`, issued.Unix(), expires.Unix())
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func ca(t *testing.T) []byte {
	t.Helper()
	store, err := fakeapi.NewStore()
	if err != nil {
		t.Fatal(err)
	}
	return store.CA()
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What is saved is loaded, by its owner alone; the kubelet makes the directory readable for all.
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
	for name, want := range map[string]fs.FileMode{"": 0o700 | fs.ModeDir, tokenFile: 0o600, caFile: 0o600} {
		info, err := os.Lstat(filepath.Join(path, name))
		if ok(t, err); info.Mode() != want {
			t.Errorf("mode of %q is %v", name, info.Mode())
		}
	}
	entries, err := os.ReadDir(path)
	if ok(t, err); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
	own, err := d.Credentials()
	if err != nil || own.Source() != filepath.Join(path, tokenFile) || string(own.CA()) != string(certificate) {
		t.Errorf("credentials %s, %v", own.Source(), err)
	}
}

// What somebody else could have put there is refused, and what cannot be used is named.
func TestDirectoriesThatAreRefused(t *testing.T) {
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
		{"claims that are no base64", "decode its claims", files(tokenFile, "a.!.c")},
		{"claims that are no JSON", "read its claims", files(tokenFile, "a.YQ.c")},
		{"a directory", "is a directory", func(p string) error { return os.MkdirAll(filepath.Join(p, tokenFile), 0o700) }},
		{"a token that is a link", "too many levels", func(p string) error {
			return errors.Join(os.Mkdir(p, 0o700), os.Symlink("/etc/hostname", filepath.Join(p, tokenFile)))
		}},
		{"what others use", "passwd in it is not kvip's", func(p string) error {
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
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), filepath.Dir(path)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
}

// files makes a directory with those files: name, text, name, text.
func files(pairs ...string) func(path string) error {
	return func(path string) error {
		err := os.Mkdir(path, 0o700)
		for i := 0; i < len(pairs); i += 2 {
			err = errors.Join(err, os.WriteFile(filepath.Join(path, pairs[i]), []byte(pairs[i+1]), 0o600))
		}
		return err
	}
}

func TestDirectoryOfSomebodyElse(t *testing.T) {
	testutil.NeedRoot(t)
	path := filepath.Join(t.TempDir(), "state")
	ok(t, errors.Join(os.Mkdir(path, 0o700), os.Chown(path, 1000, 1000)))
	if err := Directory(path).secure(); err == nil || !strings.Contains(err.Error(), "belongs to user 1000") {
		t.Errorf("%v", err)
	}
	if err := Directory(path).save("a.b.c", nil); err == nil {
		t.Error("a token was stored there")
	}
}

// A write that fails leaves what was there, and nothing beside it.
func TestSaveThatFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	d := Directory(path)
	text := webToken(began, began.Add(time.Hour))
	ok(t, d.save(text, ca(t)))
	ok(t, os.Mkdir(filepath.Join(path, "."+tokenFile+".part"), 0o700)) // where the next is written
	if err := d.save("other", ca(t)); err == nil || !strings.Contains(err.Error(), filepath.Join(path, tokenFile)) {
		t.Errorf("%v", err)
	}
	if got, _, err := d.load(); err != nil || got.text != text {
		t.Errorf("loaded %q, %v", got.text, err)
	}
}

func TestTokensSayWhenTheyExpire(t *testing.T) {
	got, err := parseToken(webToken(began, began.Add(time.Hour)) + "\n")
	if err != nil || !got.issued.Equal(began) || !got.expires.Equal(began.Add(time.Hour)) || strings.HasSuffix(got.text, "\n") {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = parseToken("e30.e30.x"); err != nil || !got.issued.IsZero() || !got.expires.IsZero() {
		t.Errorf("without claims: %+v, %v", got, err)
	}
}
