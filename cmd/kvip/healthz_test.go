package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/test/testutil"
)

// asOtherProgram runs fn in the namespace as a user without any right.
func asOtherProgram(ns *testutil.Netns, fn func() error) error {
	return ns.Do(func() error {
		const nobody = 65534 // of this thread alone, which ends with Do
		for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, failed := unix.RawSyscall(call, nobody, nobody, nobody); failed != 0 {
				return failed
			}
		}
		return fn()
	})
}

// TestHealthzComesFromTheAgent although another program has the port of /healthz, and sockets of
// such names, and answers that the agent is stuck. Without an agent there is no answer.
func TestHealthzComesFromTheAgent(t *testing.T) {
	ns := testutil.NewNetns(t)
	stuck := &http.Server{
		Handler: http.HandlerFunc(
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		),
	}
	defer stuck.Close()
	for network, address := range map[string]string{"tcp": "127.0.0.1:2113",
		"unix": "@kvip/healthz/127.0.0.1:2113/x"} {
		if err := asOtherProgram(ns, func() error {
			listener, err := net.Listen(network, address)
			if err == nil {
				go stuck.Serve(listener)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if r := kvip(t, "healthz"); r.code != exitFailure || r.stdout != "" ||
		!strings.Contains(r.stderr, "no agent with --health-address 127.0.0.1:2113 runs here") {
		t.Errorf("without an agent: %+v", r)
	}
	startAgent(t)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		r := kvip(t, "healthz")
		if r.code == exitOK && r.stdout == "ok\n" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("with an agent: %+v", r)
		}
	}
	if r := kvip(t, "healthz", "--health-address", "127.0.0.1:2114"); r.code != exitFailure {
		t.Errorf("of another address: %+v", r)
	}
	sockets, err := agentSockets()
	if err != nil || len(sockets) != 1 {
		t.Fatalf("sockets %q, %v", sockets, err)
	}
	var answered bool
	err = asOtherProgram(ns, func() error {
		conn, err := net.Dial("unix", "@"+sockets[0])
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write([]byte("GET /status HTTP/1.0\r\n\r\n")); err != nil {
			return err
		}
		n, err := conn.Read(make([]byte, 1))
		answered = n > 0
		return err
	})
	if answered ||
		!errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("another program is not refused: answered %v, %v", answered, err)
	}
}

// agentSockets returns the names of root's sockets for probes in this network namespace.
func agentSockets() (names []string, err error) {
	all, err := link.AbstractSockets("kvip/healthz/")
	for _, s := range all {
		if s.UID == 0 {
			names = append(names, s.Name)
		}
	}
	return names, err
}
