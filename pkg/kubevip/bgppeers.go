package kubevip

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/config"
)

// multihopTTL is kube-vip's TTL for a peer that is several hops away.
const multihopTTL = 50

// passwordDirectory has the files with passwords of peers.
const passwordDirectory = "/etc/kvip/bgp/"

// peerUnnumbered precedes an interface in the place of a peer's address.
const peerUnnumbered = "unnumbered:"

// The fields of a peer after its address or interface, separated by colons.
const (
	fieldAS = iota
	fieldPassword
	fieldMultihop
	fieldPort
	fieldNextHops
	fieldBFD
	peerFields
)

// fieldNames are the fields in messages. No message quotes a field: a password with a comma or a
// colon moves into any of them.
var fieldNames = [peerFields]string{"AS number", "password", "multihop", "port", "next hops", "BFD"}

// parsePeers parses bgp_peers, a list separated by commas, like kube-vip v1.2; the form with the
// next hops after a slash is that of v0.8.
func parsePeers(list string) (peers []BGPPeer, err error) {
	number := 0
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		number++
		p, err := parsePeer(text)
		if err != nil {
			return nil, fmt.Errorf("peer %d: %w; write ADDRESS:AS:PASSWORD:MULTIHOP:PORT:NEXTHOPS:BFD, "+
				"or unnumbered:INTERFACE in the place of ADDRESS", number, err)
		}
		peers = append(peers, p)
	}
	return peers, nil
}

// parsePeer parses one peer.
func parsePeer(text string) (p BGPPeer, err error) {
	text, hops, old := strings.Cut(text, "/mpbgp_")
	fields, err := p.setTarget(text)
	if err != nil {
		return p, err
	}
	if old {
		for len(fields) <= fieldNextHops {
			fields = append(fields, "")
		}
		fields[fieldNextHops] = "mpbgp_" + hops
	}
	if len(fields) > peerFields {
		return p, fmt.Errorf("it has more than %d fields", peerFields+1)
	}
	for i, set := range [peerFields]func(string) error{
		p.setAS, p.setPassword, p.setMultihop, p.setPort, p.setNextHops, p.setBFD,
	} {
		if i >= len(fields) || fields[i] == "" {
			continue
		}
		if err := set(fields[i]); err != nil {
			return p, fmt.Errorf("its %s %w", fieldNames[i], err)
		}
	}
	switch {
	case p.AS != 0:
	case p.Interface == "":
		return p, fmt.Errorf("its AS number is missing")
	default:
		p.ASType = config.ASExternal
	}
	return p, nil
}

// setTarget parses the address or the interface, and returns the fields after it.
func (p *BGPPeer) setTarget(text string) (fields []string, err error) {
	address := text
	if rest, found := strings.CutPrefix(text, peerUnnumbered); found {
		fields = strings.Split(rest, ":")
		p.Interface = fields[0]
		if !isInterface(p.Interface) {
			return nil, fmt.Errorf("its first field does not name an interface")
		}
		return fields[1:], nil
	}
	if rest, found := strings.CutPrefix(text, "["); found {
		if address, text, found = strings.Cut(rest, "]"); !found {
			return nil, fmt.Errorf("its IPv6 address has no ] at its end")
		}
		_, text, _ = strings.Cut(text, ":")
	} else {
		address, text, _ = strings.Cut(text, ":")
	}
	if p.Address, err = netip.ParseAddr(address); err != nil {
		return nil, fmt.Errorf("its first field is not an IP address")
	}
	return strings.Split(text, ":"), nil
}

func (p *BGPPeer) setAS(text string) error {
	as, err := parseAS(text)
	p.AS = as
	return err
}

// setPassword keeps the file that will have the password, and not the password.
func (p *BGPPeer) setPassword(string) error {
	name := p.Interface
	if p.Address.IsValid() {
		name = strings.NewReplacer(":", "-", "%", "-").Replace(p.Address.String())
	}
	p.PasswordFile = passwordDirectory + name + ".password"
	return nil
}

func (p *BGPPeer) setMultihop(text string) error {
	on, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("is neither true nor false")
	}
	if on {
		p.Multihop = multihopTTL
	}
	return nil
}

// setPort sets a port other than that of BGP.
func (p *BGPPeer) setPort(text string) error {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return fmt.Errorf("is not a number from 0 to 65535")
	}
	if p.Address.IsValid() && port != bgpPort {
		p.Port = uint16(port)
	}
	return nil
}

// setNextHops parses pairs of a name and a value, separated by semicolons.
func (p *BGPPeer) setNextHops(text string) error {
	for pair := range strings.SplitSeq(text, ";") {
		name, value, found := strings.Cut(pair, "=")
		switch {
		case !found:
			return fmt.Errorf("have a name without a value")
		case name == "mpbgp_nexthop":
			p.mode = value
		case name == "mpbgp_ipv4":
			p.hops[0] = value
		case name == "mpbgp_ipv6":
			p.hops[1] = value
		default:
			return fmt.Errorf("are not mpbgp_nexthop, mpbgp_ipv4 and mpbgp_ipv6")
		}
	}
	return nil
}

// setBFD parses whether BFD is on, the intervals of receiving and sending in milliseconds, and the
// multiplier. kvip has one interval, the longer of the two.
func (p *BGPPeer) setBFD(text string) error {
	parts := strings.Split(text, ";")
	if len(parts) < 4 {
		return fmt.Errorf("does not have four parts: true;300;300;3")
	}
	on, err := strconv.ParseBool(parts[0])
	if err != nil {
		return fmt.Errorf("is neither true nor false")
	}
	numbers := [3]uint64{300, 300, 3}
	for i, part := range parts[1:4] {
		if part == "" {
			continue
		}
		if numbers[i], err = strconv.ParseUint(part, 10, 32); err != nil {
			return fmt.Errorf("has a part that is not a number")
		}
	}
	if !on {
		return nil
	}
	interval := max(numbers[0], numbers[1])
	if interval < 10 || interval > 60_000 || numbers[2] < 2 || numbers[2] > 255 {
		return fmt.Errorf("is out of range: intervals are 10 to 60000 milliseconds, and the " +
			"multiplier is 2 to 255")
	}
	p.BFDInterval = time.Duration(interval) * time.Millisecond
	p.BFDMultiplier = int(numbers[2])
	p.twoIntervals = numbers[0] != numbers[1]
	return nil
}

// parseAS parses an AS number.
func parseAS(text string) (uint32, error) {
	as, err := strconv.ParseUint(text, 10, 32)
	if err != nil || as == 0 {
		return 0, fmt.Errorf("is not a number from 1 to 4294967295")
	}
	return uint32(as), nil
}
