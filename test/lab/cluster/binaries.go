package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Binaries returns the directory of etcd, kube-apiserver and kubeadm. It builds them from Go
// modules if they are missing, which takes minutes, and writes progress to out.
func Binaries(out io.Writer) (string, error) {
	root, err := sourceRoot()
	if err != nil {
		return "", err
	}
	var dir bytes.Buffer
	cmd := exec.Command(filepath.Join(root, "test", "k8s", "build.sh"))
	cmd.Env = append(os.Environ(), "GO="+goCommand())
	cmd.Stdout, cmd.Stderr = &dir, out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build Kubernetes (test/k8s/build.sh): %w", err)
	}
	return strings.TrimSpace(dir.String()), nil
}

// Kvip returns the path of the environment variable KVIP_BINARY. If that is not set, it builds kvip
// from this source tree into the directory.
func Kvip(dir string, out io.Writer) (string, error) {
	if path := os.Getenv("KVIP_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	root, err := sourceRoot()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "kvip")
	cmd := exec.Command(goCommand(), "build", "-trimpath", "-o", path, "./cmd/kvip")
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, out, out
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build kvip: %w", err)
	}
	return path, nil
}

// NeedKvip builds kvip for a test of a program that runs what KVIP_BINARY names, unless that is
// set.
func NeedKvip(t testing.TB) {
	t.Helper()
	path, err := Kvip(t.TempDir(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("KVIP_BINARY", path)
}

// goCommand returns the go command, also if sudo has removed it from PATH.
func goCommand() string {
	if path := os.Getenv("GO"); path != "" {
		return path
	}
	if path, err := exec.LookPath("go"); err == nil {
		return path
	}
	return "/usr/local/go/bin/go"
}

// sourceRoot returns the source tree of the working directory, or of this file.
func sourceRoot() (string, error) {
	_, file, _, _ := runtime.Caller(0)
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for _, start := range []string{wd, filepath.Dir(file)} {
		for dir := start; ; dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "test", "k8s", "build.sh")); err == nil {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", errors.New("find source tree: run this inside a clone of kvip")
}
