package bgp

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/bfd"
)

// configCase is a change of testPeer, and what Validate returns.
type configCase struct {
	change func(*PeerConfig)
	want   string // of the error; empty: valid
}

var addr = netip.MustParseAddr

var configCases = map[string]configCase{
	"plain":             {func(*PeerConfig) {}, ""},
	"no name":           {func(c *PeerConfig) { c.Name = "" }, "Name is required"},
	"no AS":             {func(c *PeerConfig) { c.LocalAS = 0 }, "LocalAS is required"},
	"no peer AS":        {func(c *PeerConfig) { c.PeerAS = 0 }, "either PeerAS or a type"},
	"AS and type":       {func(c *PeerConfig) { c.Type = External }, "either PeerAS or a type"},
	"unknown type":      {func(c *PeerConfig) { c.PeerAS, c.Type = 0, 3 }, "no type 3"},
	"external":          {func(c *PeerConfig) { c.PeerAS, c.Type = 0, External }, ""},
	"internal":          {func(c *PeerConfig) { c.PeerAS, c.Type = 0, Internal }, ""},
	"no router ID":      {func(c *PeerConfig) { c.RouterID = netip.Addr{} }, "router ID"},
	"router ID 0":       {func(c *PeerConfig) { c.RouterID = addr("0.0.0.0") }, "router ID"},
	"router ID of IPv6": {func(c *PeerConfig) { c.RouterID = addr("::1") }, "router ID"},
	"no address":        {func(c *PeerConfig) { c.Address = netip.Addr{} }, "a way to discover it"},
	"address and discovery": {func(c *PeerConfig) { c.Discover.Gateway = true },
		"either an address"},
	"discovery": {func(c *PeerConfig) {
		c.Address, c.Discover.Interface = netip.Addr{}, "eth0"
	}, ""},
	"unspecified":     {func(c *PeerConfig) { c.Address = addr("0.0.0.0") }, "that of a host"},
	"multicast":       {func(c *PeerConfig) { c.Address = addr("ff02::5%eth0") }, "that of a host"},
	"link-local":      {func(c *PeerConfig) { c.Address = addr("fe80::1") }, "needs its interface"},
	"with a zone":     {func(c *PeerConfig) { c.Address = addr("fe80::1%eth0") }, ""},
	"mapped":          {func(c *PeerConfig) { c.Address = addr("::ffff:10.0.0.1") }, ""},
	"source":          {func(c *PeerConfig) { c.Source = addr("10.0.0.11") }, ""},
	"mapped source":   {func(c *PeerConfig) { c.Source = addr("::ffff:10.0.0.11") }, ""},
	"source of IPv6":  {func(c *PeerConfig) { c.Source = addr("fd00::1") }, "two families"},
	"hold time 3 s":   {func(c *PeerConfig) { c.HoldTime = 3 * time.Second }, ""},
	"hold time 2 s":   {func(c *PeerConfig) { c.HoldTime = 2 * time.Second }, "hold time"},
	"hold time < 0":   {func(c *PeerConfig) { c.HoldTime = -time.Second }, "hold time"},
	"hold time 3.5 s": {func(c *PeerConfig) { c.HoldTime = 7 * time.Second / 2 }, "whole seconds"},
	"hold time 1 day": {func(c *PeerConfig) { c.HoldTime = 24 * time.Hour }, "hold time"},
	"keepalive":       {func(c *PeerConfig) { c.Keepalive = 3 * time.Second }, ""},
	"keepalive 4 s":   {func(c *PeerConfig) { c.Keepalive = 4 * time.Second }, "a third"},
	"keepalive 1 ms":  {func(c *PeerConfig) { c.Keepalive = time.Millisecond }, "keepalive time"},
	"keepalive < 0":   {func(c *PeerConfig) { c.Keepalive = -1 }, "keepalive time"},
	"connect timeout": {func(c *PeerConfig) { c.ConnectTimeout = -1 }, "connect timeout"},
	"password":        {func(c *PeerConfig) { c.Password = strings.Repeat("x", 80) }, ""},
	"long password":   {func(c *PeerConfig) { c.Password = strings.Repeat("x", 81) }, "80 bytes"},
	"TTL security":    {func(c *PeerConfig) { c.TTLSecurity = true }, ""},
	"and multihop":    {func(c *PeerConfig) { c.TTLSecurity, c.Multihop = true, 2 }, "excludes"},
	"families":        {func(c *PeerConfig) { c.Families = []Family{IPv6, IPv4} }, ""},
	"no families":     {func(c *PeerConfig) { c.Families = []Family{} }, ""},
	"twice":           {func(c *PeerConfig) { c.Families = []Family{IPv6, IPv6} }, "once"},
	"unknown family":  {func(c *PeerConfig) { c.Families = []Family{2} }, "once"},
	"restart":         {func(c *PeerConfig) { c.GracefulRestart = 30 * time.Second }, ""},
	"restart 31 s":    {func(c *PeerConfig) { c.GracefulRestart = 31 * time.Second }, "restart"},
	"restart 0.5 s":   {func(c *PeerConfig) { c.GracefulRestart = time.Second / 2 }, "restart"},
	"restart < 0":     {func(c *PeerConfig) { c.GracefulRestart = -time.Second }, "restart"},
	"prefixes < 0":    {func(c *PeerConfig) { c.MaximumPrefixes = -1 }, "positive"},
	"next hop":        {func(c *PeerConfig) { c.NextHops[IPv6] = addr("fd00::1") }, ""},
	"of RFC 8950":     {func(c *PeerConfig) { c.NextHops[IPv4] = addr("fd00::1") }, ""},
	"of IPv4 for v6":  {func(c *PeerConfig) { c.NextHops[IPv6] = addr("10.0.0.1") }, "next hop"},
	"unspecified hop": {func(c *PeerConfig) { c.NextHops[IPv6] = addr("::") }, "next hop"},
	"BFD":             {func(c *PeerConfig) { c.BFD = &BFDConfig{} }, ""},
	"BFD, TTL 250":    {func(c *PeerConfig) { c.BFD = &BFDConfig{MinTTL: 250} }, ""},
	"BFD, TTL 256":    {func(c *PeerConfig) { c.BFD = &BFDConfig{MinTTL: 256} }, "least TTL"},
	"pause":           {func(c *PeerConfig) { c.MaxRetry = time.Millisecond }, "longest pause"},
}

