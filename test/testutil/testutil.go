// Package testutil gives privileged tests a network namespace of their own and one
// rule for what happens without root. It is imported by tests only.
package testutil

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/lab/wait"
)

// NeedRoot skips the test, saying why, when it does not run as root. With CI=true in
// the environment a test that cannot run is a failure instead.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	Unavailable(t, "needs root: it makes network namespaces")
}

// Unavailable ends a test whose prerequisite is missing: skipped with the reason, or
// failed when CI=true. Use it for anything a machine may lack (a kernel option, a tool).
func Unavailable(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s; CI=true allows no skipped test", reason)
	}
	t.Skip(reason)
}

// Netns is a network namespace that lives as long as the test that made it.
type Netns struct{ file *os.File }

// NewNetns puts the test into a fresh network namespace with lo up and takes it out
// again in a cleanup. It skips without root, as NeedRoot does.
//
// A namespace belongs to a thread: the calling goroutine stays locked to its thread
// until the cleanup. Commands started from this goroutine (os/exec) run inside, but a
// new goroutine, and so every t.Run, does not: use Do there. Calls nest: the test is
// then in the newest namespace and the older ones are reached with Do.
func NewNetns(t testing.TB) *Netns {
	t.Helper()
	NeedRoot(t)
	runtime.LockOSThread()
	before, err := openNetns()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("make network namespace: %v", err)
	}
	inside, err := openNetns()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { restore(t, before, inside) })
	if err := loopbackUp(); err != nil {
		t.Fatal(err)
	}
	return &Netns{file: inside}
}

// restore takes the thread back. A thread that cannot go back stays locked, so that it
// dies with its goroutine and no other test inherits the namespace.
func restore(t testing.TB, before, inside *os.File) {
	err := unix.Setns(int(before.Fd()), unix.CLONE_NEWNET)
	before.Close()
	inside.Close()
	if err != nil {
		t.Errorf("leave network namespace: %v", err)
		return
	}
	runtime.UnlockOSThread()
}

// Do runs fn inside the namespace, on a thread of its own, and waits for it. fn must not
// call t.Fatal, which only works in the test's own goroutine; it returns an error.
func (n *Netns) Do(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- fn()
	}()
	return <-done
}

// Path names the namespace for iproute2: ip link set NAME netns PATH.
func (n *Netns) Path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd())
}

// IP runs iproute2's ip with the space-separated arguments in the namespace of the
// calling goroutine and returns what it printed. A failure ends the test.
func IP(t testing.TB, args string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
	return string(out)
}

// NewHost puts the test on a host with a link eth0 of index 7 that has 10.0.0.1/24 and fd00::1/64.
func NewHost(t testing.TB) *Netns {
	t.Helper()
	ns := NewNetns(t)
	for _, args := range []string{
		"link add eth0 index 7 type veth peer name peer0",
		"link set eth0 up", "link set peer0 up",
		"addr add 10.0.0.1/24 dev eth0", "addr add fd00::1/64 dev eth0 nodad",
	} {
		IP(t, args)
	}
	return ns
}

func openNetns() (*os.File, error) {
	file, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	return file, nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("name loopback: %w", err)
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("set loopback up: %w", err)
	}
	return nil
}

// Eventually waits until a condition holds, at most half a minute. No test measures speed with it.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	wait.Eventually(t, 30*time.Second, what, holds)
}
