package bgp

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/bfd"
	"github.com/kvip/kvip/test/lab/wait"
	"github.com/kvip/kvip/test/testutil"
)

// TestB8WhichPathsEndASession: only one that was up in the session, and that the peer has not
// stopped itself.
func TestB8WhichPathsEndASession(t *testing.T) {
	up := bfd.Status{State: bfd.Up}
	down := bfd.Status{State: bfd.Down, Diagnostic: bfd.DetectionTimeExpired}
	up.Remote.State, down.Remote.State = bfd.Up, bfd.Down
	stopped := bfd.Status{State: bfd.Down, Diagnostic: bfd.NeighborSignaledDown}
	stopped.Remote.State = bfd.AdminDown
	lost := "path down: BFD is down: " + bfd.DetectionTimeExpired.String()
	for name, c := range map[string]struct {
		before, after []bfd.Status // the begin of the BGP session
		want          []string
	}{
		"never up":             {nil, []bfd.Status{down}, nil},
		"up before and down":   {[]bfd.Status{up}, []bfd.Status{down}, []string{lost}},
		"up after and down":    {nil, []bfd.Status{up, down}, []string{"path up", lost}},
		"down before":          {[]bfd.Status{up, down}, []bfd.Status{down}, nil},
		"stopped by the peer":  {[]bfd.Status{up}, []bfd.Status{stopped}, nil},
		"down twice, up again": {[]bfd.Status{up}, []bfd.Status{down, up}, []string{lost, "path up"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &pathWatch{wake: backoff.NewSignal()}
			for _, s := range c.before {
				w.changed(0, s)
				w.changes()
			}
			w.established()
			var got []string
			for _, s := range c.after {
				w.changed(0, s)
				w.changed(-1, up) // of a session that was stopped
				for _, ev := range w.changes() {
					got = append(got, ev.String())
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestBFDConfig(t *testing.T) {
	local, remote := netip.MustParseAddr("10.0.0.11"), netip.MustParseAddr("10.0.0.254")
	timers := bfd.Timers{Multiplier: 5}
	for hops, want := range map[uint8]bfd.SessionConfig{
		0: {Peer: remote, Local: local, Timers: timers},
		3: {Peer: remote, Local: local, Timers: timers, Multihop: true, MinTTL: 250},
	} {
		cfg := validPeer(func(c *PeerConfig) {
			c.Multihop, c.BFD = hops, &BFDConfig{Timers: timers, MinTTL: 250}
		})
		got := cfg.bfdConfig(local, remote)
		if got.Peer != want.Peer || got.Local != want.Local || got.Timers != want.Timers ||
			got.Multihop != want.Multihop || got.MinTTL != want.MinTTL {
			t.Errorf("multihop %d: %+v, want %+v", hops, got, want)
		}
	}
}

// inOwnNetwork runs the calling test again as a process in a network namespace of its own, whose
// ports are free. It reports whether this is that process.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	testutil.NeedRoot(t)
	const marker = "KVIP_TEST_IN_OWN_NETWORK"
	if os.Getenv(marker) != "" {
		testutil.IP(t, "link set lo up")
		return true
	}
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$",
		"-test.timeout=2m")
	again.Env = append(os.Environ(), marker+"=1")
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if output, err := again.CombinedOutput(); err != nil {
		t.Errorf("in a network of its own: %v\n%s", err, output)
	}
	return false
}

// TestB8PathDownEndsTheSession with a BFD server that has both ends of the path.
func TestB8PathDownEndsTheSession(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	server, err := bfd.New(bfd.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = server.Run(ctx) }()
	tor := listen(t, "127.0.0.2")
	watched := func(multiplier int, hold time.Duration) PeerConfig {
		return tor.config("tor", func(c *PeerConfig) {
			c.BFD, c.HoldTime = &BFDConfig{Timers: bfd.Timers{Multiplier: multiplier}}, hold
		})
	}
	s, _ := runSpeaker(t, Config{BFD: server, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))},
		watched(3, 9*time.Second))
	is := func(want bfd.State) {
		t.Helper()
		wait.Eventually(t, patience, "BFD to be "+want.String(), func() bool {
			now := statusOf(t, s, "tor").BFD
			return now != nil && now.State == want
		})
	}
	other := func() (end *bfd.Session) {
		t.Helper()
		wait.Eventually(t, patience, "the peer's BFD", func() bool {
			end, err = server.Add(bfd.SessionConfig{
				Peer: netip.MustParseAddr("127.0.0.1"), Local: netip.MustParseAddr("127.0.0.2"),
			})
			return err == nil
		})
		return end
	}
	session := tor.session(t)
	session.has(t)
	is(bfd.Down)
	end := other()
	is(bfd.Up)

	// Other timers change neither session.
	if err := s.SetPeers([]PeerConfig{watched(5, 9*time.Second)}); err != nil {
		t.Fatal(err)
	}
	is(bfd.Up)
	end.Stop(bfd.AdministrativelyDown)
	is(bfd.Down)
	<-end.Done()
	if now := session.look(); now.closed != nil {
		t.Fatalf("a planned end of BFD ends the session: %v", now.closed)
	}
	end = other()
	is(bfd.Up)
	end.Close()
	session.over(t, "cease: BFD down")

	// The next session begins without BFD, which comes up later.
	session = tor.session(t)
	session.has(t)
	end = other()
	is(bfd.Up)
	// Another session of BGP takes over the path.
	if err := s.SetPeers([]PeerConfig{watched(5, 30*time.Second)}); err != nil {
		t.Fatal(err)
	}
	session.over(t, "cease: other configuration change")
	session = tor.session(t)
	session.has(t)
	is(bfd.Up)
	// It is no longer watched.
	if err := s.SetPeers([]PeerConfig{tor.config("tor", func(c *PeerConfig) {
		c.HoldTime = 30 * time.Second
	})}); err != nil {
		t.Fatal(err)
	}
	wait.Eventually(t, patience, "the end of BFD", func() bool {
		return statusOf(t, s, "tor").BFD == nil
	})
	end.Close()
	if now := session.look(); now.closed != nil {
		t.Errorf("the session ended: %v", now.closed)
	}
}
