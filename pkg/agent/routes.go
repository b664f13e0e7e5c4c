package agent

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"log/slog"
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/anycast"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/bgp/advertiser"
	"github.com/kvip/kvip/pkg/bgp/policy"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/vip"
)

// hostnameLabel is the label that every node has (Kubernetes documentation, "Well-Known Labels").
const hostnameLabel = "kubernetes.io/hostname"

// maxServicesStamp is the age of the last heartbeat of the Services loop at which an agent without
// a control plane by BGP may not send (B6). A reconcile of thousands of Services takes a while.
const maxServicesStamp = 5 * time.Second

// routes is what the parts of an agent announce by BGP, over the sessions that they share.
type routes struct {
	*advertiser.Advertiser
	routerID netip.Addr
	reports  *bgpReports
	log      *slog.Logger
}

// newRoutes makes the sessions of an agent, without peers.
func newRoutes(a *agent) (*routes, error) {
	id, err := routerID(a.cfg)
	if err != nil {
		return nil, err
	}
	permit := anycast.Permit(a.controlHealth, boottime.Now)
	if !a.cfg.ByBGP() {
		loop := a.servicesHealth.Component(servicesLoop)
		permit = func() bool { return boottime.Now()-loop.LastHeartbeat() <= maxServicesStamp }
	}
	reports, err := newBGPReports(a)
	if err != nil {
		return nil, err
	}
	shared, err := advertiser.New(reports.observe(advertiser.Config{
		Node: policy.Node{
			Name: a.cfg.NodeName, Labels: map[string]string{hostnameLabel: a.cfg.NodeName},
		},
		Permit: permit, Restarted: hasRoutedServices(), Clock: boottime.Now, Log: a.log,
	}))
	if err != nil {
		return nil, err
	}
	reports.attach(shared.Status)
	return &routes{shared, id, reports, a.log}, nil
}

// hasRoutedServices reports whether an earlier agent left addresses of Services on the loopback
// interface: its peers may have kept the routes (B9).
func hasRoutedServices() bool {
	lo, err := link.Loopback()
	if err != nil {
		return false
	}
	addresses, err := link.Addresses()
	if err != nil {
		return false
	}
	for _, a := range addresses {
		if a.Index == lo.Index && a.Proto == vip.ServiceProto {
			return true
		}
	}
	return false
}

// start runs the sessions until the result is called, which ends them in order. Calling it again
// does nothing.
func (r *routes) start(ctx context.Context) (end func() error) {
	sessions, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- r.Run(sessions) }()
	var failed error
	closed := false
	return func() error {
		if stop(); !closed {
			failed, closed = <-ended, true
		}
		return failed
	}
}

// deferInterval is how often an agent for Services alone looks for one of the control plane.
const deferInterval = 2 * time.Second

// reasonDeferred is why an agent for Services has no sessions.
const reasonDeferred = "another kvip on this node announces the control plane by BGP, and a " +
	"router has one session with a node: let that one serve Services too (--services)"

// giveWay ends the sessions of Services while locked reports that another agent of this node
// announces the control plane by BGP (B13). Where that is not known, nothing changes.
func (r *routes) giveWay(locked func() (bool, error)) {
	reason := ""
	is, err := locked()
	if err != nil {
		r.log.Debug("cannot look for another kvip with BGP", "err", err)
		return
	}
	if is {
		reason = reasonDeferred
	}
	if err := r.Defer(reason); err != nil {
		r.log.Debug("a peer has no session", "err", err) // SetPeers has returned it
	}
}

// followLock calls giveWay until ctx ends.
func (r *routes) followLock(ctx context.Context) error {
	for backoff.Sleep(ctx, deferInterval) {
		r.giveWay(vip.BGPLocked)
	}
	return nil
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
