// Package static reads the peers that a node has without the Kubernetes API: those of --bgp-peer
// and of the file of --bgp-config, with the files of their passwords. It does not open sessions.
package static

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/bfd"
	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/bgp/objects"
	"github.com/kvip/kvip/pkg/bgp/policy"
	"github.com/kvip/kvip/pkg/config"
)

// Limits of what is read.
const (
	maxFile     = 1 << 20 // bytes of --bgp-config
	maxPassword = 4 << 10 // bytes of a password file
)

// Peers are the peers of a node, and what it announces to them.
type Peers struct {
	Peers          []policy.Peer
	Advertisements []policy.Advertisement
}

// Source reads the peers of a configuration. Make it with New. It is not safe for concurrent use.
type Source struct {
	cfg      config.Config
	routerID netip.Addr
	families []bgp.Family
	maxHold  time.Duration // of a session
	last     Peers
	next     Peers // as read last, which counts when it was read twice
}

// New returns a Source. routerID is the BGP identifier of this node. It reads nothing.
func New(cfg config.Config, routerID netip.Addr) *Source {
	s := &Source{cfg: cfg, routerID: routerID, maxHold: config.MaxBGPHoldTime}
	if cfg.Services { // they share the sessions
		s.families = []bgp.Family{bgp.IPv4, bgp.IPv6}
		s.maxHold = objects.MaxServicesHoldTime
		return s
	}
	for _, f := range []bgp.Family{bgp.IPv4, bgp.IPv6} {
		for _, v := range cfg.VIPs {
			if bgp.FamilyOf(v) == f {
				s.families = append(s.families, f)
			}
		}
	}
	return s
}

// HoldTime returns the longest hold time of the peers that were read last: for that long a router
// may use the route of a silent node.
func (s *Source) HoldTime() time.Duration {
	longest := s.cfg.BGPHoldTime
	for _, p := range s.last.Peers {
		longest = max(longest, p.HoldTime)
	}
	return longest
}

// Read reads the files. changed reports whether p differs from that of the last call. A change
// counts when two calls in a row have read the same: a file may be read while it is written. An
// error means that the file of --bgp-config is not valid as a whole: the last result stands.
func (s *Source) Read() (p Peers, changed bool, err error) {
	read, err := s.read()
	if err != nil {
		return s.last, false, err
	}
	first := len(s.last.Advertisements) == 0
	settled := first || reflect.DeepEqual(read, s.next)
	s.next = read
	if !settled || reflect.DeepEqual(read, s.last) {
		return s.last, false, nil
	}
	s.last = read
	return read, true, nil
}

// read reads the files once. The result has an advertisement at least.
func (s *Source) read() (p Peers, err error) {
	for _, flag := range s.cfg.BGPPeers {
		peer, err := s.fromFlag(flag)
		if err != nil {
			return p, err
		}
		p.Peers = append(p.Peers, peer)
	}
	if s.cfg.BGPConfig != "" {
		if err := s.addFile(&p); err != nil {
			return p, err
		}
	}
	if len(p.Advertisements) == 0 {
		p.Advertisements = []policy.Advertisement{{Name: "control plane"}}
	}
	return p, nil
}

// fromFlag converts a --bgp-peer. The password file is read each time.
func (s *Source) fromFlag(flag config.BGPPeer) (policy.Peer, error) {
	cfg := bgp.PeerConfig{
		Name: flag.Target(), LocalAS: s.cfg.BGPAS, PeerAS: flag.AS, RouterID: s.routerID,
		Address: flag.Address, Port: flag.Port, HoldTime: min(s.cfg.BGPHoldTime, s.maxHold),
		Source: flag.Source, SourceInterface: flag.SourceInterface, TTLSecurity: flag.TTLSecurity,
		Multihop: uint8(flag.Multihop), Families: s.families,
	}
	switch {
	case flag.Interface != "":
		cfg.Discover = bgp.Discovery{Interface: flag.Interface}
		cfg.SourceInterface = flag.Interface
	case flag.Gateway == "ipv6":
		cfg.Discover = bgp.Discovery{Gateway: true, Family: bgp.IPv6}
	case flag.Gateway != "":
		cfg.Discover = bgp.Discovery{Gateway: true, Family: bgp.IPv4}
	}
	switch flag.ASType {
	case config.ASExternal:
		cfg.Type = bgp.External
	case config.ASInternal:
		cfg.Type = bgp.Internal
	}
	if flag.BFDMultiplier > 0 {
		cfg.BFD = &bgp.BFDConfig{Timers: bfd.Timers{
			TransmitInterval: flag.BFDInterval, ReceiveInterval: flag.BFDInterval,
			Multiplier: flag.BFDMultiplier,
		}}
	}
	if flag.PasswordFile != "" {
		var err error
		if cfg.Password, err = ReadPassword(flag.PasswordFile); err != nil {
			cfg.Unusable = fmt.Sprintf("no session without its password: %v", err)
		}
	}
	if err := cfg.Validate(); err != nil {
		return policy.Peer{}, fmt.Errorf("--bgp-peer: %w", err)
	}
	return policy.Peer{PeerConfig: cfg}, nil
}

