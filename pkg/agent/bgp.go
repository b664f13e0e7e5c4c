package agent

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"net/netip"

	"github.com/kvip/kvip/pkg/anycast"
	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/bgp/advertiser"
	"github.com/kvip/kvip/pkg/bgp/policy"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/status"
)

// controlPlane is the part of an agent that serves the addresses of the control plane;
// *controlplane.ControlPlane with an election, *bgpControlPlane without.
type controlPlane interface {
	Run(ctx context.Context) error
	Router() *apiclient.Router
	WithoutAPIServer() bool
	AddStatus(s *status.Agent)
}

// hostnameLabel is the label that every node has (Kubernetes documentation, "Well-Known Labels").
const hostnameLabel = "kubernetes.io/hostname"

// bgpControlPlane is a control plane whose addresses are announced by BGP.
type bgpControlPlane struct {
	*anycast.Agent
	advertiser *advertiser.Advertiser
}

// newBGPControlPlane connects the parts of a control plane by BGP.
func newBGPControlPlane(a *agent) (*bgpControlPlane, error) {
	id, err := routerID(a.cfg)
	if err != nil {
		return nil, err
	}
	speaker, err := advertiser.New(advertiser.Config{
		Node: policy.Node{
			Name: a.cfg.NodeName, Labels: map[string]string{hostnameLabel: a.cfg.NodeName},
		},
		Permit: anycast.Permit(a.controlHealth, boottime.Now), Clock: boottime.Now, Log: a.log,
	})
	if err != nil {
		return nil, err
	}
	control, err := anycast.New(anycast.Config{
		Settings: a.cfg, Store: a.credentials.store, Advertiser: speaker, RouterID: id,
		Metrics: a.metrics, Health: a.controlHealth, Log: a.log,
	})
	return &bgpControlPlane{control, speaker}, err
}

// Run serves the addresses until ctx ends. The sessions end before the addresses go (B4).
func (c *bgpControlPlane) Run(ctx context.Context) error {
	sessions, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- c.advertiser.Run(sessions) }()
	var failed error
	closed := false
	closeSessions := func() {
		if stop(); !closed {
			failed, closed = <-ended, true
		}
	}
	err := c.Agent.Run(ctx, closeSessions)
	closeSessions()
	if err == nil {
		err = failed
	}
	return err
}

// routerID returns the BGP identifier of this node: the one of the configuration, an IPv4 address
// of the link with the default route, one of another link, or a hash of the node's name (RFC 6286
// requires that it is unique in the AS, and nothing else).
func routerID(cfg config.Config) (netip.Addr, error) {
	if cfg.BGPRouterID.IsValid() {
		return cfg.BGPRouterID, nil
	}
	networks, err := link.Networks()
	if err != nil {
		return netip.Addr{}, err
	}
	var found netip.Addr
	for _, n := range networks {
		for _, a := range n.Addresses {
			if a.Is4() && (!found.IsValid() || n.Default) {
				found = a
			}
		}
	}
	if found.IsValid() {
		return found, nil
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(cfg.NodeName)) // it never fails
	var id [4]byte
	binary.BigEndian.PutUint32(id[:], max(1, hash.Sum32()))
	return netip.AddrFrom4(id), nil
}
