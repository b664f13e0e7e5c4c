package testutil

import (
	"net"
	"os"
	"strings"
	"testing"
)

func TestNewNetnsIsFreshAndLeft(t *testing.T) {
	NeedRoot(t)
	before := inode(t)
	t.Run("inside", func(t *testing.T) {
		ns := NewNetns(t)
		if inode(t) == before {
			t.Fatal("the test is still in the namespace it started in")
		}
		links, err := net.Interfaces()
		if err != nil || len(links) != 1 || links[0].Flags&net.FlagUp == 0 {
			t.Fatalf("links %+v, %v; want lo alone and up", links, err)
		}
		IP(t, "link add a0 type veth peer name a1")
		NewNetns(t) // nests
		if out := IP(t, "link"); strings.Contains(out, "a0") {
			t.Fatalf("the nested namespace is not fresh: %s", out)
		}
		err = ns.Do(func() error { _, err := net.InterfaceByName("a0"); return err })
		if err != nil {
			t.Fatalf("Do did not enter the outer namespace: %v", err)
		}
		IP(t, "link add b0 type veth peer name b1")
		IP(t, "link set b1 netns "+ns.Path())
		err = ns.Do(func() error { _, err := net.InterfaceByName("b1"); return err })
		if err != nil {
			t.Fatalf("Path does not name the outer namespace: %v", err)
		}
	})
	if inode(t) != before {
		t.Fatal("the namespace was not left")
	}
}

func TestUnavailableFailsInCI(t *testing.T) {
	for _, ci := range []string{"", "true"} {
		t.Setenv("CI", ci)
		probe := &recorder{TB: t}
		Unavailable(probe, "no reason")
		if probe.failed != (ci == "true") || probe.skipped != (ci != "true") {
			t.Errorf("CI=%q: failed %v, skipped %v", ci, probe.failed, probe.skipped)
		}
	}
}

// recorder notes how a test would have ended instead of ending it.
type recorder struct {
	testing.TB
	failed, skipped bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Fatalf(string, ...any) { r.failed = true }
func (r *recorder) Skip(...any)           { r.skipped = !r.failed }

func inode(t *testing.T) string {
	t.Helper()
	name, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return name
}
