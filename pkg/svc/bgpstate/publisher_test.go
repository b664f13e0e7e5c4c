package bgpstate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/bfd"
	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/pkg/svc"
)

// up is a session that is established.
func up(name string) bgp.Status {
	s := bgp.Status{
		Name: name, Address: netip.MustParseAddr("192.0.2.1"), Local: netip.MustParseAddr("192.0.2.11"),
		LocalAS: 65010, PeerAS: 65000, State: bgp.Established, Since: time.Minute,
		HoldTime: 9 * time.Second, Sessions: 1, UpdatesSent: 5,
		BFD: &bfd.Status{State: bfd.Up, TransmitInterval: 300 * time.Millisecond,
			DetectionTime: 900 * time.Millisecond, Remote: bfd.Remote{Multiplier: 3}},
	}
	s.Routes[bgp.IPv4], s.NextHops[bgp.IPv4] = 2, s.Local
	return s
}

// down is a session that has ended.
func down(name string, code bgp.Reason, reason string) bgp.Status {
	s := up(name)
	s.State, s.HoldTime, s.Code, s.Reason = bgp.Idle, 0, code, reason
	s.Routes, s.NextHops = bgp.Status{}.Routes, bgp.Status{}.NextHops
	s.BFD = &bfd.Status{State: bfd.Down, Diagnostic: bfd.DetectionTimeExpired}
	return s
}

var wall = time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)

func TestConvert(t *testing.T) {
	var c converter
	refused := up("tor-b")
	refused.Refused, refused.Routes[bgp.IPv6] = 7, 1
	refused.NextHops[bgp.IPv6] = netip.MustParseAddr("2001:db8::11")
	refused.BFD = nil
	unnumbered := down("tor-c", bgp.ReasonHoldTimer, "the peer sent nothing for 9s")
	unnumbered.Address = netip.MustParseAddr("fe80::1%eth0")
	got := c.convert([]bgp.Status{up("tor-a"), refused, unnumbered},
		status.Instant{Boot: 2 * time.Minute, Wall: wall})
	since := metav1.NewTime(time.Date(2026, 1, 2, 3, 3, 5, 0, time.UTC))
	hold := &metav1.Duration{Duration: 9 * time.Second}
	v4 := v1alpha1.SessionFamily{Family: v1alpha1.IPv4, NextHop: "192.0.2.11", Routes: 2}
	want := v1alpha1.BGPNodeStateStatus{
		SessionsUp: "2/3", Routes: 3, RoutesRefused: 7, Sessions: []v1alpha1.BGPSession{
			{
				Peer: "tor-a", Address: "192.0.2.1", LocalASN: 65010, PeerASN: 65000,
				State: v1alpha1.SessionEstablished, Since: since, HoldTime: hold,
				Families: []v1alpha1.SessionFamily{v4},
				BFD: &v1alpha1.BFDSession{State: v1alpha1.BFDUp, TransmitInterval: 300,
					ReceiveInterval: 300, DetectionTime: 900},
			},
			{
				Peer: "tor-b", Address: "192.0.2.1", LocalASN: 65010, PeerASN: 65000,
				State: v1alpha1.SessionEstablished, Since: since, HoldTime: hold, RoutesRefused: 7,
				Families: []v1alpha1.SessionFamily{v4,
					{Family: v1alpha1.IPv6, NextHop: "2001:db8::11", Routes: 1}},
			},
			{
				Peer: "tor-c", Address: "fe80::1%eth0", Interface: "eth0", LocalASN: 65010, PeerASN: 65000,
				State: v1alpha1.SessionIdle, Since: since, Reason: "the peer sent nothing for 9s",
				BFD: &v1alpha1.BFDSession{State: v1alpha1.BFDDown,
					Diagnostic: "control detection time expired"},
			},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
}

// TestConvertChangesSeldom: neither the reading of the clocks nor a retry is a change.
func TestConvertChangesSeldom(t *testing.T) {
	retry := func(state bgp.State, since time.Duration, port int) bgp.Status {
		s := down("tor", bgp.ReasonReset, fmt.Sprintf("read from port %d: reset", port))
		s.State, s.Since = state, since
		return s
	}
	again := up("tor")
	again.Since = 5 * time.Minute
	refused := down("tor", bgp.ReasonRefusedOpen, "AS 1")
	var c converter
	var last v1alpha1.BGPNodeStateStatus
	for i, step := range []struct {
		session bgp.Status
		changes bool
	}{
		{up("tor"), true}, {up("tor"), false}, {up("tor"), false},
		{retry(bgp.Idle, 3*time.Minute, 1), true}, {retry(bgp.Connect, 4*time.Minute, 1), false},
		{retry(bgp.OpenSent, 4*time.Minute, 1), false}, {retry(bgp.Idle, 4*time.Minute, 2), false},
		{refused, true}, {again, true}, {again, false},
	} {
		// Each reading of the clocks differs by some milliseconds.
		now := status.Instant{Boot: 10*time.Minute + time.Duration(i)*3*time.Millisecond,
			Wall: wall.Add(time.Duration(i) * time.Second)}
		got := c.convert([]bgp.Status{step.session}, now)
		if changed := !reflect.DeepEqual(got, last); changed != step.changes {
			t.Errorf("step %d: changed %v:\n%+v\n%+v", i, changed, last, got)
		}
		last = got
	}
}

// TestConvertIsBounded: an API server refuses an object with more sessions.
func TestConvertIsBounded(t *testing.T) {
	var c converter
	var list []bgp.Status
	for i := range 2 * v1alpha1.MaxNodeSessions {
		list = append(list, up(fmt.Sprint("tor-", i)))
	}
	got := c.convert(list, status.Instant{})
	if len(got.Sessions) != v1alpha1.MaxNodeSessions || got.SessionsUp != "128/128" {
		t.Errorf("%d sessions, %s", len(got.Sessions), got.SessionsUp)
	}
	if c.convert(nil, status.Instant{}); len(c.seen) != 0 {
		t.Errorf("peers that are gone are kept: %d", len(c.seen))
	}
}

// api is an API server that stores the status, or fails.
type api struct {
	mu      sync.Mutex
	list    []bgp.Status
	fails   error
	times   []time.Duration // of each attempt
	written []string        // SessionsUp of each success
	began   time.Time
}

func (a *api) set(fails error, list ...bgp.Status) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fails, a.list = fails, list
}

func (a *api) read() []bgp.Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.list
}

