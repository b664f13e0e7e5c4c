package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sync/errgroup"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/bfd"
	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/bgp/advertiser"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/svc/bgpstate"
)

// Requests of bgpReports.
var (
	createEvents    = metrics.Request{Verb: "create", Resource: "events"}
	patchNodeStates = metrics.Request{Verb: "patch", Resource: v1alpha1.BGPNodeStatePlural}
)

// bgpReports reports on the BGP sessions of an agent: by metrics, on the page /status, by Events on
// the Node and, with Services, in the BGPNodeState of the node. None of them holds up a session.
type bgpReports struct {
	node     string
	services bool
	log      *slog.Logger
	metrics  *metrics.Set

	read   func() []bgp.Status // nil before attach
	router *apiclient.Router   // nil before connect
	object func() *svc.Node    // nil, or the Node if it is known

	events    *bgpstate.EventRecorder
	publisher *bgpstate.Publisher // nil without Services, whose manifests have the kind and the right
}

// newBGPReports makes the reports of an agent. It starts nothing. observe, attach and connect
// complete them.
func newBGPReports(a *agent) (*bgpReports, error) {
	r := &bgpReports{
		node: a.cfg.NodeName, services: a.cfg.Services, log: a.log, metrics: a.metrics,
	}
	var err error
	r.events, err = bgpstate.NewEventRecorder(bgpstate.EventConfig{
		Node: r.node, Creator: r, Log: r.log,
		OnFailure: func(err error) { r.metrics.APIError(createEvents, errorCode(err)) },
	})
	if err != nil || !r.services {
		return r, err
	}
	r.publisher, err = bgpstate.New(bgpstate.Config{
		Read: r.status, Write: r.write, Log: r.log,
		OnFailure: func(err error) { r.metrics.APIError(patchNodeStates, nodeStateCode(err)) },
	})
	return r, err
}

// nodeStateCode names the failure of a write of a BGPNodeState: NotFound, if the kind or the right
// is missing.
func nodeStateCode(err error) string {
	if errors.Is(err, svc.ErrNodeStateAbsent) {
		return string(metav1.StatusReasonNotFound)
	}
	return errorCode(err)
}

// observe makes an advertiser report to r.
func (r *bgpReports) observe(cfg advertiser.Config) advertiser.Config {
	cfg.OnChange, cfg.OnLate = r.changed, r.metrics.BFDLate
	return cfg
}

// attach makes read the source of what is reported. It must be called before the sessions run.
func (r *bgpReports) attach(read func() []bgp.Status) {
	r.read = read
	r.metrics.BGP(r.sessions)
}

// connect sets how requests are sent. object returns the Node, nil if it is not known; it may be
// nil. It must be called before the sessions run.
func (r *bgpReports) connect(router *apiclient.Router, object func() *svc.Node) {
	r.router, r.object = router, object
}

// run sends what is to be reported until ctx ends. The sessions should have ended before.
func (r *bgpReports) run(ctx context.Context) error {
	var group errgroup.Group
	group.Go(func() error { return r.events.Run(ctx) })
	if r.publisher != nil {
		group.Go(func() error { return r.publisher.Run(ctx) })
	}
	return group.Wait()
}

// status returns the sessions.
func (r *bgpReports) status() []bgp.Status {
	if r.read == nil {
		return nil
	}
	return r.read()
}

// changed receives the begin and the end of each session.
func (r *bgpReports) changed(s bgp.Status) {
	reason := metrics.BGPUp
	if !s.Established() {
		reason = string(s.Code)
	}
	r.metrics.BGPChanged(reason)
	r.events.Changed(s)
	if r.publisher != nil {
		r.publisher.Changed()
	}
}

// sessions returns what the metrics show.
func (r *bgpReports) sessions() []metrics.BGPSession {
	list := r.status()
	sessions := make([]metrics.BGPSession, len(list))
	for i, s := range list {
		sessions[i] = metrics.BGPSession{
			Peer: s.Name, Up: s.Established(), Refused: s.Refused, UpdatesSent: s.UpdatesSent,
			UpdatesIgnored: s.UpdatesIgnored, Routes: map[string]int{
				bgp.IPv4.String(): s.Routes[bgp.IPv4], bgp.IPv6.String(): s.Routes[bgp.IPv6],
			},
		}
		if s.BFD != nil {
			sessions[i].BFD, sessions[i].BFDUp = true, s.BFD.State == bfd.Up
			sessions[i].Detections = s.BFD.Detections
		}
	}
	return sessions
}

// addStatus adds the sessions to the page /status. An agent without peers has no part in BGP,
// unless its control plane is announced by it.
func (r *bgpReports) addStatus(s *status.Agent, byBGP bool) {
	if list := r.status(); byBGP || len(list) > 0 {
		s.BGP = status.NewBGP(list, status.Instant{Boot: boottime.Now(), Wall: time.Now()})
	}
	if byBGP {
		s.BGP.Announcement = s.State
	}
}

var errNotConnected = errors.New("no router to API servers yet")

// CreateEvent implements bgpstate.EventCreator.
func (r *bgpReports) CreateEvent(ctx context.Context, ev *corev1.Event) error {
	if r.router == nil {
		return errNotConnected
	}
	err := r.router.Do(ctx, func(ctx context.Context, server *apiclient.Server) error {
		_, err := server.Core.Events(ev.Namespace).Create(ctx, ev, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("create event: %w", err)
	}
	return nil
}

// write writes the BGPNodeState of this node.
func (r *bgpReports) write(ctx context.Context, now v1alpha1.BGPNodeStateStatus) error {
	if r.router == nil {
		return errNotConnected
	}
	var node *svc.Node
	if r.object != nil {
		node = r.object()
	}
	state := svc.NewNodeState(r.node, node)
	state.Status = now
	return svc.WriteNodeState(ctx, r.router, state)
}
