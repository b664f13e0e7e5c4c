package bfd

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func newServer(t testing.TB, cfg Config) *Server {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAddValidates(t *testing.T) {
	addr := netip.MustParseAddr
	for _, c := range []struct {
		name string
		cfg  SessionConfig
		want string // part of the error
	}{
		{"defaults", SessionConfig{Peer: addr("192.0.2.1")}, ""},
		{"mapped", SessionConfig{Peer: addr("::ffff:192.0.2.1"), Local: addr("192.0.2.2")}, ""},
		{"no peer", SessionConfig{}, "give a unicast address"},
		{"multicast", SessionConfig{Peer: addr("ff02::1%eth0")}, "give a unicast address"},
		{"no zone", SessionConfig{Peer: addr("fe80::1")}, "needs a zone"},
		{"zone", SessionConfig{Peer: addr("fe80::1%eth0")}, ""},
		{"interface", SessionConfig{Peer: addr("fe80::1"), Interface: "eth0"}, ""},
		{"both", SessionConfig{Peer: addr("fe80::1%eth1"), Interface: "eth0"}, "not the zone"},
		{"link-local, multihop", SessionConfig{Peer: addr("fe80::1%eth0"), Multihop: true}, "hops"},
		{"two families", SessionConfig{Peer: addr("fd00::1"), Local: addr("192.0.2.2")}, "family"},
		{"TTL 254", SessionConfig{Peer: addr("192.0.2.1"), MinTTL: 254}, "255 over a single hop"},
		{"TTL 255", SessionConfig{Peer: addr("192.0.2.1"), MinTTL: 255}, ""},
		{"multihop", SessionConfig{Peer: addr("192.0.2.1"), Multihop: true, MinTTL: 1}, ""},
		{"TTL 256", SessionConfig{Peer: addr("192.0.2.1"), Multihop: true, MinTTL: 256}, "1 to 255"},
		{"multiplier 1", SessionConfig{Peer: addr("192.0.2.1"), Timers: Timers{Multiplier: 1}},
			"give 2 to 255"},
		{"interval", SessionConfig{Peer: addr("192.0.2.1"),
			Timers: Timers{TransmitInterval: time.Millisecond}}, "give 10ms to 1m0s"},
	} {
		_, err := newServer(t, Config{}).Add(c.cfg)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestAddBounds: there are at most MaxSessions, and one for each pair of addresses.
func TestAddBounds(t *testing.T) {
	s := newServer(t, Config{})
	var first *Session
	for i := range MaxSessions {
		one, err := s.Add(SessionConfig{Peer: netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i+1))})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = one
		}
	}
	other := SessionConfig{Peer: netip.MustParseAddr("192.0.2.200")}
	if _, err := s.Add(other); err == nil || !strings.Contains(err.Error(), "there are 128") {
		t.Errorf("one session more: %v", err)
	}
	first.Close()
	first.Close()
	<-first.Done()
	if _, err := s.Add(other); err != nil {
		t.Error(err)
	}
	s = newServer(t, Config{})
	local := netip.MustParseAddr("192.0.2.9")
	for _, c := range []struct {
		cfg  SessionConfig
		want bool
	}{
		{SessionConfig{Peer: other.Peer, Local: local}, true},
		{SessionConfig{Peer: other.Peer, Local: local}, false},
		{SessionConfig{Peer: other.Peer}, false},
		{SessionConfig{Peer: other.Peer, Local: local, Interface: "eth0"}, false},
		{SessionConfig{Peer: other.Peer, Local: local.Next()}, true},
		{SessionConfig{Peer: other.Peer, Multihop: true}, true},
	} {
		if _, err := s.Add(c.cfg); (err == nil) != c.want {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}

// TestRunEnds: Run ends its sessions and can neither be called again nor get more of them.
func TestRunEnds(t *testing.T) {
	s := newServer(t, Config{})
	one, err := s.Add(SessionConfig{Peer: netip.MustParseAddr("192.0.2.1"), Interface: "missing0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
	<-one.Done()
	one.Stop(AdministrativelyDown)
	if state := one.Status().State; state != Down {
		t.Errorf("state %v after the end", state)
	}
	if err := s.Run(ctx); err == nil {
		t.Error("Run again is not an error")
	}
	if _, err := s.Add(SessionConfig{Peer: netip.MustParseAddr("192.0.2.1")}); err == nil {
		t.Error("Add after Run is not an error")
	}
	if err := one.SetTimers(Timers{Multiplier: 1}); err == nil {
		t.Error("SetTimers takes a multiplier of 1")
	}
}