func (a *api) write(_ context.Context, s v1alpha1.BGPNodeStateStatus) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.times = append(a.times, time.Since(a.began))
	if a.fails == nil {
		a.written = append(a.written, s.SessionsUp)
	}
	return a.fails
}

// publish runs a Publisher in a bubble while script changes the sessions.
func publish(t *testing.T, script func(a *api, p *Publisher)) (a *api, logged string) {
	t.Helper()
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		a = &api{began: time.Now()}
		p, err := New(Config{
			Read: a.read, Write: a.write, Log: slog.New(slog.NewTextHandler(&out, nil)),
			Clock: func() time.Duration { return time.Since(a.began) },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		synctest.Wait()
		script(a, p)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a, out.String()
}

// TestPublisherWritesOnChangeOnly, at once if the last write is long ago, and every 5 s at most.
func TestPublisherWritesOnChangeOnly(t *testing.T) {
	a, logged := publish(t, func(a *api, p *Publisher) {
		time.Sleep(time.Minute) // no peers: nothing
		a.set(nil, up("tor"))
		p.Changed()
		time.Sleep(time.Minute)
		for i := range 100 { // a session that flaps ten times a second
			a.set(nil, down("tor", bgp.ReasonBFDDown, "BFD is down"))
			if i%2 == 1 {
				a.set(nil, up("tor"))
			}
			p.Changed()
			time.Sleep(100 * time.Millisecond)
		}
		a.set(nil, down("tor", bgp.ReasonBFDDown, "BFD is down"))
		p.Changed()
		time.Sleep(time.Minute)
		a.set(nil, down("tor", bgp.ReasonStopped, "kvip stops"))
	})
	if len(a.times) < 4 || len(a.times) > 7 || a.times[0] != time.Minute ||
		a.written[len(a.written)-1] != "0/1" || logged != "" {
		t.Fatalf("writes at %v: %v, log %s", a.times, a.written, logged)
	}
	for i := 1; i < len(a.times)-1; i++ { // the last one is that at the end
		if pause := a.times[i] - a.times[i-1]; pause < writeInterval {
			t.Errorf("%v between two writes", pause)
		}
	}
}

// TestPublisherWithoutSessions writes an empty list if the last peer is gone.
func TestPublisherWithoutSessions(t *testing.T) {
	a, _ := publish(t, func(a *api, p *Publisher) {
		a.set(nil, up("tor"))
		time.Sleep(time.Minute)
		a.set(nil)
		time.Sleep(time.Minute)
	})
	if !reflect.DeepEqual(a.written, []string{"1/1", "0/0"}) {
		t.Errorf("wrote %v", a.written)
	}
}

// TestPublisherRetriesRarely: a failure is logged once, and a missing definition or right costs one
// request in 10 minutes.
func TestPublisherRetriesRarely(t *testing.T) {
	a, logged := publish(t, func(a *api, p *Publisher) {
		a.set(fmt.Errorf("write: %w", svc.ErrNodeStateAbsent), up("tor"))
		time.Sleep(time.Hour)
		a.set(errors.New("connection refused"), up("tor"))
		time.Sleep(time.Hour)
		a.set(nil, up("tor"))
		time.Sleep(5 * time.Minute)
	})
	absent, refused := 0, 0
	for _, at := range a.times {
		switch {
		case at < time.Hour:
			absent++
		case at < 2*time.Hour:
			refused++
		}
	}
	if absent < 5 || absent > 7 || refused < 40 || refused > 90 || len(a.written) != 1 {
		t.Errorf("%d and %d attempts, %d writes", absent, refused, len(a.written))
	}
	if strings.Count(logged, "cannot write the BGPNodeState; trying again") != 2 ||
		strings.Count(logged, "the BGPNodeState is written again") != 1 {
		t.Errorf("log:\n%s", logged)
	}
}

// TestPublisherNeedsItsFunctions: New names what is missing.
func TestPublisherNeedsItsFunctions(t *testing.T) {
	_, err := New(Config{})
	for _, field := range []string{"Read", "Write"} {
		if err == nil || !strings.Contains(err.Error(), field+" is required") {
			t.Errorf("%v does not name %s", err, field)
		}
	}
}

// TestPublisherConcurrentUse is for the race detector.
func TestPublisherConcurrentUse(t *testing.T) {
	publish(t, func(a *api, p *Publisher) {
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for range 50 {
					a.set(nil, up("tor"))
					p.Changed()
				}
			})
		}
		group.Wait()
	})
}