// ReadPassword reads a password: the content of a file without the line end. It refuses a file that
// every user can read.
func ReadPassword(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("%s is accessible to every user: set its mode to 0600", path)
	}
	data, err := readLimited(path, maxPassword)
	if err != nil {
		return "", err
	}
	password := strings.TrimRight(string(data), "\r\n")
	switch {
	case password == "":
		return "", fmt.Errorf("%s is empty", path)
	case len(password) > bgp.MaxPassword:
		return "", fmt.Errorf("the password in %s has more than %d bytes", path, bgp.MaxPassword)
	}
	return password, nil
}

// readLimited reads a file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, err
}

// addFile adds what the file of --bgp-config has.
func (s *Source) addFile(p *Peers) error {
	path := s.cfg.BGPConfig
	data, err := readLimited(path, maxFile)
	if err != nil {
		return fmt.Errorf("read --bgp-config: %w", err)
	}
	file, err := parse(data)
	if err == nil {
		err = file.add(p, s.environment(file), s.families)
	}
	if err != nil {
		return fmt.Errorf("read --bgp-config %s: %w", path, err)
	}
	return nil
}

// environment returns what the objects of a file refer to.
func (s *Source) environment(f file) objects.Environment {
	return objects.Environment{
		RouterID: s.routerID, Profiles: f.profiles, MaxHoldTime: s.maxHold, Password: f.noSecret,
	}
}

// file is the content of --bgp-config.
type file struct {
	peers    []v1alpha1.BGPPeer
	profiles map[string]v1alpha1.BFDProfile
	ads      []v1alpha1.BGPAdvertisement
}

// parse reads YAML documents. Unknown kinds and fields are errors.
func parse(data []byte) (file, error) {
	f := file{profiles: map[string]v1alpha1.BFDProfile{}}
	for i, document := range bytes.Split(data, []byte("\n---")) {
		var head struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal(document, &head); err != nil {
			return f, fmt.Errorf("document %d: %w", i+1, err)
		}
		var err error
		switch {
		case head.Kind == "" && head.APIVersion == "": // empty, or comments alone
			continue
		case head.APIVersion != v1alpha1.Group+"/"+v1alpha1.Version:
			err = fmt.Errorf("apiVersion %q: want %s/%s", head.APIVersion, v1alpha1.Group,
				v1alpha1.Version)
		case head.Kind == v1alpha1.BGPPeerKind:
			var one v1alpha1.BGPPeer
			err = yaml.UnmarshalStrict(document, &one)
			f.peers = append(f.peers, one)
		case head.Kind == v1alpha1.BFDProfileKind:
			var one v1alpha1.BFDProfile
			err = yaml.UnmarshalStrict(document, &one)
			f.profiles[one.Name] = one
		case head.Kind == v1alpha1.BGPAdvertisementKind:
			var one v1alpha1.BGPAdvertisement
			err = yaml.UnmarshalStrict(document, &one)
			f.ads = append(f.ads, one)
		default:
			err = fmt.Errorf("kind %q: want %s, %s or %s", head.Kind, v1alpha1.BGPPeerKind,
				v1alpha1.BFDProfileKind, v1alpha1.BGPAdvertisementKind)
		}
		if err != nil {
			return f, fmt.Errorf("document %d: %w", i+1, err)
		}
	}
	return f, nil
}

// noSecret refuses references to Secrets: a static pod starts before there is an API.
func (f file) noSecret(ref v1alpha1.SecretReference) (string, error) {
	return "", fmt.Errorf("a file cannot refer to Secret %s: give the peer by --bgp-peer with "+
		"password-file", ref.Name)
}

// add converts the objects.
func (f file) add(p *Peers, env objects.Environment, families []bgp.Family) error {
	var errs []error
	for _, obj := range f.peers {
		peers, err := objects.Peers(obj, env)
		errs = append(errs, err)
		for _, peer := range peers {
			peer.GracefulRestart = 0 // never for the control plane (B9)
			if len(peer.Families) == 0 {
				peer.Families = families
			}
			p.Peers = append(p.Peers, peer)
		}
	}
	for _, obj := range f.ads {
		ad, err := objects.Advertisement(obj)
		if err == nil && len(ad.Pools)+len(ad.PoolSelectors)+len(ad.Services) > 0 {
			err = fmt.Errorf("BGPAdvertisement %s: pools and Services have no meaning for the "+
				"addresses of the control plane: remove their selectors", obj.Name)
		}
		errs = append(errs, err)
		p.Advertisements = append(p.Advertisements, ad)
	}
	return errors.Join(errs...)
}
