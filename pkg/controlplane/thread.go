package controlplane

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// realTimePriority is the lowest of SCHED_FIFO (sched(7)): above all ordinary threads. highestNice
// is the highest priority of an ordinary thread.
const (
	realTimePriority = 1
	highestNice      = -20
)

// onThread runs do on a thread of its own, with the highest priority that the kernel permits: on a
// node with many busy processes an ordinary thread may wait for half a second, and the fence would
// close (F9). Without a real-time priority, which a kernel with CONFIG_RT_GROUP_SCHED refuses in
// control groups, a third of that remains.
func onThread(log *slog.Logger, do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with this goroutine, and its priority with it
		if err := raisePriority(); err != nil {
			log.Info("no real-time priority: on a busy node the VIP may be away for moments", "err", err)
		}
		if err := relaxMonitor(); err != nil {
			log.Info("the Go runtime wakes more often than it needs to", "err", err)
		}
		do()
	}()
	<-done
}

// raisePriority gives this thread, and no thread that it makes, a real-time priority. It needs the
// capability SYS_NICE. If it fails the thread has the highest priority that it may have otherwise.
func raisePriority() error {
	attr := &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: realTimePriority,
		Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}
	err := unix.SchedSetAttr(0, attr, 0)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("set real-time priority: %w", err)
	attr.Policy, attr.Priority, attr.Nice = unix.SCHED_NORMAL, 0, highestNice
	if niceErr := unix.SchedSetAttr(0, attr, 0); niceErr != nil {
		err = errors.Join(err, fmt.Errorf("set priority %d: %w", highestNice, niceErr))
	}
	return err
}

// monitorSlack is how late the kernel may wake the thread with which the Go runtime watches itself.
const monitorSlack = 2 * time.Millisecond

// relaxMonitor sets monitorSlack. While a thread waits in a system call, as the loop's does, that
// thread looks every 20 µs, and then less and less often, whether another goroutine needs the
// processor: with the messages of mode fast a thousand times a second, which is half of what an
// agent at rest costs. Threads that it starts are late as well. It needs the capability SYS_NICE,
// and Linux 4.6 or newer.
func relaxMonitor() error {
	pid := os.Getpid()
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list threads: %w", err)
	}
	var threads []int
	for _, e := range entries {
		if tid, err := strconv.Atoi(e.Name()); err == nil && tid != pid {
			threads = append(threads, tid)
		}
	}
	if len(threads) == 0 {
		return errors.New("this process has one thread")
	}
	const limit = 1 << 22 // of thread ids, PID_MAX_LIMIT; they may have wrapped since
	first := slices.MinFunc(threads, func(a, b int) int {
		return cmp.Compare((a-pid+limit)%limit, (b-pid+limit)%limit)
	})
	file := filepath.Join("/proc", strconv.Itoa(first), "timerslack_ns")
	text := strconv.FormatInt(monitorSlack.Nanoseconds(), 10)
	if err := os.WriteFile(file, []byte(text), 0); err != nil {
		return fmt.Errorf("set the timer slack of the Go runtime's monitor: %w", err)
	}
	return nil
}
