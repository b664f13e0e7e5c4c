package advertiser

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/bgp"
)

// TestSessionLog: the begin and the end of a session are changes. Why there is none is logged once
// for each reason.
func TestSessionLog(t *testing.T) {
	var out bytes.Buffer
	l := newSessionLog(slog.New(slog.NewTextHandler(&out, nil)))
	status := func(state bgp.State, code bgp.Reason, reason string) bgp.Status {
		s := bgp.Status{Name: "tor", Address: netip.MustParseAddr("192.0.2.1"), State: state,
			Code: code, Reason: reason}
		if state == bgp.Established {
			s.PeerAS, s.HoldTime = 65000, 9*time.Second
		}
		return s
	}
	for i, step := range []struct {
		status  bgp.Status
		changed bool
		logs    string // empty: nothing
	}{
		{status(bgp.Connect, "", ""), false, ""},
		{status(bgp.Idle, bgp.ReasonConnectFailed, "refused"), false,
			`level=WARN msg="no BGP session; trying again" peer=tor address=192.0.2.1 ` +
				`reason="connect-failed: refused"`},
		{status(bgp.Connect, bgp.ReasonConnectFailed, "refused"), false, ""},
		{status(bgp.Idle, bgp.ReasonConnectFailed, "refused"), false, ""},
		{status(bgp.Idle, bgp.ReasonRefusedOpen, "AS 1"), false, `reason="refused-open: AS 1"`},
		{status(bgp.Idle, bgp.ReasonReset, "read from port 1: reset"), false, `reason="reset: read`},
		{status(bgp.Idle, bgp.ReasonReset, "read from port 2: reset"), false, ""},
		{status(bgp.Established, "", ""), true,
			`level=INFO msg="BGP session up" peer=tor address=192.0.2.1 as=65000 hold-time=9s`},
		{status(bgp.Established, "", ""), false, ""},
		{status(bgp.Idle, bgp.ReasonHoldTimer, "silence"), true,
			`level=WARN msg="BGP session down" peer=tor address=192.0.2.1 reason="hold-timer: silence"`},
		{status(bgp.Idle, bgp.ReasonHoldTimer, "silence"), false, ""},
		{status(bgp.Established, "", ""), true, "up"},
		{status(bgp.Idle, bgp.ReasonStopped, "kvip stops"), true, "down"},
	} {
		out.Reset()
		changed := l.record(step.status)
		if changed != step.changed || (out.Len() > 0) != (step.logs != "") ||
			!strings.Contains(out.String(), step.logs) {
			t.Errorf("step %d: changed %v, logs %q, want %v, %q", i, changed, out.String(), step.changed,
				step.logs)
		}
	}
	if len(l.up)+len(l.failed) != 0 {
		t.Errorf("a peer that is gone is kept: %v, %v", l.up, l.failed)
	}
}
