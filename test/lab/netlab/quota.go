package netlab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Where the kernel's cgroup file systems are mounted.
const (
	cgroups     = "/sys/fs/cgroup"
	cgroupsV1   = cgroups + "/cpu"
	quotaPeriod = 100_000 // µs, the kernel's default
)

// ErrNoQuota says that this machine cannot limit the CPU time of processes.
var ErrNoQuota = errors.New("no cgroup here can limit CPU time")

// LimitCPU gives processes so many cores together, 0.5 for half of one, by a cgroup of
// their own. The returned function puts them back where they were and removes the cgroup.
func LimitCPU(cores float64, procs ...*Process) (undo func() error, err error) {
	root, v2 := cgroupsV1, false
	if _, err := os.Stat(filepath.Join(root, "cpu.cfs_quota_us")); err != nil {
		root, v2 = cgroups, true
		controllers, _ := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
		if !strings.Contains(" "+string(controllers), " cpu") {
			return nil, ErrNoQuota
		}
		if err := write(root, "cgroup.subtree_control", "+cpu"); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoQuota, err)
		}
	}
	dir := filepath.Join(root, fmt.Sprintf("kvip-lab-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("limit CPU time: %w", err)
	}
	before := map[*Process]string{}
	undo = func() error { return release(dir, before) }
	quota := strconv.Itoa(int(cores * quotaPeriod))
	if v2 {
		err = write(dir, "cpu.max", quota+" "+strconv.Itoa(quotaPeriod))
	} else {
		err = errors.Join(write(dir, "cpu.cfs_period_us", strconv.Itoa(quotaPeriod)), write(dir, "cpu.cfs_quota_us", quota))
	}
	for _, p := range procs {
		if err == nil {
			before[p], err = cgroupOf(p, root, v2)
		}
		if err == nil {
			err = write(dir, "cgroup.procs", strconv.Itoa(p.PID()))
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("limit CPU time: %w", err), undo())
	}
	return undo, nil
}

// release puts processes back into the cgroups they came from and removes dir. One that has
// ended is not an error.
func release(dir string, before map[*Process]string) error {
	var errs []error
	for p, from := range before {
		if err := write(from, "cgroup.procs", strconv.Itoa(p.PID())); err != nil && p.Running() && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errors.Join(errs...), os.Remove(dir))
}

// cgroupOf returns the directory of the cgroup that limits a process's CPU time.
func cgroupOf(p *Process, root string, v2 bool) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.PID()))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) { // number:controllers:path
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if v2 && parts[1] == "" || !v2 && strings.Contains(","+parts[1]+",", ",cpu,") {
			return filepath.Join(root, parts[2]), nil
		}
	}
	return "", fmt.Errorf("find the cgroup of %s (pid %d)", p.Name, p.PID())
}

func write(dir, file, text string) error {
	return os.WriteFile(filepath.Join(dir, file), []byte(text), 0)
}
