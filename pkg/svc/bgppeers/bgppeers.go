// Package bgppeers passes the peers and advertisements of the API to the BGP sessions of a node. It
// does not judge the objects for their owners: the allocator writes their conditions.
package bgppeers

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/bgp/advertiser"
	"github.com/kvip/kvip/pkg/bgp/objects"
	"github.com/kvip/kvip/pkg/bgp/policy"
	"github.com/kvip/kvip/pkg/required"
	"github.com/kvip/kvip/pkg/svc"
)

// Routes has the sessions; *advertiser.Advertiser.
type Routes interface {
	SetPeers(s advertiser.Source, peers []policy.Peer, ads []policy.Advertisement) error
	SetLabels(labels map[string]string) error
}

// Config of a Follower.
type Config struct {
	// Node is the name of this node, RouterID its BGP identifier. Both are required.
	Node     string
	RouterID netip.Addr
	// Cache has the objects. Required.
	Cache *svc.Cache
	// Routes receives them. Required.
	Routes Routes
	// Log may be nil: it discards.
	Log *slog.Logger
}

// Follower follows the objects. Make it with New.
type Follower struct {
	cfg     Config
	changes uint64 // of the cache, at the last pass
	passed  bool
	problem string // that was logged last
}

// New returns a Follower. It does nothing before Run.
func New(cfg Config) (*Follower, error) {
	if err := required.Fields("BGP peers", map[string]bool{
		"Node": cfg.Node == "", "RouterID": !cfg.RouterID.IsValid(), "Cache": cfg.Cache == nil,
		"Routes": cfg.Routes == nil,
	}); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Follower{cfg: cfg}, nil
}

// batchTime is how long changes are collected.
const batchTime = 100 * time.Millisecond

// Run passes the objects on whenever they change, until ctx ends.
func (f *Follower) Run(ctx context.Context) error {
	changed := f.cfg.Cache.Subscribe()
	for {
		f.pass()
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			if !backoff.Sleep(ctx, batchTime) {
				return nil
			}
		}
	}
}

// pass passes on what there is. Without a complete list, as before the first one, the sessions stay
// as they are (B13).
func (f *Follower) pass() {
	now := f.cfg.Cache.Changes()
	have := f.cfg.Cache.BGP()
	if !have.Synced || f.passed && now == f.changes {
		return
	}
	f.changes, f.passed = now, true
	var errs []error
	if node := f.cfg.Cache.Node(f.cfg.Node); node != nil {
		errs = append(errs, f.cfg.Routes.SetLabels(node.Labels))
	}
	peers, ads, invalid := convert(have, f.cfg.RouterID)
	errs = append(errs, invalid, f.cfg.Routes.SetPeers(advertiser.Services, peers, ads))
	f.report(errors.Join(errs...))
}

// convert converts valid objects. An invalid one does not hold up the others.
func convert(have svc.BGP, routerID netip.Addr) (peers []policy.Peer, ads []policy.Advertisement,
	err error) {
	var errs []error
	env := objects.Environment{
		RouterID: routerID, Profiles: have.Profiles, MaxHoldTime: objects.MaxServicesHoldTime,
		Password: func(ref v1alpha1.SecretReference) (string, error) {
			return have.Password(ref)
		},
	}
	for _, obj := range have.Peers {
		list, err := objects.Peers(obj, env)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		peers = append(peers, list...)
	}
	for _, obj := range have.Advertisements {
		ad, err := objects.Advertisement(obj)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ads = append(ads, ad)
	}
	return peers, ads, errors.Join(errs...)
}

// report logs what is wrong, once.
func (f *Follower) report(err error) {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if problem != "" && problem != f.problem {
		f.cfg.Log.Warn("cannot use BGP objects; the others take effect", "node", f.cfg.Node, "err", err)
	}
	f.problem = problem
}
