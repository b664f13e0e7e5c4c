package netlab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is a process to start in a host. Path is required.
type Command struct {
	Path string   // absolute path of the executable
	Args []string // without the name
	Env  []string // "key=value"; PATH and HOME are added
	Log  string   // file that output is appended to; empty: discarded, unless Output is set
	// Output receives stdout and stderr instead of Log.
	Output io.Writer
	// Stdout receives stdout alone. Output or Log still receive stderr.
	Stdout io.Writer
	// Tmpfs are directories that are empty and private to the process, such as /run.
	Tmpfs []string
	// Mounts are bind mounts from target path to source path, in addition to the host's /etc. A
	// target must exist, except below one of Tmpfs.
	Mounts map[string]string
	// Caps limits the capabilities (CAP_*) of the process. Nil means no limit.
	Caps []uintptr
}

// Process is a program that runs in a host, with its own process group, in the host's network
// namespace, and with the host's name and /etc. It is killed when this program ends.
type Process struct {
	Name string // base name of the executable
	Log  string

	cmd         *exec.Cmd
	host        *Host
	done        chan struct{}
	err         error       // of Wait; valid after done
	terminating atomic.Bool // SIGTERM was sent
	// thaw ends a FreezeGroup of the process, nil without one.
	thaw atomic.Pointer[func() error]
}

// Start starts a process in the host.
func (h *Host) Start(c Command) (*Process, error) {
	p := &Process{Name: filepath.Base(c.Path), Log: c.Log, host: h, done: make(chan struct{})}
	p.cmd = &exec.Cmd{
		Path: c.Path, Args: append([]string{c.Path}, c.Args...), Dir: "/",
		Env: append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}, c.Env...),
		// Pdeathsig is sent when the starting thread ends, so that thread waits.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
		Stdout:      c.Output, Stderr: c.Output,
	}
	if c.Log != "" && c.Output == nil {
		f, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, fmt.Errorf("open log of %s: %w", p.Name, err)
		}
		defer func() { _ = f.Close() }() // the child has its own descriptor
		p.cmd.Stdout, p.cmd.Stderr = f, f
	}
	if c.Stdout != nil {
		p.cmd.Stdout = c.Stdout
	}
	started := make(chan error, 1)
	onThread(func() { p.run(c, started) })
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s in host %s: %w", p.Name, h.Name, err)
	}
	return p, nil
}

// run starts the process from a thread inside the host, and waits for its end.
func (p *Process) run(c Command, started chan<- error) {
	if err := p.host.enterHost(c); err != nil {
		started <- err
		return
	}
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	p.host.mu.Lock()
	p.host.procs[p] = struct{}{}
	p.host.mu.Unlock()
	started <- nil
	p.err = p.cmd.Wait()
	p.host.mu.Lock()
	delete(p.host.procs, p)
	p.host.mu.Unlock()
	close(p.done)
}

// enterHost moves the calling thread into the host's namespaces, with its name, /etc and
// capabilities.
func (h *Host) enterHost(c Command) error {
	if err := h.ns.enter(); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("unshare mounts: %w", err)
	}
	if err := unix.Sethostname([]byte(h.Name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := h.mount(c); err != nil {
		return err
	}
	return limitCaps(c.Caps)
}

// mount mounts the directories of a Command for the calling thread.
func (h *Host) mount(c Command) error {
	for _, dir := range c.Tmpfs {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount an empty %s: %w", dir, err)
		}
	}
	mounts := map[string]string{"/etc": h.Etc}
	for target, source := range c.Mounts {
		mounts[target] = source
	}
	for target, source := range mounts {
		below := func(dir string) bool { return strings.HasPrefix(target, dir+"/") }
		if slices.ContainsFunc(c.Tmpfs, below) {
			if err := os.MkdirAll(target, 0o755); err != nil {
				return fmt.Errorf("create a mount point for %s: %w", source, err)
			}
		}
		if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", source, target, err)
		}
	}
	return nil
}

