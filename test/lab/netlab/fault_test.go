package netlab

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/lab/wait"
)

// canReach reports whether a TCP segment from one host and its answer arrive. The port is closed,
// so the answer is a reset. No answer means that one of them was dropped.
func canReach(t *testing.T, from, to *Host, port uint16) bool {
	t.Helper()
	return tryReach(t, from, netip.AddrPortFrom(to.Addr(true), port))
}

func canReach6(t *testing.T, from, to *Host, port uint16) bool {
	t.Helper()
	return tryReach(t, from, netip.AddrPortFrom(to.Addr(false), port))
}

func tryReach(t *testing.T, from *Host, to netip.AddrPort) bool {
	t.Helper()
	var sock *os.File
	err := from.Do(func() (err error) {
		sock, err = dial(to)
		return err
	})
	if err == nil {
		defer func() { _ = sock.Close() }()
		_ = sock.SetDeadline(time.Now().Add(200 * time.Millisecond))
		err = connected(sock)
	}
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return true
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.EHOSTUNREACH),
		errors.Is(err, unix.ENETUNREACH):
		return false
	}
	t.Fatalf("reach %s from %s: unexpected %v", to, from.Name, err)
	return false
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience bounds how long a test waits for what must happen.
const patience = 10 * time.Second

// gone reports whether a process has ended, reaped or not.
func gone(pid int) bool {
	stat, err := os.ReadFile("/proc/" + itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func state(pid int) string {
	stat, _ := os.ReadFile("/proc/" + itoa(pid) + "/stat")
	_, rest, _ := strings.Cut(string(stat), ") ")
	return rest[:min(1, len(rest))]
}

func TestPartitionCutsBothWays(t *testing.T) {
	l, h := newLab(t)
	a, b, c := h["a"], h["b"], h["c"]
	must(t, l.Partition(a, b))
	for _, reach := range []func(*testing.T, *Host, *Host, uint16) bool{canReach, canReach6} {
		if reach(t, a, b, 80) || reach(t, b, a, 80) {
			t.Error("cut hosts reach each other")
		}
		if !reach(t, a, c, 80) || !reach(t, c, b, 80) {
			t.Error("a host that was not cut is cut")
		}
	}
	if l.Reachable(a, b) || !l.Reachable(a, c) {
		t.Error("Reachable does not tell the truth")
	}
	must(t, l.Heal())
	if !l.Reachable(a, b) {
		t.Error("healed hosts count as unreachable")
	}
	wait.Eventually(t, patience, "neighbour discovery",
		func() bool { return canReach(t, a, b, 80) && canReach6(t, b, a, 80) })
}

func TestDropIsOneWay(t *testing.T) {
	l, h := newLab(t)
	// The answer to an ARP request would be lost too, so a must know b's MAC.
	sh(t, h["a"], "ip neigh replace 10.9.0.2 lladdr "+h["b"].MAC.String()+" dev eth0 nud permanent")
	must(t, l.Drop(h["a"], h["b"]))
	w := listen(t, h["b"])
	udp(t, h["a"], h["b"], "lost")
	must(t, l.Heal())
	must(t, l.Drop(h["b"], h["a"]))
	udp(t, h["a"], h["b"], "heard")
	if got := w(); got != "heard" {
		t.Errorf("got %q, want only what was sent in the open direction", got)
	}
}

func TestPartitionPortsCutsOnlyThem(t *testing.T) {
	l, h := newLab(t)
	a, b, c := h["a"], h["b"], h["c"]
	must(t, l.PartitionPorts(a, []uint16{6443, 2379, 2380}, b))
	for _, reach := range []func(*testing.T, *Host, *Host, uint16) bool{canReach, canReach6} {
		for _, port := range []uint16{6443, 2379, 2380} {
			if reach(t, a, b, port) || reach(t, b, a, port) {
				t.Errorf("port %d is open", port)
			}
		}
		if !reach(t, a, b, 80) || !reach(t, c, a, 6443) || !reach(t, b, c, 6443) {
			t.Error("another port or host is cut")
		}
	}
	if !l.Reachable(a, b) {
		t.Error("hosts on one segment count as unreachable")
	}
}

func TestUnplugAndLinkDown(t *testing.T) {
	l, h := newLab(t)
	a, b := h["a"], h["b"]
	must(t, a.Unplug())
	if got := sh(t, a, "ip -br link show eth0"); !strings.Contains(got, "NO-CARRIER") {
		t.Errorf("unplugged link: %s", got)
	}
	if canReach(t, b, a, 80) || l.Reachable(a, b) {
		t.Error("unplugged host is reached")
	}
	must(t, a.Plug())
	wait.Eventually(t, patience, "the carrier", func() bool { return canReach(t, b, a, 80) })
	must(t, a.LinkDown())
	if canReach(t, b, a, 80) || l.Reachable(a, b) {
		t.Error("host with its link down is reached")
	}
	must(t, a.LinkUp())
	wait.Eventually(t, patience, "the link",
		func() bool { return canReach(t, b, a, 80) && canReach6(t, b, a, 80) })
}

func TestFlushAndRestore(t *testing.T) {
	_, h := newLab(t)
	must(t, h["a"].AddAddr(netip.PrefixFrom(vip4, 32)))
	must(t, h["a"].Flush())
	if got := sh(t, h["a"], "ip -br addr show eth0 scope global"); strings.Contains(got, "10.9") ||
		strings.Contains(got, "fd09") {
		t.Errorf("flushed link still has %s", got)
	}
	must(t, h["a"].RestoreAddrs())
	wait.Eventually(t, patience, "the restored addresses", func() bool {
		return canReach(t, h["b"], h["a"], 80)
	})
}

func TestFreezeAndKillTheTree(t *testing.T) {
	_, h := newLab(t)
	p, err := h["a"].Start(Command{Path: "/bin/sh", Args: []string{"-c", "sleep 1000 & wait"}})
	must(t, err)
	wait.Eventually(t, patience, "the child", func() bool { return len(descendants(p.PID())) == 1 })
	child := descendants(p.PID())[0]
	must(t, h["a"].Freeze())
	wait.Eventually(t, patience, "the stop",
		func() bool { return state(p.PID()) == "T" && state(child) == "T" })
	must(t, h["a"].Thaw())
	wait.Eventually(t, patience, "the continuation",
		func() bool { return state(p.PID()) == "S" && state(child) == "S" })
	must(t, p.Freeze())
	must(t, p.Kill())
	if p.Running() || p.Err() == nil {
		t.Error("killed process counts as running or as a success")
	}
	wait.Eventually(t, patience, "the child's end", func() bool { return gone(child) })
	must(t, p.Kill()) // again: no error
}

func TestFreezeGroup(t *testing.T) {
	_, h := newLab(t)
	file := filepath.Join(t.TempDir(), "lines")
	p, err := h["a"].Start(Command{Path: "/bin/sh",
		Args: []string{"-c", "while :; do echo >> " + file + "; done"}})
	must(t, err)
	size := func() int64 {
		info, err := os.Stat(file)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	wait.Eventually(t, patience, "a line", func() bool { return size() > 0 })
	undo, err := FreezeGroup(p)
	must(t, err)
	if again, err := FreezeGroup(p); !errors.Is(err, ErrFrozen) || again != nil {
		t.Errorf("frozen twice: %v", err)
	}
	var before int64
	wait.Eventually(t, patience, "silence", func() bool {
		before = size()
		time.Sleep(50 * time.Millisecond)
		return size() == before
	})
	must(t, undo())
	wait.Eventually(t, patience, "more lines", func() bool { return size() > before })
	undo, err = FreezeGroup(p)
	must(t, err)
	must(t, p.Kill()) // frozen
	must(t, undo())
}

func TestEndIsGentleFirst(t *testing.T) {
	_, h := newLab(t)
	p, err := h["a"].Start(Command{Path: "/bin/sh",
		Args: []string{"-c", "trap 'exit 0' TERM; while :; do sleep 0.02; done"}})
	must(t, err)
	time.Sleep(100 * time.Millisecond) // let the shell set its trap
	if err := p.Terminate(5 * time.Second); err != nil {
		t.Errorf("process that obeys SIGTERM: %v", err)
	}
	p, err = h["a"].Start(Command{Path: "/bin/sh",
		Args: []string{"-c", "trap '' TERM; while :; do sleep 0.02; done"}})
	must(t, err)
	time.Sleep(100 * time.Millisecond)
	if err := p.Terminate(50 * time.Millisecond); err == nil {
		t.Error("process that ignores SIGTERM ended well")
	}
}

func TestPowerOffLosesWhatWasInMemory(t *testing.T) {
	l, h := newLab(t)
	must(t, h["a"].AddAddr(netip.PrefixFrom(vip4, 32)))
	p, err := h["a"].Start(Command{Path: "/bin/sleep", Args: []string{"1000"}})
	must(t, err)
	must(t, h["a"].PowerOff())
	got := sh(t, h["a"], "ip -br addr show eth0")
	if p.Running() || l.Reachable(h["a"], h["b"]) || strings.Contains(got, vip4.String()) ||
		!strings.Contains(got, "10.9.0.1/") {
		t.Errorf("after power off: process running %v, addresses %s", p.Running(), got)
	}
}
