package objects

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/bfd"
	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/bgp/policy"
)

// gracefulRestart is how long a peer keeps routes without a session, where that is enabled (B9).
const gracefulRestart = bgp.MaxGracefulRestart

// MaxServicesHoldTime limits the hold time of sessions that carry routes of Services: an address of
// Services lives for longer than this after its last refresh (S8).
const MaxServicesHoldTime = 50 * time.Second

// Environment is what objects refer to.
type Environment struct {
	// RouterID is the BGP identifier of this node, where a peer has none of its own.
	RouterID netip.Addr
	// Profiles are the BFDProfiles by name.
	Profiles map[string]v1alpha1.BFDProfile
	// MaxHoldTime limits the hold times that are offered, which an address must outlive (B7): the
	// peer takes the lower one. 0: no limit.
	MaxHoldTime time.Duration
	// Password returns the password in a Secret. Nil: there are no Secrets.
	Password func(v1alpha1.SecretReference) (string, error)
}

// Peers converts a peer: one session, or one for each family whose default gateway it is. An error
// means that the object is not valid. A password or a profile that is missing is not an error of
// the object: the peer has no session until it is there (B12).
func Peers(obj v1alpha1.BGPPeer, env Environment) ([]policy.Peer, error) {
	spec := obj.Spec
	cfg := bgp.PeerConfig{
		Name: obj.Name, LocalAS: uint32(spec.MyASN), PeerAS: uint32(spec.PeerASN),
		RouterID: env.RouterID, Port: uint16(spec.PeerPort), TTLSecurity: spec.TTLSecurity,
		SourceInterface: string(spec.Interface), MaximumPrefixes: int(spec.MaximumPrefixes),
	}
	nodes, err := Selectors(spec.NodeSelectors)
	if err == nil {
		err = errors.Join(setAddresses(&cfg, spec), setTimes(&cfg, spec), setType(&cfg, spec))
	}
	if err != nil {
		return nil, fmt.Errorf("BGPPeer %s: %w", obj.Name, err)
	}
	if spec.EBGPMultiHop {
		cfg.Multihop = 255
	}
	if spec.EnableGracefulRestart {
		cfg.GracefulRestart = gracefulRestart
	}
	if spec.DualStackAddressFamily || spec.Interface != "" {
		cfg.Families = []bgp.Family{bgp.IPv4, bgp.IPv6}
	}
	if env.MaxHoldTime > 0 {
		cfg.HoldTime = min(cmp.Or(cfg.HoldTime, bgp.DefaultHoldTime), env.MaxHoldTime)
		cfg.Keepalive = min(cfg.Keepalive, cfg.HoldTime/3)
	}
	setBFD(&cfg, spec, env)
	setPassword(&cfg, spec, env)
	var list []policy.Peer
	for _, one := range sessions(cfg, spec) {
		if err := one.Validate(); err != nil {
			return nil, err
		}
		list = append(list, policy.Peer{PeerConfig: one, Object: obj.Name, Nodes: nodes})
	}
	return list, nil
}

// sessions returns the sessions of a peer.
func sessions(cfg bgp.PeerConfig, spec v1alpha1.BGPPeerSpec) []bgp.PeerConfig {
	switch {
	case spec.AutoDiscovery != "":
		ipv4, ipv6 := cfg, cfg
		ipv4.Name, ipv6.Name = cfg.Name+"/ipv4", cfg.Name+"/ipv6"
		ipv4.Discover = bgp.Discovery{Gateway: true, Family: bgp.IPv4}
		ipv6.Discover = bgp.Discovery{Gateway: true, Family: bgp.IPv6}
		return []bgp.PeerConfig{ipv4, ipv6}
	case spec.Interface != "":
		cfg.Discover = bgp.Discovery{Interface: string(spec.Interface)}
	}
	return []bgp.PeerConfig{cfg}
}