// limitCaps drops all other capabilities from the bounding set, which limits root's exec.
func limitCaps(keep []uintptr) error {
	if keep == nil {
		return nil
	}
	kept := map[uintptr]bool{}
	for _, c := range keep {
		kept[c] = true
	}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if kept[c] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil &&
			!errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done returns a channel that is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Err waits for the end of the process and returns its result: nil for exit status 0.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// SendTerm sends SIGTERM to the process itself and does not wait.
func (p *Process) SendTerm() error {
	p.terminating.Store(true)
	return p.signal(unix.SIGTERM)
}

// Terminating reports whether SIGTERM was sent and the process still runs.
func (p *Process) Terminating() bool { return p.terminating.Load() && p.Running() }

// Freeze stops the process and its descendants (SIGSTOP).
func (p *Process) Freeze() error { return p.signalTree(unix.SIGSTOP) }

// Thaw continues the process and its descendants (SIGCONT).
func (p *Process) Thaw() error { return p.signalTree(unix.SIGCONT) }

// Kill sends SIGKILL to the process and its descendants and waits for its end.
func (p *Process) Kill() error {
	err := p.sendKill()
	<-p.done
	return err
}

// sendKill kills the process and its descendants. A freezer of cgroups of version 1 keeps a process
// that was killed until it is thawed.
func (p *Process) sendKill() error {
	err := p.signalTree(unix.SIGKILL)
	if thaw := p.thaw.Load(); thaw != nil {
		err = errors.Join(err, (*thaw)())
	}
	return err
}

// Terminate sends SIGTERM, kills after the grace period, and returns the result of the process.
func (p *Process) Terminate(grace time.Duration) error {
	if err := p.SendTerm(); err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-time.After(grace):
		if err := p.Kill(); err != nil {
			return err
		}
	}
	return p.Err()
}

// signal sends to the process only. A process that has ended is not an error.
func (p *Process) signal(s unix.Signal) error {
	if !p.Running() {
		return nil
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s (pid %d): %w", p.Name, p.PID(), err)
	}
	return nil
}

// signalTree sends to every descendant and to the process.
func (p *Process) signalTree(s unix.Signal) error {
	if !p.Running() {
		return nil
	}
	for _, pid := range descendants(p.PID()) {
		if err := unix.Kill(pid, s); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("signal child %d of %s: %w", pid, p.Name, err)
		}
	}
	return p.signal(s)
}

// descendants lists the children of a process, and theirs.
func descendants(pid int) []int {
	var all []int
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range lists {
		text, _ := os.ReadFile(file) // a thread that has ended has no children
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(append(all, child), descendants(child)...)
			}
		}
	}
	return all
}

// Processes returns the running processes of the host.
func (h *Host) Processes() []*Process {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*Process
	for p := range h.procs {
		all = append(all, p)
	}
	return all
}

// KillAll kills all processes of the host at once and waits for their end.
func (h *Host) KillAll() {
	procs := h.Processes()
	for _, p := range procs {
		_ = p.sendKill() // fails only for one that has ended
	}
	for _, p := range procs {
		<-p.done
	}
}

// Freeze freezes all processes of the host, as a hypervisor does. Its kernel keeps running, and
// with it the lifetimes of its addresses.
func (h *Host) Freeze() error { return h.each((*Process).Freeze) }

// Thaw continues all processes of the host.
func (h *Host) Thaw() error { return h.each((*Process).Thaw) }

func (h *Host) each(f func(*Process) error) error {
	var errs []error
	for _, p := range h.Processes() {
		errs = append(errs, f(p))
	}
	return errors.Join(errs...)
}

// Where the kernel's cgroup file systems are mounted.
const (
	cgroups     = "/sys/fs/cgroup"
	cgroupsV1   = cgroups + "/cpu"
	quotaPeriod = 100_000 // µs, the kernel's default
)

// ErrNoQuota means that this machine cannot limit the CPU time of processes.
var ErrNoQuota = errors.New("no cgroup here can limit CPU time")

// LimitCPU limits some processes together to a number of cores, such as 0.5, with a cgroup. undo
// moves them back to their cgroups.
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
		err = errors.Join(write(dir, "cpu.cfs_period_us", strconv.Itoa(quotaPeriod)),
			write(dir, "cpu.cfs_quota_us", quota))
	}
	for _, p := range procs {
		if err == nil {
			before[p], err = cgroupOf(p, root, "cpu", v2)
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

// release moves processes back into their former cgroups and removes dir. A process that has ended
// is not an error.
func release(dir string, before map[*Process]string) error {
	var errs []error
	for p, from := range before {
		if err := write(from, "cgroup.procs", strconv.Itoa(p.PID())); err != nil && p.Running() &&
			!errors.Is(err, unix.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errors.Join(errs...), os.Remove(dir))
}

// cgroupOf returns the directory of a process's cgroup of a controller, which version 2 has not.
func cgroupOf(p *Process, root, controller string, v2 bool) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.PID()))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) { // number:controllers:path
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if v2 && parts[1] == "" || !v2 && strings.Contains(","+parts[1]+",", ","+controller+",") {
			return filepath.Join(root, parts[2]), nil
		}
	}
	return "", fmt.Errorf("find the cgroup of %s (pid %d)", p.Name, p.PID())
}

func write(dir, file, text string) error {
	return os.WriteFile(filepath.Join(dir, file), []byte(text), 0)
}
