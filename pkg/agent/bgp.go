package agent

import (
	"context"
	"errors"

	"github.com/kvip/kvip/pkg/anycast"
	"github.com/kvip/kvip/pkg/apiclient"
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

// bgpControlPlane is a control plane whose addresses are announced by BGP.
type bgpControlPlane struct {
	*anycast.Agent
	routes *routes
}

// newBGPControlPlane connects the parts of a control plane by BGP.
func newBGPControlPlane(a *agent) (*bgpControlPlane, error) {
	control, err := anycast.New(anycast.Config{
		Settings: a.cfg, Store: a.credentials.store, Advertiser: a.routes.Advertiser,
		RouterID: a.routes.routerID, Metrics: a.metrics, Health: a.controlHealth, Log: a.log,
	})
	return &bgpControlPlane{control, a.routes}, err
}

// AddStatus adds what the page /status shows of the control plane.
func (c *bgpControlPlane) AddStatus(s *status.Agent) {
	c.Agent.AddStatus(s)
	c.routes.reports.addStatus(s, true)
}

// Run serves the addresses until ctx ends. The sessions end before the addresses go (B4).
func (c *bgpControlPlane) Run(ctx context.Context) error {
	var failed error
	err := c.Agent.Run(ctx, func(ctx context.Context) func() {
		end := c.routes.start(ctx)
		return func() { failed = end() }
	})
	return errors.Join(err, failed)
}
