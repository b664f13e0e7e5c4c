package routerlab

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
)

// Kind is an implementation of BGP.
type Kind string

// The kinds of routers.
const (
	FRR      Kind = "FRR"
	BIRD     Kind = "BIRD"
	GoBGP    Kind = "GoBGP"
	OpenBGPD Kind = "OpenBGPD"
	ExaBGP   Kind = "ExaBGP"
)

// Kinds are all of them.
var Kinds = []Kind{FRR, BIRD, GoBGP, OpenBGPD, ExaBGP}

// defaultHoldTime is the hold time without Neighbor.HoldTime.
const defaultHoldTime = 9 * time.Second

// Config describes a router. Kind and AS are required.
type Config struct {
	Kind Kind
	AS   uint32
	// RouterID is an IPv4 address. The zero value means the host's own one.
	RouterID  netip.Addr
	Neighbors []Neighbor
	// SinglePath turns off multipath (ECMP). FRR and BIRD install at most 16 next hops of a prefix
	// into the kernel by default, which then selects one by the hash of addresses and ports.
	SinglePath bool
	// Originate are routes that the router announces to each neighbor from the start.
	Originate []Announcement
	// OriginateCount is the number of further routes, see Originated.
	OriginateCount int
	// ErrorWait is the minimum pause after an error of a session. Repeated errors increase it to
	// five times that. The default is 1 s. BIRD only, whose own default is 60 s.
	ErrorWait time.Duration
}

// Neighbor is a peer of a router. One of Addr, Interface and Listen is required, and AS.
type Neighbor struct {
	// Addr is the address of the peer.
	Addr netip.Addr
	// Interface is the name of a link on which the peer is found by its link-local address
	// (unnumbered). FRR needs a router advertisement of the peer. BIRD only accepts connections.
	Interface string
	// Listen is a range of addresses from which the router accepts peers.
	Listen netip.Prefix
	AS     uint32

	// IPv4 and IPv6 are the address families of the session. Neither means both.
	IPv4, IPv6 bool
	// ExtendedNextHop allows IPv6 next hops of IPv4 routes (RFC 8950).
	ExtendedNextHop bool
	// Password is that of TCP MD5 signatures (RFC 2385).
	Password string
	// TTLSecurity is GTSM (RFC 5082) for one hop.
	TTLSecurity bool
	// Multihop is the maximum number of hops to the peer. Zero means that it is directly connected.
	Multihop int
	// BFD is single-hop (RFC 5881) or, with Multihop, multihop (RFC 5883). Nil means none.
	BFD *BFD
	// MaximumPrefixes ends the session if the peer announces more in one family. Zero means no limit.
	MaximumPrefixes int
	// GracefulRestart keeps the routes of a restarting peer (helper, RFC 4724).
	GracefulRestart bool
	// HoldTime is 9 s by default.
	HoldTime time.Duration
	// Passive means that the router does not connect to the peer.
	Passive bool
}

// BFD has the timers of a BFD session. Each is required.
type BFD struct {
	Interval   time.Duration // transmit and receive
	Multiplier int
}

// Announcement is a route that a router originates.
type Announcement struct {
	Prefix           netip.Prefix
	MED              uint32   // zero means none
	Prepend          int      // how often the router's AS is prepended in addition
	Communities      []string // as in "65010:7"
	LargeCommunities []string // as in "65010:1:2"
}

// Originated returns the first prefixes of Config.OriginateCount: /32 of 100.64.0.0/10.
func Originated(count int) []netip.Prefix {
	all := make([]netip.Prefix, count)
	for i := range all {
		all[i] = netip.PrefixFrom(netip.AddrFrom4(
			[4]byte{100, 64 + byte(i>>16), byte(i >> 8), byte(i)}), 32)
	}
	return all
}

// lacks are the features that a kind does not have.
var lacks = map[Kind][]string{
	FRR:      {"ErrorWait"},
	BIRD:     {},
	GoBGP:    {"Interface", "BFD", "OriginateCount", "ErrorWait", "KernelRoutes", "RequestRefresh"},
	OpenBGPD: {"Interface", "BFD", "ExtendedNextHop", "OriginateCount", "ErrorWait", "KernelRoutes"},
	ExaBGP: {"Interface", "Listen", "BFD", "MaximumPrefixes", "GracefulRestart", "OriginateCount",
		"ErrorWait", "KernelRoutes"},
}

// supports returns an error if a kind does not have a feature.
func (k Kind) supports(feature string) error {
	if slices.Contains(lacks[k], feature) {
		return fmt.Errorf("%s does not have %s: %w", k, feature, errors.ErrUnsupported)
	}
	return nil
}

// complete validates the config, and returns it with defaults.
func (c Config) complete(host *netlab.Host) (Config, error) {
	if _, known := lacks[c.Kind]; !known {
		return c, fmt.Errorf("unknown kind %q", c.Kind)
	}
	if c.AS == 0 {
		return c, errors.New("AS is required")
	}
	if !c.RouterID.IsValid() {
		c.RouterID = host.Addr(true)
	}
	if !c.RouterID.Is4() {
		return c, errors.New("RouterID is required: the host has no IPv4 address")
	}
	if c.OriginateCount < 0 || c.OriginateCount > 1<<22 {
		return c, errors.New("OriginateCount is between 0 and the number of addresses of 100.64.0.0/10")
	}
	var errs []error
	for feature, used := range map[string]bool{
		"OriginateCount": c.OriginateCount > 0, "ErrorWait": c.ErrorWait != 0,
	} {
		if used {
			errs = append(errs, c.Kind.supports(feature))
		}
	}
	if c.ErrorWait == 0 {
		c.ErrorWait = time.Second
	}
	c.Neighbors = slices.Clone(c.Neighbors)
	for i := range c.Neighbors {
		errs = append(errs, c.Neighbors[i].complete(c.Kind))
	}
	return c, errors.Join(errs...)
}

// complete validates the neighbor and sets defaults.
func (n *Neighbor) complete(kind Kind) error {
	given := 0
	for _, is := range []bool{n.Addr.IsValid(), n.Interface != "", n.Listen.IsValid()} {
		if is {
			given++
		}
	}
	if given != 1 || n.AS == 0 {
		return errors.New("a neighbor needs an AS, and one of Addr, Interface and Listen")
	}
	if n.BFD != nil && (n.BFD.Interval < time.Millisecond || n.BFD.Multiplier < 1) {
		return errors.New("BFD needs Interval and Multiplier")
	}
	if !n.IPv4 && !n.IPv6 {
		n.IPv4, n.IPv6 = true, true
	}
	if n.HoldTime == 0 {
		n.HoldTime = defaultHoldTime
	}
	var errs []error
	for feature, used := range map[string]bool{
		"Interface": n.Interface != "", "Listen": n.Listen.IsValid(), "BFD": n.BFD != nil,
		"ExtendedNextHop": n.ExtendedNextHop, "MaximumPrefixes": n.MaximumPrefixes > 0,
		"GracefulRestart": n.GracefulRestart,
	} {
		if used {
			errs = append(errs, kind.supports(feature))
		}
	}
	return errors.Join(errs...)
}

// holdSeconds and keepaliveSeconds are the timers in the configuration of each kind.
func (n Neighbor) holdSeconds() int      { return int(n.HoldTime / time.Second) }
func (n Neighbor) keepaliveSeconds() int { return max(1, n.holdSeconds()/3) }

// announcements returns all that the router announces from the start.
func (c Config) announcements() []Announcement {
	all := slices.Clone(c.Originate)
	for _, p := range Originated(c.OriginateCount) {
		all = append(all, Announcement{Prefix: p})
	}
	return all
}
