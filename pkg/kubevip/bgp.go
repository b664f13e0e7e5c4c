package kubevip

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/config"
)

// Values of kube-vip for BGP.
const (
	// DefaultAS is the AS number of the nodes, and that of a peer in bgp_peeraddress.
	DefaultAS = 65000
	// bgpHoldTime is kube-vip's hold time. kvip keeps it only if it is written.
	bgpHoldTime = 30 * time.Second
	bgpPort     = 179
)

// The next hops of kube-vip. With the others the nodes announce their own addresses, as kvip does.
const (
	nextHopFixed    = "fixed"
	nextHopSourceIP = "auto_sourceip"
	nextHopSourceIF = "auto_sourceif"
)

// BGP are the settings of BGP in kvip's terms.
type BGP struct {
	// AS is the AS number of the nodes.
	AS uint32
	// RouterID is the BGP identifier of the node. Invalid: kvip's default.
	RouterID netip.Addr
	// HoldTime is within kvip's bounds; 0: kvip's default.
	HoldTime time.Duration
	// Peers are the routers, at least one.
	Peers []BGPPeer
	// DualStack reports that mpbgp_nexthop asks for both address families in each session.
	DualStack bool

	single          BGPPeer // bgp_peeraddress and its settings
	source          netip.Addr
	sourceInterface string
	keepalive       time.Duration
	mode            string
	hops            [2]string
	hasPassword     bool
}

// BGPPeer is a router.
type BGPPeer struct {
	// BGPPeer is the peer as --bgp-peer has it. With a password it has a PasswordFile, to which the
	// user writes the password.
	config.BGPPeer
	// NextHops are fixed next hops of IPv4 and of IPv6 routes. Invalid: the node's own address.
	NextHops [2]netip.Addr

	mode         string
	hops         [2]string
	twoIntervals bool
}

// HasNextHops reports whether a peer has a fixed next hop, which --bgp-peer cannot have.
func (p BGPPeer) HasNextHops() bool { return p.NextHops[0].IsValid() || p.NextHops[1].IsValid() }

// byBGP reports whether kube-vip announces by BGP. It prefers ARP if both are on.
func (p *parser) byBGP() bool { return p.isTrue("bgp_enable") && !p.isTrue("vip_arp") }

// finishBGP makes the peers of the settings, and refuses an election.
func (p *parser) finishBGP() error {
	const noLeader = "BGP has no leader, every node with a ready API server announces the address; " +
		"set it to \"false\", or keep kube-vip if one node alone may announce"
	b := p.BGP
	if p.isTrue("vip_leaderelection") {
		return invalid("vip_leaderelection", noLeader)
	}
	if p.Services && p.isTrue("svc_election") {
		return invalid("svc_election", noLeader)
	}
	if b.single.Address.IsValid() {
		b.single.AS = cmp.Or(b.single.AS, DefaultAS)
		if b.hasPassword {
			_ = b.single.setPassword("")
		}
		b.Peers = append(b.Peers, b.single)
	}
	switch {
	case len(b.Peers) == 0:
		return invalid("bgp_peers", "there is no router to announce to; write ADDRESS:AS")
	case b.source.IsValid() && b.sourceInterface != "":
		return invalid("bgp_sourceip", "bgp_sourceif is set, too; remove one of them")
	case b.keepalive != 0 && b.keepalive != cmp.Or(b.HoldTime, bgpHoldTime)/3:
		p.note("bgp_keepalive_interval", "kvip sends a keepalive each third of the hold time")
	}
	for i := range b.Peers {
		if err := p.finishPeer(&b.Peers[i]); err != nil {
			return err
		}
	}
	if p.Interface != "" && p.Interface != "lo" {
		p.note("vip_interface", "the address is on the loopback link of each node that announces it")
	}
	p.Interface = ""
	return nil
}

