package bgp

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
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

// watchFixture is a speaker and a fake peer, and a BFD server that has both ends of the path.
type watchFixture struct {
	*testing.T
	server  *bfd.Server
	tor     *fakePeer
	speaker *Speaker
}

// newWatchFixture returns a fixture whose session has a hold time of 9 s.
func newWatchFixture(t *testing.T) *watchFixture {
	server, err := bfd.New(bfd.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() { _ = server.Run(ctx) }()
	f := &watchFixture{T: t, server: server, tor: listen(t, "127.0.0.2")}
	f.speaker, _ = runSpeaker(t, Config{BFD: server}, f.config(3, 9*time.Second))
	return f
}

// config returns a configuration with BFD.
func (f *watchFixture) config(multiplier int, hold time.Duration) PeerConfig {
	return f.tor.config("tor", func(c *PeerConfig) {
		c.BFD, c.HoldTime = &BFDConfig{Timers: bfd.Timers{Multiplier: multiplier}}, hold
	})
}

// set sets the peer's configuration.
func (f *watchFixture) set(cfg PeerConfig) {
	f.Helper()
	if err := f.speaker.SetPeers([]PeerConfig{cfg}); err != nil {
		f.Fatal(err)
	}
}

// is waits for a state of the speaker's BFD session.
func (f *watchFixture) is(want bfd.State) {
	f.Helper()
	wait.Eventually(f, patience, "BFD to be "+want.String(), func() bool {
		now := statusOf(f.T, f.speaker, "tor").BFD
		return now != nil && now.State == want
	})
}

// end starts BFD at the peer's end.
func (f *watchFixture) end() (end *bfd.Session) {
	f.Helper()
	wait.Eventually(f, patience, "the peer's BFD", func() bool {
		var err error
		end, err = f.server.Add(bfd.SessionConfig{
			Peer: netip.MustParseAddr("127.0.0.1"), Local: netip.MustParseAddr("127.0.0.2"),
		})
		return err == nil
	})
	return end
}

// TestB8PathDownEndsTheSession, and a planned end of BFD does not.
func TestB8PathDownEndsTheSession(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	f := newWatchFixture(t)
	session := f.tor.session(t)
	session.has(t)
	f.is(bfd.Down)
	end := f.end()
	f.is(bfd.Up)
	f.set(f.config(5, 9*time.Second)) // other timers change neither session
	f.is(bfd.Up)
	end.Stop(bfd.AdministrativelyDown)
	f.is(bfd.Down)
	<-end.Done()
	if now := session.look(); now.closed != nil {
		t.Fatalf("a planned end of BFD ends the session: %v", now.closed)
	}
	end = f.end()
	f.is(bfd.Up)
	end.Close()
	session.over(t, "cease: BFD down")
	// The next session begins without BFD, which comes up later.
	f.tor.session(t).has(t)
	f.end()
	f.is(bfd.Up)
}

// TestB8AnotherSessionTakesOverThePath, although the BFD session of the former one ends later.
func TestB8AnotherSessionTakesOverThePath(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	f := newWatchFixture(t)
	session := f.tor.session(t)
	session.has(t)
	end := f.end()
	f.is(bfd.Up)
	f.set(f.config(3, 30*time.Second))
	session.over(t, "cease: other configuration change")
	session = f.tor.session(t)
	session.has(t)
	f.is(bfd.Up)
	// It is no longer watched.
	f.set(f.tor.config("tor", func(c *PeerConfig) { c.HoldTime = 30 * time.Second }))
	wait.Eventually(t, patience, "the end of BFD", func() bool {
		return statusOf(t, f.speaker, "tor").BFD == nil
	})
	end.Close()
	if now := session.look(); now.closed != nil {
		t.Errorf("the session ended: %v", now.closed)
	}
}

// TestB1OutgoingOnly: a speaker with a session listens on no port.
func TestB1OutgoingOnly(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	tor := listen(t, "127.0.0.2")
	runSpeaker(t, Config{}, tor.config("tor", nil))
	tor.session(t).has(t)
	var listening []string
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 3 && fields[3] == "0A" { // TCP_LISTEN
				listening = append(listening, fields[1])
			}
		}
	}
	if len(listening) != 1 || !strings.HasPrefix(listening[0], "0200007F:") {
		t.Errorf("sockets listen on %v, want that of the fake peer alone", listening)
	}
}
