package netlab

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// onThread runs f on an operating system thread of its own, which ends with f: changes of f to its
// thread (namespaces, capabilities) affect nothing else. The main thread is not used, because it
// cannot end.
func onThread(f func()) {
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		if unix.Gettid() != os.Getpid() {
			f()
			return
		}
		done := make(chan struct{})
		go func() { // cannot land on the main thread, which this goroutine occupies
			defer close(done)
			runtime.LockOSThread()
			f()
		}()
		<-done
		runtime.UnlockOSThread()
	}()
}

// netns is a network namespace without a name, kept alive by an open file.
type netns struct{ file *os.File }

// newNetns creates an empty network namespace.
func newNetns() (netns, error) {
	type result struct {
		ns  netns
		err error
	}
	ch := make(chan result, 1)
	onThread(func() {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			ch <- result{err: fmt.Errorf("create network namespace (needs root): %w", err)}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		ch <- result{netns{f}, err}
	})
	r := <-ch
	return r.ns, r.err
}

// enter moves the calling thread, which must be one of onThread, into the namespace. It needs no
// privileges if the thread is in it already.
func (n netns) enter() error {
	if n.isCurrent() {
		return nil
	}
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return nil
}

// isCurrent reports whether the calling thread is in the namespace already.
func (n netns) isCurrent() bool {
	theirs, err := n.file.Stat()
	if err != nil {
		return false
	}
	mine, err := os.Stat("/proc/thread-self/ns/net")
	return err == nil && os.SameFile(theirs, mine)
}

// do runs f on a thread inside the namespace and waits for it.
func (n netns) do(f func() error) error {
	ch := make(chan error, 1)
	onThread(func() {
		if err := n.enter(); err != nil {
			ch <- err
			return
		}
		ch <- f()
	})
	return <-ch
}

// sysctl writes a value below /proc/sys of the namespace, as in "net/ipv4/ip_forward".
func (n netns) sysctl(key, value string) error {
	return n.do(func() error {
		if err := os.WriteFile("/proc/sys/"+key, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set sysctl %s: %w", key, err)
		}
		return nil
	})
}