// finishPeer applies what all peers share, and checks the peer as --bgp-peer is checked.
func (p *parser) finishPeer(peer *BGPPeer) error {
	b := p.BGP
	switch own := peer.Address; {
	case peer.Interface != "": // its link decides
	case b.source.IsValid() && b.source.Is4() != own.Is4():
		p.note("bgp_sourceip", "is not used for the peer %s, which has the other address family", own)
	default:
		peer.Source, peer.SourceInterface = b.source, b.sourceInterface
	}
	if err := p.setNextHops(peer); err != nil {
		return err
	}
	if _, err := config.ParseBGPPeer(peer.String()); err != nil {
		return invalid("bgp_peers", "peer "+peer.Target()+": "+err.Error())
	}
	name := peer.Target()
	if peer.Port != 0 {
		p.note("bgp_peers", "kvip connects to port %d of %s; kube-vip ignores it and connects to %d",
			peer.Port, peer.Address, bgpPort)
	}
	if peer.ASType != "" {
		p.note("bgp_peers", "%s has no AS number: kvip accepts each but its own", name)
	}
	if peer.PasswordFile != "" && p.ControlPlane {
		p.note("bgp_peers", "write the password of %s to %s on each node, readable by root only; "+
			"without the file there is no session", name, peer.PasswordFile)
	}
	if peer.BFDMultiplier == 0 {
		return nil
	}
	p.note("bgp_peers", "BFD with %s has an interval of %s; kube-vip passes it as microseconds",
		name, peer.BFDInterval)
	if peer.twoIntervals {
		p.note("bgp_peers", "BFD with %s has one interval both ways: the longer one", name)
	}
	return nil
}

// setNextHops sets fixed next hops. A peer's own settings precede those of all peers.
func (p *parser) setNextHops(peer *BGPPeer) error {
	b := p.BGP
	switch mode := cmp.Or(peer.mode, b.mode); mode {
	case "":
		return nil
	case nextHopSourceIP, nextHopSourceIF:
		b.DualStack = true
		return nil
	case nextHopFixed:
		b.DualStack = true
	default:
		return invalid("mpbgp_nexthop", fmt.Sprintf("the mode is unknown; write %s, %s or %s",
			nextHopSourceIP, nextHopSourceIF, nextHopFixed))
	}
	for i, name := range []string{"mpbgp_ipv4", "mpbgp_ipv6"} {
		text := cmp.Or(peer.hops[i], b.hops[i])
		if text == "" {
			continue
		}
		hop, err := netip.ParseAddr(text)
		if err != nil || hop.Is4() != (i == 0) || hop.Zone() != "" || !hop.IsGlobalUnicast() {
			return invalid(name, "it is not an address of this family that a router can reach")
		}
		peer.NextHops[i] = hop
	}
	switch {
	case !peer.HasNextHops():
		return invalid("mpbgp_nexthop", "it is fixed, and neither mpbgp_ipv4 nor mpbgp_ipv6 is set")
	case peer.PasswordFile != "":
		return invalid("mpbgp_nexthop", "a peer with a fixed next hop is in a file for --bgp-config, "+
			"which has no passwords; use "+nextHopSourceIP+", or remove the password")
	}
	return nil
}

// checkAlone refuses what needs a file or an object beside the agent's arguments.
func (p *parser) checkAlone() error {
	if p.BGP == nil {
		return nil
	}
	const translate = "; translate the manifest with `kvip migrate`"
	for _, peer := range p.BGP.Peers {
		switch {
		case peer.PasswordFile != "":
			return invalid("bgp_peers", "kvip reads the password of "+peer.Target()+
				" from a file only"+translate)
		case peer.HasNextHops():
			return invalid("mpbgp_nexthop", "kvip reads fixed next hops from a BGPPeer only"+translate)
		}
	}
	if p.Services {
		return invalid("svc_enable", "kvip announces addresses of Services to the routers of BGPPeers, "+
			"which are objects of the cluster"+translate)
	}
	return nil
}

// checkBGP makes the settings of BGP, unless kube-vip prefers ARP.
func checkBGP(p *parser, value string) error {
	if err := checkBool(p, value); err != nil {
		return err
	}
	switch {
	case p.byBGP():
		p.BGP = &BGP{AS: DefaultAS}
	case p.isTrue("bgp_enable"):
		p.note("bgp_enable", "vip_arp is on, too: kube-vip announces by ARP then, and so does kvip")
	}
	return nil
}

// setHealthURL sets the URL that is polled. kvip detects the API server of its node by itself.
func setHealthURL(p *parser, value string) error {
	if !p.byBGP() {
		p.note("control_plane_health_check_address", "%s; kube-vip reads it with BGP only", noDetection)
		return nil
	}
	u, err := url.Parse(value)
	if err != nil {
		return errors.New("it is not a URL")
	}
	own := slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, u.Hostname()) &&
		u.Port() == fmt.Sprint(p.Port) &&
		slices.Contains([]string{"/livez", "/readyz", "/healthz"}, u.Path)
	if !own {
		p.HealthURL = value
	}
	return nil
}
