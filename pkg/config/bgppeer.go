package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"
)

// AS numbers that stand for a relation instead of a number, in BGPPeer.
const (
	ASExternal = "external" // any AS but the own one
	ASInternal = "internal" // the own AS
)

// maxBGPPeers limits the peers of --bgp-peer.
const maxBGPPeers = 32

// BGPPeer is one --bgp-peer: a target, and settings.
type BGPPeer struct {
	// Target is one of the following: an address, Gateway or Interface.
	Address netip.Addr
	// Gateway is "ipv4" or "ipv6": the gateway of the default route of that family.
	Gateway string
	// Interface has the only router on a link as its peer, by its link-local address.
	Interface string
	// Port is the peer's TCP port; 0: 179.
	Port uint16
	// AS is the peer's AS; 0 if ASType is ASExternal or ASInternal.
	AS     uint32
	ASType string
	// PasswordFile has the password of the session (RFC 2385). Empty: none.
	PasswordFile string
	// BFDInterval and BFDMultiplier watch the path; 0: it is not watched.
	BFDInterval   time.Duration
	BFDMultiplier int
	// Multihop is the TTL of packets; 0: the peer is a neighbour.
	Multihop int
	// TTLSecurity sends TTL 255 and requires it (RFC 5082).
	TTLSecurity bool
	// Source is the own address, SourceInterface the interface of the connection. Empty: the route
	// decides.
	Source          netip.Addr
	SourceInterface string
}

// peerGrammar is what --bgp-peer takes.
const peerGrammar = "ADDRESS[:PORT], gateway, gateway=ipv6 or interface=NAME, then settings: " +
	"as=NUMBER|external|internal, password-file=FILE, bfd=INTERVAL/MULTIPLIER, multihop=TTL, " +
	"ttl-security, source=ADDRESS|INTERFACE"

// Target returns what identifies the peer, as it is written in the flag.
func (p BGPPeer) Target() string {
	switch {
	case p.Gateway == "ipv4":
		return "gateway"
	case p.Gateway != "":
		return "gateway=" + p.Gateway
	case p.Interface != "":
		return "interface=" + p.Interface
	case p.Port != 0:
		return netip.AddrPortFrom(p.Address, p.Port).String()
	}
	return p.Address.String()
}

