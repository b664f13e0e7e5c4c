package config

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestBGPPeers: each form of --bgp-peer, and that it is written as it is read.
func TestBGPPeers(t *testing.T) {
	for _, text := range []string{
		"192.0.2.1,as=65000",
		"192.0.2.1:1179,as=4200000000",
		"2001:db8::1,as=external",
		"[2001:db8::1]:1179,as=internal",
		"fe80::1%eth0,as=65000",
		"127.0.0.1:1179,as=65000",
		"gateway,as=external,bfd=300ms/3",
		"gateway=ipv6,as=external",
		"interface=eth1,as=external,bfd=50ms/3",
		"192.0.2.1,as=65000,password-file=/etc/kvip/password,bfd=1s/5,multihop=3,source=192.0.2.9",
		"192.0.2.1,as=65000,ttl-security,source=eth1",
	} {
		p, err := ParseBGPPeer(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := p.String(); got != text {
			t.Errorf("%s is written as %s", text, got)
		}
	}
	p, err := ParseBGPPeer("gateway=ipv4,as=1.2")
	if err != nil || p.AS != 65538 || p.String() != "gateway,as=65538" {
		t.Errorf("other spellings: %v, %v", p, err)
	}
}

func TestInvalidBGPPeers(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "is no peer: give ADDRESS",
		"router1,as=65000":                 "is no peer",
		"192.0.2.1:0,as=65000":             "is no peer",
		"192.0.2.1:65536,as=65000":         "is no peer",
		"192.0.2.0/24,as=65000":            "is no peer",
		"0.0.0.0,as=65000":                 "not the address of a host",
		"ff02::1,as=65000":                 "not the address of a host",
		"::ffff:192.0.2.1,as=65000":        "not the address of a host",
		"fe80::1,as=65000":                 "add its interface",
		"interface=,as=1":                  "is no peer",
		"interface=a/b,as=1":               "is no peer",
		"gateway=ipv5,as=1":                "is no peer",
		"192.0.2.1":                        "the peer's AS is missing",
		"192.0.2.1,":                       "the peer's AS is missing",
		"192.0.2.1,as=0":                   "not an AS number",
		"192.0.2.1,as=4294967296":          "not an AS number",
		"192.0.2.1,as=0.0":                 "not an AS number",
		"192.0.2.1,as=1.65536":             "not an AS number",
		"192.0.2.1,as=any":                 "not an AS number",
		"192.0.2.1,as=1,as=2":              "as is given twice",
		"192.0.2.1,as=1,password=x":        `"password" is no setting`,
		"192.0.2.1,as=1,password-file=x":   "not an absolute path",
		"192.0.2.1,as=1,password-file=/x":  "in a directory",
		"192.0.2.1,as=1,bfd=300ms":         "give an interval",
		"192.0.2.1,as=1,bfd=300/3":         "give an interval",
		"192.0.2.1,as=1,bfd=9ms/3":         "give an interval",
		"192.0.2.1,as=1,bfd=300ms/1":       "give an interval",
		"192.0.2.1,as=1,multihop=0":        "not a TTL",
		"192.0.2.1,as=1,multihop=256":      "not a TTL",
		"192.0.2.1,as=1,ttl-security=2":    "takes no value",
		"192.0.2.1,as=1,source=a/b":        "neither an address nor an interface",
		"1.1.1.1,as=1,ttl-security,bfd=":   "give an interval",
		"1.1.1.1,as=1,ttl-security,source": "neither an address nor an interface",
		"1.1.1.1,as=1,multihop=2,ttl-security": "ttl-security is for neighbours: remove it, " +
			"or multihop",
	} {
		if _, err := ParseBGPPeer(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseBGPPeer(f *testing.F) {
	f.Add("192.0.2.1:179,as=65000,bfd=300ms/3,password-file=/x,source=eth0")
	f.Add("interface=eth0,as=external,ttl-security")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseBGPPeer(text)
		if err != nil {
			return
		}
		again, err := ParseBGPPeer(p.String())
		if err != nil || again != p {
			t.Errorf("%q is written as %q: %v", text, p, err)
		}
	})
}

func TestValidateBGP(t *testing.T) {
	base := func() Config {
		c := valid()
		peer, err := ParseBGPPeer("192.0.2.1,as=65000")
		if err != nil {
			t.Fatal(err)
		}
		c.Announce, c.BGPAS, c.BGPPeers = AnnounceBGP, 65010, []BGPPeer{peer}
		return c
	}
	if err := base().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, flag, reason string
		change             func(*Config)
	}{
		{"another way", "announce", "is unknown", func(c *Config) { c.Announce = "ospf" }},
		{"no peer", "announce", "needs a router", func(c *Config) { c.BGPPeers = nil }},
		{"no AS", "bgp-as", "is missing", func(c *Config) { c.BGPAS = 0 }},
		{"an IPv6 router ID", "bgp-router-id", "not an IPv4 address",
			func(c *Config) { c.BGPRouterID = addrs("2001:db8::1")[0] }},
		{"a relative file", "bgp-config", "not an absolute path",
			func(c *Config) { c.BGPConfig = "bgp.yaml" }},
		{"a short hold time", "bgp-hold-time", "not a hold time",
			func(c *Config) { c.BGPHoldTime = 2 * time.Second }},
		{"half a second", "bgp-hold-time", "not a hold time",
			func(c *Config) { c.BGPHoldTime = 3500 * time.Millisecond }},
		{"twice", "bgp-peer", "is given twice",
			func(c *Config) { c.BGPPeers = append(c.BGPPeers, c.BGPPeers[0]) }},
		{"too many", "bgp-peer", "give at most 32",
			func(c *Config) { c.BGPPeers = make([]BGPPeer, 33) }},
	} {
		c := base()
		row.change(&c)
		var refused *UsageError
		if err := c.Validate(); !errors.As(err, &refused) || refused.Flag != row.flag ||
			!strings.Contains(err.Error(), row.reason) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	c := base()
	c.BGPPeers, c.BGPAS, c.BGPConfig = nil, 0, "/etc/kvip/bgp.yaml"
	if err := c.Validate(); err != nil {
		t.Errorf("peers of a file alone: %v", err)
	}
}

// TestArgsRepeatPeers: a manifest gives its agent each peer.
func TestArgsRepeatPeers(t *testing.T) {
	line := "--vip=192.0.2.10 --announce=bgp --bgp-as=65010 --bgp-peer=192.0.2.1,as=65000 " +
		"--bgp-peer=gateway,as=external,bfd=300ms/3"
	c, _ := given(t, line)
	if got := strings.Join(c.Args(), " "); got != line {
		t.Errorf("got %s", got)
	}
}
