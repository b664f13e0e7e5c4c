package bgpbench

import (
	"context"
	"errors"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/test/lab/bgplab"
	"github.com/kvip/kvip/test/lab/cluster"
)

// fault is one way in which a node or a router fails, or leaves.
type fault struct {
	key  string // for files and filters
	name string // for people
	// targets limit what outage means.
	targets targets
	// lossless means that no client may lose a packet or a request.
	lossless bool
	// outage is what of a result the targets limit. Nil: the longest gap of clients.
	outage func(result) time.Duration
	// gone limits the time until the routers' route is gone; none: no limit.
	gone targets
	// requests means that clients of the API servers notice it. Page is what they ask for.
	requests bool
	page     string
	// stays means that the routes need not go, returns that they must be there again in the end.
	stays, returns bool
	// speakers meet it. Nil: all.
	speakers func(kind, timers string) bool
	// prepare comes before the fault.
	prepare func(context.Context, *session, *cluster.Node) error
	// inject makes the victim fail: a node, or the router.
	inject func(*session, *cluster.Node, *bgplab.Router) error
	// router means that the router is the victim. Clients behind it do not count.
	router bool
}

// targets limit the 95th percentile, by the timers that a speaker uses. 0: no limit.
type targets struct{ slow, quick, hold time.Duration }

func (t targets) of(timers string) time.Duration {
	switch timers {
	case slowTimers:
		return t.slow
	case quickTimers:
		return t.quick
	default:
		return t.hold
	}
}

// all is a target that does not depend on timers.
func all(d time.Duration) targets { return targets{d, d, d} }

// limit is the target of the outage with some timers, 0 if there is none.
func (f fault) limit(timers string) time.Duration { return f.targets.of(timers) }

// meets reports whether a speaker meets the fault.
func (f fault) meets(s speaker) bool {
	return f.speakers == nil || f.speakers(s.kind(), s.timers())
}

// Conditions of faults.
var (
	// detected is how long BFD and a router take at most, and the hold time without BFD.
	detected = targets{1500 * time.Millisecond, 300 * time.Millisecond, 9 * time.Second}
	// A speaker other than kvip does not know the API server, and timers do not matter.
	apiServer = func(kind, timers string) bool { return kind == kvipKind && timers == slowTimers }
	onlyKvip  = func(kind, timers string) bool { return kind == kvipKind && timers != holdTimers }
	// Without BFD there is one more row for each kind, and all of them for MetalLB.
	withBFD    = func(_, timers string) bool { return timers != holdTimers }
	withAgents = func(kind, timers string) bool { return timers != holdTimers || kind == metallbKind }
)

const ping = "/livez/ping" // an API server's page that needs nothing but the server

// faults returns all faults, in the order in which tables show them.
func faults() []fault {
	return append(apiFaults(), []fault{
		{key: "agent-sigterm", name: "agent SIGTERM", lossless: true, speakers: withAgents,
			inject: on(func(s *session, n *cluster.Node) error { return s.running.terminate(n) })},
		{key: "agent-sigkill", name: "agent SIGKILL", lossless: true, speakers: withAgents,
			inject: on(func(s *session, n *cluster.Node) error { return s.running.kill(n) })},
		{key: "agent-sigstop", name: "agent SIGSTOP", lossless: true, gone: detected,
			speakers: withAgents,
			inject:   on(func(s *session, n *cluster.Node) error { return s.running.freeze(n) })},
		{key: "agent-sigstop-api", name: "agent SIGSTOP, then its API server killed", targets: detected,
			requests: true, speakers: onlyKvip,
			inject: on(func(s *session, n *cluster.Node) error {
				return errors.Join(s.running.freeze(n), n.KillAPI())
			})},
		{key: "node-off", name: "node off: cable cut behind the switch", targets: detected,
			inject: on(func(_ *session, n *cluster.Node) error { return n.Host.Unplug() })},
		{key: "link-down", name: "link down on the node, behind the switch", targets: detected,
			speakers: withBFD,
			inject:   on(func(_ *session, n *cluster.Node) error { return n.Host.LinkDown() })},
		{key: "router-killed", name: "one of two routers dies: clients of the other", stays: true,
			lossless: true, speakers: withBFD, router: true,
			inject: func(_ *session, _ *cluster.Node, r *bgplab.Router) error { return r.Kill() }},
		{key: "bfd-lost", name: "BFD between node and routers lost: time without the route",
			targets: all(2 * time.Second), lossless: true, outage: result.away, returns: true,
			speakers: withBFD, prepare: lasting, inject: on(dropBFD)},
	}...)
}

// apiFaults returns those of API servers.
func apiFaults() []fault {
	return []fault{
		{key: "api-sigterm", name: "API server SIGTERM, shutdown delay", lossless: true,
			requests: true, page: ping, speakers: apiServer,
			inject: on(func(_ *session, n *cluster.Node) error { return n.TerminateAPI() })},
		{key: "api-killed", name: "API server killed", targets: all(150 * time.Millisecond),
			requests: true, speakers: apiServer,
			inject: on(func(_ *session, n *cluster.Node) error { return n.KillAPI() })},
		{key: "api-hung", name: "API server hung (SIGSTOP)", targets: all(1500 * time.Millisecond),
			requests: true, speakers: apiServer,
			inject: on(func(_ *session, n *cluster.Node) error { return n.FreezeAPI() })},
		{key: "etcd-killed", name: "etcd member killed: not ready, time from the worse path",
			targets: all(200 * time.Millisecond), outage: result.afterWorse, requests: true,
			speakers: apiServer, prepare: leadElsewhere,
			inject: on(func(_ *session, n *cluster.Node) error { return n.KillEtcd() })},
		{key: "etcd-stopped", name: "etcd stopped on all nodes: none ready", speakers: apiServer,
			lossless: true, stays: true, inject: func(s *session, _ *cluster.Node, _ *bgplab.Router) error {
				var errs []error
				for _, n := range s.lab.Nodes {
					errs = append(errs, n.KillEtcd())
				}
				return errors.Join(errs...)
			}},
	}
}

// on makes a fault of what happens to one node.
func on(do func(*session, *cluster.Node) error) func(*session, *cluster.Node,
	*bgplab.Router) error {
	return func(s *session, n *cluster.Node, _ *bgplab.Router) error { return do(s, n) }
}

// bfdPort is that of single-hop BFD (RFC 5881, section 4).
const bfdPort = 3784

// dropBFD loses the packets of BFD between a node and all routers.
func dropBFD(s *session, n *cluster.Node) error {
	var errs []error
	for _, r := range s.lab.Routers {
		errs = append(errs, s.lab.Lab.PartitionPorts(n.Host, []uint16{bfdPort}, r.Host))
	}
	return errors.Join(errs...)
}

// lasting waits until the sessions have lasted for a hold time: a speaker waits longer after
// several that ended soon.
func lasting(ctx context.Context, _ *session, _ *cluster.Node) error {
	if !backoff.Sleep(ctx, holdTime+time.Second) {
		return ctx.Err()
	}
	return nil
}

// leadElsewhere makes another node the leader of etcd.
func leadElsewhere(ctx context.Context, s *session, n *cluster.Node) error {
	for _, other := range s.lab.Nodes {
		if other != n {
			return s.lab.LeadEtcd(ctx, other)
		}
	}
	return nil
}