// String returns the peer as the flag takes it.
func (p BGPPeer) String() string {
	parts := []string{p.Target()}
	add := func(set bool, format string, args ...any) {
		if set {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(p.AS != 0, "as=%d", p.AS)
	add(p.ASType != "", "as=%s", p.ASType)
	add(p.PasswordFile != "", "password-file=%s", p.PasswordFile)
	add(p.BFDMultiplier != 0, "bfd=%v/%d", p.BFDInterval, p.BFDMultiplier)
	add(p.Multihop != 0, "multihop=%d", p.Multihop)
	add(p.TTLSecurity, "ttl-security")
	add(p.Source.IsValid(), "source=%v", p.Source)
	add(p.SourceInterface != "", "source=%s", p.SourceInterface)
	return strings.Join(parts, ",")
}

// ParseBGPPeer parses one --bgp-peer.
func ParseBGPPeer(text string) (BGPPeer, error) {
	var p BGPPeer
	target, settings, _ := strings.Cut(text, ",")
	if err := p.setTarget(target); err != nil {
		return BGPPeer{}, err
	}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(settings, ",") {
		if part == "" && settings == "" {
			break
		}
		key, value, _ := strings.Cut(part, "=")
		if seen[key] {
			return BGPPeer{}, fmt.Errorf("%s is given twice", key)
		}
		seen[key] = true
		if err := p.set(key, value); err != nil {
			return BGPPeer{}, err
		}
	}
	switch {
	case !seen["as"]:
		return BGPPeer{}, errors.New(
			"the peer's AS is missing: add as=NUMBER, as=external or as=internal")
	case p.TTLSecurity && p.Multihop != 0:
		return BGPPeer{}, errors.New("ttl-security is for neighbours: remove it, or multihop")
	}
	return p, nil
}

// setTarget parses the first part.
func (p *BGPPeer) setTarget(text string) error {
	key, value, _ := strings.Cut(text, "=")
	switch {
	case text == "gateway", text == "gateway=ipv4":
		p.Gateway = "ipv4"
		return nil
	case text == "gateway=ipv6":
		p.Gateway = "ipv6"
		return nil
	case key == "interface" && validInterfaceName(value):
		p.Interface = value
		return nil
	}
	if ap, err := netip.ParseAddrPort(text); err == nil && ap.Port() != 0 {
		p.Address, p.Port = ap.Addr(), ap.Port()
	} else if a, err := netip.ParseAddr(text); err == nil {
		p.Address = a
	} else {
		return fmt.Errorf("%q is no peer: give %s", text, peerGrammar)
	}
	a := p.Address
	switch {
	case a.IsUnspecified(), a.IsMulticast(), a.Is4In6():
		return fmt.Errorf("%s is not the address of a host", a)
	case a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "":
		return fmt.Errorf("%s is link-local: add its interface, as in %s%%eth0", a, a)
	}
	return nil
}

// set parses one setting.
func (p *BGPPeer) set(key, value string) error {
	switch key {
	case "as":
		return p.setAS(value)
	case "password-file":
		if !path.IsAbs(value) || path.Dir(path.Clean(value)) == "/" {
			return fmt.Errorf("password-file %q is not an absolute path of a file in a directory", value)
		}
		p.PasswordFile = value
	case "bfd":
		return p.setBFD(value)
	case "multihop":
		ttl, err := strconv.Atoi(value)
		if err != nil || ttl < 1 || ttl > 255 {
			return fmt.Errorf("multihop %q is not a TTL: give 1 to 255", value)
		}
		p.Multihop = ttl
	case "ttl-security":
		if value != "" {
			return fmt.Errorf("ttl-security takes no value: the peer is one hop away")
		}
		p.TTLSecurity = true
	case "source":
		if a, err := netip.ParseAddr(value); err == nil {
			p.Source = a
			return nil
		}
		if !validInterfaceName(value) {
			return fmt.Errorf("source %q is neither an address nor an interface", value)
		}
		p.SourceInterface = value
	default:
		return fmt.Errorf("%q is no setting: give %s", key, peerGrammar)
	}
	return nil
}

func (p *BGPPeer) setAS(value string) error {
	if value == ASExternal || value == ASInternal {
		p.ASType = value
		return nil
	}
	as, err := parseAS(value)
	p.AS = as
	return err
}

func (p *BGPPeer) setBFD(value string) error {
	interval, multiplier, ok := strings.Cut(value, "/")
	d, err := time.ParseDuration(interval)
	n, err2 := strconv.Atoi(multiplier)
	if !ok || err != nil || err2 != nil || d < 10*time.Millisecond || d > time.Minute || n < 2 ||
		n > 255 {
		return fmt.Errorf("bfd %q: give an interval of 10ms to 1m and a multiplier of 2 to 255, "+
			"as in bfd=300ms/3", value)
	}
	p.BFDInterval, p.BFDMultiplier = d, n
	return nil
}

// parseAS parses an AS number (RFC 6793), as decimal or as two halves (RFC 5396).
func parseAS(text string) (uint32, error) {
	high, low, dotted := strings.Cut(text, ".")
	if dotted {
		h, err := strconv.ParseUint(high, 10, 16)
		l, err2 := strconv.ParseUint(low, 10, 16)
		if err == nil && err2 == nil && h+l > 0 {
			return uint32(h)<<16 | uint32(l), nil
		}
	} else if n, err := strconv.ParseUint(text, 10, 32); err == nil && n != 0 {
		return uint32(n), nil
	}
	return 0, fmt.Errorf("%q is not an AS number: give 1 to 4294967295", text)
}

// asNumber is the pflag.Value of --bgp-as.
type asNumber uint32

// Set parses the number.
func (n *asNumber) Set(text string) error {
	as, err := parseAS(text)
	*n = asNumber(as)
	return err
}

// String returns the number, "" for none.
func (n *asNumber) String() string {
	if n == nil || *n == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(*n), 10)
}

// Type names the value in help texts.
func (n *asNumber) Type() string { return "number" }

// bgpPeerList is the pflag.Value of --bgp-peer, which is repeated. The first occurrence replaces
// the default.
type bgpPeerList struct {
	list *[]BGPPeer
	set  bool
}

// Set parses one occurrence of the flag.
func (l *bgpPeerList) Set(text string) error {
	p, err := ParseBGPPeer(text)
	if err != nil {
		return err
	}
	if !l.set {
		*l.list = nil
	}
	*l.list, l.set = append(*l.list, p), true
	return nil
}

// String returns all peers.
func (l *bgpPeerList) String() string { return strings.Join(l.Occurrences(), " ") }

// Occurrences returns the values of the flag's occurrences.
func (l *bgpPeerList) Occurrences() []string {
	if l.list == nil {
		return nil
	}
	var all []string
	for _, p := range *l.list {
		all = append(all, p.String())
	}
	return all
}

// Type names the value in help texts.
func (l *bgpPeerList) Type() string { return "peer" }