func TestValidate(t *testing.T) {
	for name, c := range configCases {
		t.Run(name, func(t *testing.T) {
			cfg := testPeer()
			c.change(&cfg)
			err := cfg.Validate()
			switch {
			case c.want == "" && err != nil, c.want != "" && err == nil:
				t.Fatalf("%v, want %q", err, c.want)
			case err != nil && (!strings.Contains(err.Error(), c.want) ||
				!strings.HasPrefix(err.Error(), "configure BGP peer")):
				t.Errorf("%v, want %q", err, c.want)
			case err != nil && cfg.Name != "" && !strings.Contains(err.Error(), "peer tor: "):
				t.Errorf("%v does not name the peer", err)
			}
			again := cfg
			if err == nil && (again.Validate() != nil || !reflect.DeepEqual(again, cfg)) {
				t.Errorf("%+v changes to %+v", cfg, again)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	cfg := validPeer(func(c *PeerConfig) { c.Address = netip.MustParseAddr("::ffff:10.0.0.254") })
	want := testPeer()
	want.Port, want.MaximumPrefixes = 179, 1000
	want.HoldTime, want.ConnectTimeout, want.MaxRetry = 9*time.Second, 5*time.Second, 30*time.Second
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("%+v, want %+v", cfg, want)
	}
}

// TestB11WhatResetsASession lists each field of a PeerConfig, and whether its change ends the
// session: what is in the OPEN, on the socket, or decides whether the peer is the right one does.
func TestB11WhatResetsASession(t *testing.T) {
	resets := map[string]func(*PeerConfig){
		"Name":            func(c *PeerConfig) { c.Name = "other" },
		"LocalAS":         func(c *PeerConfig) { c.LocalAS = 65011 },
		"PeerAS":          func(c *PeerConfig) { c.PeerAS = 65001 },
		"Type":            func(c *PeerConfig) { c.PeerAS, c.Type = 0, External },
		"RouterID":        func(c *PeerConfig) { c.RouterID = addr("10.0.0.12") },
		"Address":         func(c *PeerConfig) { c.Address = addr("10.0.0.253") },
		"Port":            func(c *PeerConfig) { c.Port = 1790 },
		"Discover":        func(c *PeerConfig) { c.Address, c.Discover.Gateway = netip.Addr{}, true },
		"Source":          func(c *PeerConfig) { c.Source = addr("10.0.0.11") },
		"SourceInterface": func(c *PeerConfig) { c.SourceInterface = "eth0" },
		"HoldTime":        func(c *PeerConfig) { c.HoldTime = 90 * time.Second },
		"Password":        func(c *PeerConfig) { c.Password = "secret" },
		"Unusable":        func(c *PeerConfig) { c.Unusable = "its password cannot be read" },
		"TTLSecurity":     func(c *PeerConfig) { c.TTLSecurity = true },
		"Multihop":        func(c *PeerConfig) { c.Multihop = 2 },
		"Families":        func(c *PeerConfig) { c.Families = []Family{IPv4, IPv6} },
		"GracefulRestart": func(c *PeerConfig) { c.GracefulRestart = 10 * time.Second },
	}
	keeps := map[string]func(*PeerConfig){
		"Keepalive":       func(c *PeerConfig) { c.Keepalive = time.Second },
		"ConnectTimeout":  func(c *PeerConfig) { c.ConnectTimeout = time.Second },
		"MaxRetry":        func(c *PeerConfig) { c.MaxRetry = time.Minute },
		"MaximumPrefixes": func(c *PeerConfig) { c.MaximumPrefixes = 10 },
		"NextHops":        func(c *PeerConfig) { c.NextHops[IPv4] = addr("10.0.0.13") },
		"BFD":             func(c *PeerConfig) { c.BFD = &BFDConfig{Timers: bfd.Timers{Multiplier: 5}} },
	}
	for field := range reflect.TypeFor[PeerConfig]().Fields() {
		name := field.Name
		change, reset := resets[name]
		if !reset {
			change = keeps[name]
		}
		if change == nil {
			t.Errorf("whether %s resets a session is not tested", name)
			continue
		}
		if validPeer(nil).sameSession(validPeer(change)) == reset {
			t.Errorf("%s: a change resets the session: %v, want %v", name, !reset, reset)
		}
	}
	order := func(list ...Family) PeerConfig {
		return validPeer(func(c *PeerConfig) { c.Families = slices.Clone(list) })
	}
	if !order(IPv4, IPv6).sameSession(order(IPv6, IPv4)) || !order().sameSession(validPeer(nil)) {
		t.Error("the order of families resets a session")
	}
	port := validPeer(func(c *PeerConfig) { c.Port, c.HoldTime = DefaultPort, DefaultHoldTime })
	if !port.sameSession(validPeer(nil)) {
		t.Error("a default that is written resets a session")
	}
}

func TestTTL(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*PeerConfig)
		want   int
	}{
		"external":           {nil, 1},
		"any external":       {func(c *PeerConfig) { c.PeerAS, c.Type = 0, External }, 1},
		"internal by number": {func(c *PeerConfig) { c.PeerAS = c.LocalAS }, 64},
		"internal":           {func(c *PeerConfig) { c.PeerAS, c.Type = 0, Internal }, 64},
		"multihop":           {func(c *PeerConfig) { c.Multihop = 3 }, 3},
		"TTL security":       {func(c *PeerConfig) { c.TTLSecurity = true }, 255},
	} {
		if cfg := validPeer(c.change); cfg.ttl() != c.want {
			t.Errorf("%s: %d, want %d", name, cfg.ttl(), c.want)
		}
	}
}

func TestSamePeer(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*PeerConfig)
		same   bool
	}{
		"another name":      {func(c *PeerConfig) { c.Name, c.HoldTime = "other", time.Minute }, true},
		"the default port":  {func(c *PeerConfig) { c.Port = DefaultPort }, true},
		"another port":      {func(c *PeerConfig) { c.Port = 1790 }, false},
		"another address":   {func(c *PeerConfig) { c.Address = c.Address.Prev() }, false},
		"a source":          {func(c *PeerConfig) { c.Source = addr("10.0.0.11") }, true},
		"another discovery": {func(c *PeerConfig) { c.Discover.Gateway = true }, false},
	} {
		cfg := testPeer()
		c.change(&cfg)
		if got := testPeer().SamePeer(cfg); got != c.same || got != cfg.SamePeer(testPeer()) {
			t.Errorf("%s: %v, want %v", name, got, c.same)
		}
	}
}
