package tokenmanager

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/kvip/kvip/pkg/apiclient"
)

// The files of the directory, named as in the volume that the kubelet gives a pod.
const (
	tokenFile = "token"
	caFile    = "ca.crt"
)

// maxFile limits how much of a file is read, in bytes.
const maxFile = 1 << 20

// Directory stores the token and the CA of its API servers. It must belong to this user, with mode
// 0700, and must not be a symbolic link, so that no other user can read or replace its files.
type Directory string

// secure creates the directory or makes it private. It returns an error if that is not safe.
func (d Directory) secure() error {
	path := string(d)
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make state directory %s: %w", path, err)
	}
	mode, err := d.check()
	if err != nil || mode == 0o700 {
		return err
	}
	if err := d.checkContent(); err != nil {
		return err
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return fmt.Errorf("make state directory %s private: %w", path, err)
	}
	return nil
}

// check returns the mode of the directory, or an error if another user may control it.
func (d Directory) check() (fs.FileMode, error) {
	path := string(d)
	info, err := os.Lstat(path)
	if err != nil {
		return 0, fmt.Errorf("look at state directory %s: %w", path, err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return 0, fmt.Errorf("use state directory %s: it is a %s; remove it",
			path, kindOf(info.Mode()))
	case ok && int(owner.Uid) != os.Geteuid():
		return 0, fmt.Errorf("use state directory %s: it belongs to user %d, not to %d; "+
			"remove it or change its owner", path, owner.Uid, os.Geteuid())
	}
	return info.Mode().Perm(), nil
}

// checkContent returns an error if the directory has files of other programs, as /var/lib has: mode
// 0700 would lock them out.
func (d Directory) checkContent() error {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return fmt.Errorf("look into state directory %s: %w", d, err)
	}
	known := []string{tokenFile, caFile, partOf(tokenFile), partOf(caFile)}
	for _, e := range entries {
		if !slices.Contains(known, e.Name()) {
			return fmt.Errorf("make state directory %s private: %s in it is not kvip's; "+
				"give kvip a directory of its own with --state-dir, or make this one mode 0700",
				d, e.Name())
		}
	}
	return nil
}

// partOf names a file while it is written.
func partOf(name string) string { return "." + name + ".part" }

func kindOf(mode fs.FileMode) string {
	if mode&fs.ModeSymlink != 0 {
		return "symbolic link"
	}
	return "file"
}

// Credentials returns the stored credentials. The error is fs.ErrNotExist if there are none.
func (d Directory) Credentials() (apiclient.Credentials, error) {
	t, ca, err := d.load()
	if err != nil {
		return apiclient.Credentials{}, err
	}
	return d.credentials(t.text, ca), nil
}

// credentials returns those of a token that is, or will be, in the directory.
func (d Directory) credentials(tokenText string, ca []byte) apiclient.Credentials {
	return apiclient.TokenCredentials(filepath.Join(string(d), tokenFile), tokenText, ca)
}

func (d Directory) load() (t token, ca []byte, err error) {
	if _, err := d.check(); err != nil {
		return token{}, nil, err
	}
	text, err := d.read(tokenFile)
	if err != nil {
		return token{}, nil, err
	}
	if t, err = parseToken(string(text)); err != nil {
		return token{}, nil, fmt.Errorf("read token in %s: %w", d, err)
	}
	if ca, err = d.read(caFile); err != nil {
		return token{}, nil, err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(ca) {
		path := filepath.Join(string(d), caFile)
		return token{}, nil, fmt.Errorf("read %s: it holds no certificate", path)
	}
	return t, ca, nil
}

func (d Directory) read(name string) ([]byte, error) {
	path := filepath.Join(string(d), name)
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}

// save stores the token and the CA, the CA first. Each file is replaced atomically, also if power
// is lost.
func (d Directory) save(tokenText string, ca []byte) error {
	if err := d.secure(); err != nil {
		return err
	}
	if err := d.write(caFile, ca); err != nil {
		return err
	}
	if err := d.write(tokenFile, []byte(tokenText)); err != nil {
		return err
	}
	dir, err := os.Open(string(d))
	if err != nil {
		return fmt.Errorf("store token in %s: %w", d, err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("store token in %s: %w", d, err)
	}
	return nil
}

// write replaces one file. It overwrites what an interrupted write left.
func (d Directory) write(name string, content []byte) (err error) {
	path := filepath.Join(string(d), name)
	part := filepath.Join(string(d), partOf(name))
	defer func() {
		if err != nil {
			err = fmt.Errorf("store %s: %w", path, err)
			_ = os.Remove(part) // it may be missing, or occupy the last bytes of a full disk
		}
	}()
	file, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(part, path)
}
