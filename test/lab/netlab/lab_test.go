package netlab

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/lab/wait"
	"github.com/kvip/kvip/test/testutil"
)

var (
	vip4 = netip.MustParseAddr("10.9.0.100")
	vip6 = netip.MustParseAddr("fd09::100")
)

// newLab builds a lab with hosts a, b and c, closed with the test.
func newLab(t *testing.T) (*Lab, map[string]*Host) {
	t.Helper()
	testutil.NeedRoot(t)
	l, err := New(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	hosts := map[string]*Host{}
	for i, name := range []string{"a", "b", "c"} {
		h, err := l.AddHost(HostConfig{Name: name, Addrs: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("10.9.0.%d/24", i+1)),
			netip.MustParsePrefix(fmt.Sprintf("fd09::%d/64", i+1)),
		}})
		if err != nil {
			t.Fatal(err)
		}
		hosts[name] = h
	}
	return l, hosts
}

// sh runs a shell script in a host and returns its output.
func sh(t *testing.T, h *Host, script string) string {
	t.Helper()
	var out bytes.Buffer
	p, err := h.Start(Command{Path: "/bin/sh", Args: []string{"-c", script}, Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Err(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out.String())
	}
	return out.String()
}

func TestHostsLookLikeMachines(t *testing.T) {
	_, hosts := newLab(t)
	if err := os.Mkdir(filepath.Join(hosts["a"].Etc, "kubernetes"), 0o755); err != nil {
		t.Fatal(err)
	}
	got := sh(t, hosts["a"],
		"uname -n; ls -d /etc/kubernetes; ls /etc | wc -l; cat /proc/sys/net/ipv4/ip_forward; wc -l < "+
			"/proc/net/dev")
	if want := "a\n/etc/kubernetes\n6\n0\n4\n"; got != want {
		t.Errorf("host sees %q, want %q", got, want)
	}
}

func TestProcessHasOnlyTheGivenCapabilities(t *testing.T) {
	_, hosts := newLab(t)
	var out bytes.Buffer
	p, err := hosts["a"].Start(Command{
		Path: "/bin/grep", Args: []string{"CapEff", "/proc/self/status"}, Output: &out,
		Caps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW},
	})
	if err != nil || p.Err() != nil {
		t.Fatal(err, p.Err())
	}
	if got := strings.Fields(out.String()); len(got) != 2 || got[1] != "0000000000003000" {
		t.Errorf("effective capabilities %q, want NET_ADMIN and NET_RAW", got)
	}
}

func TestNothingIsLeftAfterClose(t *testing.T) {
	testutil.NeedRoot(t)
	l, err := New(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	h, err := l.AddHost(HostConfig{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := h.Start(Command{Path: "/bin/sh", Args: []string{"-c", "sleep 1000 & wait"}})
	if err != nil {
		t.Fatal(err)
	}
	wait.Eventually(t, patience, "the child", func() bool { return len(descendants(p.PID())) == 1 })
	pids := append(descendants(p.PID()), p.PID())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		wait.Eventually(t, patience, "the end of all processes", func() bool { return gone(pid) })
	}
	if _, err := os.Stat(l.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory is left: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestStaleDirectoriesAreRemoved(t *testing.T) {
	testutil.NeedRoot(t)
	base := t.TempDir()
	stale := filepath.Join(base, dirPrefix+"99999999-1") // above every pid_max
	alive := filepath.Join(base, fmt.Sprintf("%s%d-0", dirPrefix, os.Getpid()))
	other := filepath.Join(base, dirPrefix+"notes")
	for _, dir := range []string{stale, alive, other} {
		if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l, err := New(Config{Dir: base})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if _, err := os.Stat(stale); err == nil {
		t.Error("stale directory is still there")
	}
	for _, dir := range []string{alive, other, l.Dir} {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("removed what was not stale: %v", err)
		}
	}
}

func TestLabsSideBySide(t *testing.T) {
	l1, h1 := newLab(t)
	l2, h2 := newLab(t)
	if l1.Name == l2.Name {
		t.Errorf("both labs are named %s", l1.Name)
	}
	if err := l1.Drop(h1["a"], h1["b"]); err != nil {
		t.Fatal(err)
	}
	if canReach(t, h1["a"], h1["b"], 80) || !canReach(t, h2["a"], h2["b"], 80) {
		t.Error("a drop in one lab changed the other")
	}
}
