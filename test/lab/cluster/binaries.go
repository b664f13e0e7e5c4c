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
)

// Binaries returns the directory that holds etcd, kube-apiserver and kubeadm. It builds them
// from Go modules if that has not been done yet (minutes), with progress written to out.
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

// Kvip returns the kvip that the environment variable KVIP_BINARY names or, where that is
// not set, builds one from this source tree into the directory.
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

// goCommand finds the go command also where sudo has dropped it from PATH.
func goCommand() string {
	if path := os.Getenv("GO"); path != "" {
		return path
	}
	if path, err := exec.LookPath("go"); err == nil {
		return path
	}
	return "/usr/local/go/bin/go"
}

// sourceRoot finds the tree this program was built from: the working directory's, or that of
// this file.
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
