package bfd

import (
	"context"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/boottime"
)

// peerVariable makes the test binary a process with one session to the peer that it names.
const peerVariable = "KVIP_TEST_BFD_PEER"

// stampEvery is how often the loop of that process stamps, staleAfter when a stamp is too old to
// send packets (B6).
const (
	stampEvery = 100 * time.Millisecond
	staleAfter = time.Second
)

// TestB6Process is the process that TestB6FrozenProcess freezes. It ends with its standard input.
func TestB6Process(t *testing.T) {
	peer, err := netip.ParseAddr(os.Getenv(peerVariable))
	if err != nil {
		return // this is the test itself
	}
	var stamp atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	go func() {
		for ; ctx.Err() == nil; time.Sleep(stampEvery) {
			stamp.Store(int64(boottime.Now()))
		}
	}()
	s := newServer(t, Config{Permit: func() bool {
		return boottime.Now()-time.Duration(stamp.Load()) < staleAfter
	}})
	if _, err := s.Add(SessionConfig{Peer: peer}); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestB6FrozenProcess: a process that is stopped by a signal sends nothing, so its peer detects it.
// Once it goes on the session comes up again.
func TestB6FrozenProcess(t *testing.T) {
	l := newLab(t)
	command := exec.Command(os.Args[0], "-test.run=^TestB6Process$")
	command.Env = append(os.Environ(), peerVariable+"="+l.b.Addr(true).String())
	input, err := command.StdinPipe()
	l.must(err)
	l.must(l.a.Do(command.Start))
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		_ = input.Close()
	}()
	one := l.add(l.run(l.b), SessionConfig{Peer: l.a.Addr(true)})
	l.eventually("session", one, isUp)
	l.must(command.Process.Signal(syscall.SIGSTOP))
	l.eventually("detection", one, func(s Status) bool { return isDown(s) && s.Detections > 0 })
	l.must(command.Process.Signal(syscall.SIGCONT))
	l.eventually("session after the freeze", one, isUp)
}