func setAddresses(cfg *bgp.PeerConfig, spec v1alpha1.BGPPeerSpec) error {
	set := 0
	for _, is := range []bool{spec.PeerAddress != "", spec.Interface != "",
		spec.AutoDiscovery != ""} {
		if is {
			set++
		}
	}
	if set != 1 {
		return errors.New("set one of peerAddress, interface and autoDiscovery")
	}
	if d := spec.AutoDiscovery; d != "" && d != v1alpha1.DefaultGateway {
		return fmt.Errorf("autoDiscovery %q is unknown: set %s", d, v1alpha1.DefaultGateway)
	}
	hops := v1alpha1.NextHops{}
	if spec.NextHops != nil {
		hops = *spec.NextHops
	}
	var errs []error
	for _, field := range []struct {
		name, text string
		into       *netip.Addr
	}{
		{"peerAddress", string(spec.PeerAddress), &cfg.Address},
		{"sourceAddress", string(spec.SourceAddress), &cfg.Source},
		{"routerID", spec.RouterID, &cfg.RouterID},
		{"nextHops.ipv4", hops.IPv4, &cfg.NextHops[bgp.IPv4]},
		{"nextHops.ipv6", hops.IPv6, &cfg.NextHops[bgp.IPv6]},
	} {
		if field.text == "" {
			continue
		}
		a, err := netip.ParseAddr(field.text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q is not an IP address", field.name, field.text))
			continue
		}
		*field.into = a.Unmap()
	}
	return errors.Join(errs...)
}

func setTimes(cfg *bgp.PeerConfig, spec v1alpha1.BGPPeerSpec) error {
	if spec.HoldTime != nil {
		cfg.HoldTime = spec.HoldTime.Duration
		if cfg.HoldTime == 0 {
			return errors.New("holdTime 0 would keep the routes of a dead node: set at least 3s")
		}
	}
	if spec.KeepaliveTime != nil {
		cfg.Keepalive = spec.KeepaliveTime.Duration
	}
	if spec.ConnectTime != nil {
		cfg.MaxRetry = spec.ConnectTime.Duration
	}
	return nil
}

func setType(cfg *bgp.PeerConfig, spec v1alpha1.BGPPeerSpec) error {
	switch spec.DynamicASN {
	case "":
	case v1alpha1.InternalASN:
		cfg.Type = bgp.Internal
	case v1alpha1.ExternalASN:
		cfg.Type = bgp.External
	default:
		return fmt.Errorf("dynamicASN %q is unknown: set internal or external", spec.DynamicASN)
	}
	if (spec.DynamicASN == "") == (spec.PeerASN == 0) {
		return errors.New("set one of peerASN and dynamicASN")
	}
	return nil
}

// setBFD sets the timers of the peer's profile.
func setBFD(cfg *bgp.PeerConfig, spec v1alpha1.BGPPeerSpec, env Environment) {
	if spec.BFDProfile == "" {
		return
	}
	profile, ok := env.Profiles[string(spec.BFDProfile)]
	if !ok {
		cfg.Unusable = fmt.Sprintf("there is no BFDProfile %s", spec.BFDProfile)
		return
	}
	const unit = time.Millisecond
	cfg.BFD = &bgp.BFDConfig{
		Timers: bfd.Timers{
			TransmitInterval: time.Duration(profile.Spec.TransmitInterval) * unit,
			ReceiveInterval:  time.Duration(profile.Spec.ReceiveInterval) * unit,
			Multiplier:       int(profile.Spec.DetectMultiplier),
		},
		MinTTL: int(profile.Spec.MinimumTTL),
	}
}

// setPassword sets the password of the peer's Secret, or why there must be no session (B12).
func setPassword(cfg *bgp.PeerConfig, spec v1alpha1.BGPPeerSpec, env Environment) {
	if spec.PasswordSecret == nil {
		return
	}
	err := errors.New("no access to Secrets")
	if env.Password != nil {
		cfg.Password, err = env.Password(*spec.PasswordSecret)
	}
	switch {
	case err != nil:
		cfg.Unusable = fmt.Sprintf("no session without its password: %v", err)
	case cfg.Password == "":
		cfg.Unusable = "no session without its password: the one in the Secret is empty"
	}
}
