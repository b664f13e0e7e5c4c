package controlplane

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/lab/wait"
)

// TestOnThread: for root the thread has a higher priority than all ordinary ones.
func TestOnThread(t *testing.T) {
	var attr *unix.SchedAttr
	var err error
	onThread(discard, func() { attr, err = unix.SchedGetAttr(0, 0) })
	if err != nil {
		t.Fatal(err)
	}
	high := attr.Policy == unix.SCHED_FIFO || attr.Nice == highestNice
	if os.Geteuid() == 0 && !high {
		t.Errorf("policy %d, nice %d", attr.Policy, attr.Nice)
	}
}

// TestRelaxMonitor: for root the thread that sleeps while another is in a system call may be late.
func TestRelaxMonitor(t *testing.T) {
	if os.Geteuid() != 0 {
		if err := relaxMonitor(); err == nil {
			t.Error("done without a right to do it")
		}
		return
	}
	if err := relaxMonitor(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		t.Fatal(err)
	}
	late := strconv.FormatInt(monitorSlack.Nanoseconds(), 10) + "\n"
	sleeps := strconv.Itoa(unix.SYS_NANOSLEEP) + " "
	wait.Eventually(t, 10*time.Second, "a sleep of the monitor", func() bool {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			timeout := unix.NsecToTimespec((20 * time.Millisecond).Nanoseconds())
			_, _ = unix.Ppoll(nil, &timeout, nil)
		}()
		time.Sleep(time.Millisecond)
		found := false
		for _, f := range files {
			call, _ := os.ReadFile(filepath.Join(f, "syscall"))
			slack, _ := os.ReadFile(filepath.Join("/proc", filepath.Base(f), "timerslack_ns"))
			found = found || strings.HasPrefix(string(call), sleeps) && string(slack) == late
		}
		<-ended
		return found
	})
}
