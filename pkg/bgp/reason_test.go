package bgp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"

	"github.com/kvip/kvip/test/lab/wait"
)

// TestReasonsAreStableWords: they are values of a metric's label. Each is listed once.
func TestReasonsAreStableWords(t *testing.T) {
	text, err := os.ReadFile("reason.go")
	if err != nil {
		t.Fatal(err)
	}
	var want []Reason
	for _, found := range regexp.MustCompile(`Reason = "([a-z-]+)"`).FindAllSubmatch(text, -1) {
		want = append(want, Reason(found[1]))
	}
	have := Reasons()
	slices.Sort(have)
	slices.Sort(want)
	if len(want) < 14 || !slices.Equal(have, want) || len(slices.Compact(have)) != len(want) {
		t.Errorf("listed are %v, defined are %v", Reasons(), want)
	}
}

// TestEveryReasonHasATranscript, except for those that only a driver's error or a configuration
// leads to.
func TestEveryReasonHasATranscript(t *testing.T) {
	shown := map[Reason]bool{
		ReasonNotReading: true, ReasonConnectionLost: true, ReasonConfiguration: true, // below
	}
	for _, path := range transcripts(t) {
		text, err := os.ReadFile(filepath.Clean(path))
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`ended in \w+, ([a-z-]+): `).FindAllSubmatch(text, -1) {
			shown[Reason(found[1])] = true
		}
	}
	for _, r := range Reasons() {
		if !shown[r] {
			t.Errorf("no transcript ends with %s", r)
		}
	}
}

func TestLostReason(t *testing.T) {
	wrapped := func(err error) error {
		return fmt.Errorf("send: %w", &net.OpError{Op: "write", Err: os.NewSyscallError("write", err)})
	}
	for _, row := range []struct {
		state State
		err   error
		want  Reason
	}{
		{Connect, wrapped(syscall.ECONNREFUSED), ReasonConnectFailed},
		{Connect, wrapped(syscall.ECONNRESET), ReasonConnectFailed},
		{Established, closedReason(os.ErrDeadlineExceeded), ReasonConnectionLost},
		{OpenSent, errPeerClosed, ReasonClosed},
		{Established, fmt.Errorf("%w for 3s", errNotReading), ReasonNotReading},
		{Established, errLeaving, ReasonStopped},
		{OpenSent, errMalformed, ReasonMalformed},
		{Established, wrapped(syscall.ECONNRESET), ReasonReset},
		{Established, wrapped(syscall.EPIPE), ReasonReset},
		{Established, wrapped(syscall.ETIMEDOUT), ReasonConnectionLost},
		{Established, errors.New("anything"), ReasonConnectionLost},
	} {
		if got := lostReason(row.state, row.err); got != row.want {
			t.Errorf("%v in %v: %s, want %s", row.err, row.state, got, row.want)
		}
	}
}

func TestStopReason(t *testing.T) {
	for subcode, want := range map[uint8]Reason{
		ceaseDeconfig: ReasonConfiguration, ceaseConfig: ReasonConfiguration,
		ceaseShutdown: ReasonStopped, ceaseReset: ReasonStopped,
	} {
		if got := stopReason(cease(subcode, "x")); got != want {
			t.Errorf("cease %d: %s, want %s", subcode, got, want)
		}
	}
}

// TestStatusHasTheReasonAndItsCode: both while there is no session, and none with one.
func TestStatusHasTheReasonAndItsCode(t *testing.T) {
	tor := listen(t, "127.0.0.1")
	unusable := tor.config("unusable", nil)
	unusable.Unusable = "cannot read its password"
	s, stop := runSpeaker(t, Config{}, tor.config("tor", nil), unusable)
	if got := statusOf(t, s, "unusable"); got.Code != ReasonConfiguration {
		t.Errorf("a peer without its password: %q, %q", got.Code, got.Reason)
	}
	session := tor.session(t)
	if got := statusOf(t, s, "tor"); got.Code != "" || got.Reason != "" {
		t.Errorf("with a session: %q, %q", got.Code, got.Reason)
	}
	session.has(t)
	half(session.conn) // Close would reset the connection if something was not read
	wait.Eventually(t, patience, "the end of the session", func() bool {
		got := statusOf(t, s, "tor")
		return got.Code == ReasonClosed && got.Reason == errPeerClosed.Error() ||
			got.Code == ReasonConnectFailed && got.Reason != ""
	})
	stop()
	if got := statusOf(t, s, "tor"); got.Code == "" || got.Reason == "" {
		t.Errorf("after the end: %q, %q", got.Code, got.Reason)
	}
}
