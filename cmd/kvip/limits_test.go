package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kvip/kvip/test/testutil"
)

// memoryLimit is that of the static pod.
const memoryLimit = 64 << 20

// memoryCgroup makes a cgroup with a memory limit and returns the file that a process id is
// written to.
func memoryCgroup(t *testing.T) string {
	t.Helper()
	root, file := "/sys/fs/cgroup", "memory.max"
	if _, err := os.Stat("/sys/fs/cgroup/memory/memory.limit_in_bytes"); err == nil {
		root, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	}
	dir := filepath.Join(root, fmt.Sprintf("kvip-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		testutil.Unavailable(t, "cannot make a cgroup: "+err.Error())
	}
	t.Cleanup(func() {
		var err error
		for range 100 { // the kernel may need a moment after the last process
			if err = os.Remove(dir); err == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Error(err)
	})
	if err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(memoryLimit)),
		0o644); err != nil {
		testutil.Unavailable(t, "cannot limit memory: "+err.Error())
	}
	return filepath.Join(dir, "cgroup.procs")
}

// startAgent runs `kvip manager` in the test's network namespace.
func startAgent(t *testing.T) (pid int, ended <-chan error) {
	t.Helper()
	return startManager(t, nil, nil, agentArgs(t)...)
}

// agentArgs are arguments of an agent that finds no credentials.
func agentArgs(t *testing.T) []string {
	return []string{"--vip", "192.0.2.100", "--node-name", "a",
		"--kubeconfig", filepath.Join(t.TempDir(), "admin.conf")}
}

// buildProgram builds the program as it is shipped and returns its path: the race detector, which
// this test may have, takes five times the memory.
func buildProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kvip")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build kvip: %v\n%s", err, out)
	}
	return path
}

// startManager runs `kvip manager` with the arguments on a host with the network 192.0.2.0/24. A
// command before it may change what it runs in.
func startManager(t *testing.T, before, env []string,
	args ...string) (pid int, ended <-chan error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return startProgram(t, append(slices.Clone(before), self), env, args...)
}

// startProgram is startManager for another program than this test.
func startProgram(t *testing.T, program, env []string,
	args ...string) (pid int, ended <-chan error) {
	t.Helper()
	for _, args := range []string{"link add eth0 type veth peer name eth1", "link set eth0 up",
		"link set eth1 up", "address add 192.0.2.1/24 dev eth0"} {
		testutil.IP(t, args)
	}
	command := append(append(slices.Clone(program), "manager"), args...)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		end <- cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		if t.Failed() {
			t.Logf("output:\n%s", output.String())
		}
	})
	return cmd.Process.Pid, end
}

// flood opens connections from one source, writes the text and leaves them open, until stop closes.
func flood(
	ns *testutil.Netns,
	from, to, text string,
	count int,
	stop <-chan struct{},
	done chan<- error,
) {
	done <- ns.Do(func() error {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: time.Second}
		kept := make([]net.Conn, count)
		for i := 0; ; i = (i + 1) % count {
			select {
			case <-stop:
				for _, c := range kept {
					if c != nil {
						c.Close()
					}
				}
				return nil
			default:
			}
			conn, err := dialer.Dial("tcp", to)
			if err != nil {
				time.Sleep(time.Millisecond)
				continue
			}
			if kept[i] != nil {
				kept[i].Close()
			}
			kept[i] = conn
			_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = io.WriteString(conn, text)
		}
	})
}

// fetch gets a page from a source address of its own, over a new connection.
func fetch(ns *testutil.Netns, from, url string) (code int, body string, err error) {
	err = ns.Do(func() error {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 2 * time.Second}
		// The dialling stays on this thread, which is in the namespace.
		conn, err := dialer.Dial("tcp", strings.Split(strings.TrimPrefix(url, "http://"), "/")[0])
		if err != nil {
			return err
		}
		defer conn.Close()
		client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn,
				error) {
				return conn, nil
			},
		}}
		resp, err := client.Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		code, body = resp.StatusCode, string(text)
		return err
	})
	return code, body, err
}

// anonymous returns the process's memory that is not a file's, in bytes.
func anonymous(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no RssAnon in:\n%s", text)
	}
	size, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return size << 10
}

// TestPagesUnderAttack runs the agent with the static pod's memory limit while three clients open
// as many connections to its pages as they can: with huge headers, with unread answers, and
// without an end. It lives on, answers the probes, and serves metrics to another client.
func TestPagesUnderAttack(t *testing.T) {
	program := buildProgram(t)
	ns := testutil.NewNetns(t)
	// The shell joins the cgroup first, so that the limit is there when the program starts.
	shell := []string{"/bin/sh", "-c", `echo $$ > "$0" && exec "$@"`, memoryCgroup(t), program}
	pid, ended := startProgram(t, shell, nil, agentArgs(t)...)
	const probe, metrics = "http://127.0.0.1:2113/healthz", "http://127.0.0.1:2112/metrics"
	var page string
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		code, body, err := fetch(ns, "127.0.0.9", metrics)
		if err == nil && code == http.StatusOK {
			page = body
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no metrics: %d %v", code, err)
		}
	}
	line := regexp.MustCompile(`(?m)^go_gc_gomemlimit_bytes (.*)$`).FindStringSubmatch(page)
	if line == nil {
		t.Fatal("no go_gc_gomemlimit_bytes")
	}
	if limit, err := strconv.ParseFloat(line[1], 64); err != nil || limit != memoryShare*memoryLimit {
		t.Errorf("the garbage collector's limit is %s, want %v", line[1], memoryShare*memoryLimit)
	}
	stop, done := make(chan struct{}), make(chan error, 3)
	huge := "GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 1<<20)
	go flood(ns, "127.0.0.2", "127.0.0.1:2112", huge, 100, stop, done)
	go flood(ns, "127.0.0.3", "127.0.0.1:2112", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 4000, stop,
		done)
	go flood(ns, "127.0.0.4", "127.0.0.1:2112", "GET /", 4000, stop, done)
	most, probed, scraped := 0, 0, 0
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(
		50 * time.Millisecond) {
		select {
		case err := <-ended:
			t.Fatalf("the agent ended: %v", err)
		default:
		}
		most = max(most, anonymous(t, pid))
		if code, _, err := fetch(ns, "127.0.0.1", probe); err != nil || code != http.StatusOK {
			t.Errorf("probe: %d %v", code, err)
		} else {
			probed++
		}
		if code, _, err := fetch(ns, "127.0.0.5", metrics); err == nil && code == http.StatusOK {
			scraped++
		} else if err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
			t.Logf("metrics: %v", err)
		}
	}
	close(stop)
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Logf("at most %d MiB of its own, %d probes and %d scrapes answered", most>>20, probed, scraped)
	if probed == 0 || scraped == 0 {
		t.Errorf("%d probes and %d scrapes answered", probed, scraped)
	}
}
