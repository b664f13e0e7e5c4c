package config

import (
	"fmt"
	"net/netip"
	"path"
	"time"

	"github.com/spf13/pflag"
)

// The ways to announce the VIPs.
const (
	AnnounceARP = "arp" // ARP and neighbour discovery: one node holds the VIPs
	AnnounceBGP = "bgp" // BGP: every node with a ready API server announces them
)

// Hold times of BGP (RFC 4271 section 4.2).
const (
	DefaultBGPHoldTime = 9 * time.Second
	MinBGPHoldTime     = 3 * time.Second
	MaxBGPHoldTime     = 180 * time.Second
)

func (c *Config) addBGP(fs *pflag.FlagSet) {
	fs.StringVar(&c.Announce, "announce", c.Announce,
		"`way` to announce the VIP: arp, where one node holds it, or bgp, where every node with a "+
			"ready API server announces it to its routers")
	fs.Var((*asNumber)(&c.BGPAS), "bgp-as", "AS `number` of the nodes")
	fs.Var(&addrValue{&c.BGPRouterID}, "bgp-router-id",
		"BGP identifier of this node, an IPv4 `address` "+
			"(default: the node's IPv4 address, else a hash of its name)")
	fs.Var(&bgpPeerList{list: &c.BGPPeers}, "bgp-peer",
		"a BGP `peer`; repeat the flag for several: "+peerGrammar)
	fs.StringVar(&c.BGPConfig, "bgp-config", c.BGPConfig,
		"`file` with BGPPeer, BFDProfile and BGPAdvertisement objects in YAML, read again when it "+
			"changes")
	fs.DurationVar(&c.BGPHoldTime, "bgp-hold-time", c.BGPHoldTime,
		fmt.Sprintf("how long a router uses the route of a node that is silent, where BFD does not "+
			"notice before: whole seconds, %v to %v", MinBGPHoldTime, MaxBGPHoldTime))
}

// ByBGP reports whether the VIPs are announced by BGP.
func (c Config) ByBGP() bool { return c.Announce == AnnounceBGP && len(c.VIPs) > 0 }

func (c Config) checkBGP() error {
	switch c.Announce {
	case AnnounceARP:
		return nil
	case AnnounceBGP:
	default:
		return invalid("announce", fmt.Sprintf("%q is unknown", c.Announce), "give arp or bgp")
	}
	switch {
	case len(c.VIPs) == 0:
		return nil
	case len(c.BGPPeers) > maxBGPPeers:
		return invalid("bgp-peer", fmt.Sprintf("there are %d peers", len(c.BGPPeers)),
			fmt.Sprintf("give at most %d", maxBGPPeers))
	case len(c.BGPPeers) == 0 && c.BGPConfig == "":
		return invalid("announce", "bgp needs a router to announce to",
			"add one like --bgp-peer 192.0.2.1,as=65000, or --bgp-config")
	case len(c.BGPPeers) > 0 && c.BGPAS == 0:
		return invalid("bgp-as", "the AS number of the nodes is missing",
			"add one like --bgp-as 65010")
	case c.BGPRouterID.IsValid() && (!c.BGPRouterID.Is4() || c.BGPRouterID.IsUnspecified()):
		return invalid("bgp-router-id", fmt.Sprintf("%s is not an IPv4 address of a host",
			c.BGPRouterID), "give one like 192.0.2.11")
	case c.BGPConfig != "" && (!path.IsAbs(c.BGPConfig) || path.Dir(path.Clean(c.BGPConfig)) == "/"):
		return invalid("bgp-config", fmt.Sprintf("%q is not an absolute path of a file in a "+
			"directory", c.BGPConfig),
			"give one like /etc/kvip/bgp.yaml")
	}
	if h := c.BGPHoldTime; h < MinBGPHoldTime || h > MaxBGPHoldTime || h%time.Second != 0 {
		return invalid("bgp-hold-time", fmt.Sprintf("%s is not a hold time", h),
			fmt.Sprintf("give whole seconds from %v to %v", MinBGPHoldTime, MaxBGPHoldTime))
	}
	seen := map[string]bool{}
	for _, p := range c.BGPPeers {
		if seen[p.Target()] {
			return invalid("bgp-peer", p.Target()+" is given twice", "remove one of them")
		}
		seen[p.Target()] = true
	}
	return nil
}

// addrValue is the pflag.Value of one address.
type addrValue struct{ addr *netip.Addr }

// Set parses the address.
func (v *addrValue) Set(text string) (err error) {
	*v.addr, err = parseAddr(text)
	return err
}

// String returns the address, "" for none.
func (v *addrValue) String() string {
	if v.addr == nil || !v.addr.IsValid() {
		return ""
	}
	return v.addr.String()
}

// Type names the value in help texts.
func (v *addrValue) Type() string { return "address" }
