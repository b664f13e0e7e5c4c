// Package netlab builds a small Ethernet of Linux network namespaces and injects faults into it:
// hosts, a switch, processes inside the hosts, a packet capture, a sampler of the holders of an
// address, and a client that measures outages.
//
// It has no knowledge of Kubernetes or kvip. Its core does not import testing, because the demo and
// the benchmark use it too.
//
// Nothing outlives the process that built a lab. The namespaces have no names, so the kernel
// removes them and their links with their last user. A process in a host is killed with the thread
// that started it. Only the directory of the lab can be left by a SIGKILL, and the next [New]
// removes it.
package netlab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// dirPrefix begins the name of every lab's directory: kvip-lab-<pid>-<number>.
const dirPrefix = "kvip-lab-"

var labs atomic.Int64 // numbers the labs of this process, for unique names

// Config of a Lab. The zero value is usable.
type Config struct {
	// Dir is where the lab's directory is created. Empty means os.TempDir().
	Dir string
}

// Lab is one switch with hosts on it. Its methods are safe for concurrent use.
type Lab struct {
	// Name is unique on this machine while the process lives, as in "kvip-lab-4711-1".
	Name string
	// Dir is the lab's own directory. Close removes it.
	Dir string

	sw     *networkSwitch
	mu     sync.Mutex
	hosts  []*Host
	closed bool
}

// New builds an empty lab: a switch in a namespace of its own, so that firewall rules of the
// machine, such as Docker's, do not see its frames. It removes the directories of labs whose
// process has ended. It needs root.
func New(cfg Config) (*Lab, error) {
	base := cfg.Dir
	if base == "" {
		base = os.TempDir()
	}
	removeStale(base)
	name := fmt.Sprintf("%s%d-%d", dirPrefix, os.Getpid(), labs.Add(1))
	dir := filepath.Join(base, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create lab directory: %w", err)
	}
	sw, err := newNetworkSwitch()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &Lab{Name: name, Dir: dir, sw: sw}, nil
}

// Host returns the host of that name, or nil.
func (l *Lab) Host(name string) *Host {
	for _, h := range l.Hosts() {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// Hosts returns all hosts in the order they were added.
func (l *Lab) Hosts() []*Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*Host(nil), l.hosts...)
}

// Close kills every process of the lab, waits for each, and removes hosts, switch and directory. It
// is idempotent.
func (l *Lab) Close() error {
	l.mu.Lock()
	hosts, closed := l.hosts, l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return nil
	}
	var errs []error
	for _, h := range hosts {
		h.KillAll()
	}
	for _, h := range hosts {
		errs = append(errs, h.close())
	}
	errs = append(errs, l.sw.close(), os.RemoveAll(l.Dir))
	return errors.Join(errs...)
}

// removeStale removes directories of labs whose process no longer exists.
func removeStale(base string) {
	dirs, _ := filepath.Glob(filepath.Join(base, dirPrefix+"*"))
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dirPrefix), "-")
		n, err := strconv.Atoi(pid)
		if err == nil && errors.Is(unix.Kill(n, 0), unix.ESRCH) {
			_ = os.RemoveAll(dir) // best effort
		}
	}
}
