package failover

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

// Lease is kvip's default lease duration, on which the targets of the slow faults rest.
const Lease = 5 * time.Second

// ShutdownDelay is what API servers are to be started with (--shutdown-delay-duration): long
// enough that a client would suffer for it if the address did not move.
const ShutdownDelay = 10 * time.Second

// Fault is one way in which the holder of the address fails, or leaves.
type Fault struct {
	Key    string        // for files and filters, as in "api-killed"
	Name   string        // for people
	Target time.Duration // the outage that kvip must not exceed; 0: only two holders are a miss
	// Sum means that Target limits the sum of the times without an answer, not the longest one.
	Sum bool
	// Lossless means that a request of kvip's clients that fails is a miss, and a connection that
	// breaks.
	Lossless    bool
	Connections int    // how many long connections the client has
	Tool        string // the only tool that meets it; "" for all but KvipQuick
	Variant     bool   // of another fault: only the benchmark has it
	Stays       bool   // the address stays where it is
	// Prepare, if there is one, comes before the fault.
	Prepare func(context.Context, *cluster.Cluster, *cluster.Node) error
	// Break makes the node fail.
	Break func(*cluster.Cluster, *cluster.Node) error
	// Undo, if there is one, is a part of the fault too: it comes UndoAfter the beginning.
	Undo      func(*cluster.Cluster, *cluster.Node) error
	UndoAfter time.Duration
	// Watch is for how long two holders may appear, from the beginning; 0: until the address
	// answers again.
	Watch time.Duration
	// Page is what clients ask for; "": /readyz, which fails while a server that shuts down serves.
	Page string
	// Etcd means that the node's etcd member is gone, so that no other may be missing.
	Etcd bool
}

// Meets reports whether a tool meets the fault.
func (f Fault) Meets(tool string) bool {
	return f.Tool == tool || f.Tool == "" && tool != KvipQuick
}

const (
	ping            = "/livez/ping"   // an API server's page that needs nothing but the server
	manyConnections = 200             // of a client that must notice nothing
	drainsFor       = 3 * time.Second // how long connections are watched after a planned move
	etcdStops       = 20 * time.Second
)

// Faults returns all faults, in the order in which tables show them.
func Faults() []Fault {
	return append(planned(), []Fault{
		{Key: "api-killed", Name: "API server killed", Target: 80 * time.Millisecond,
			Break: on((*cluster.Node).KillAPI)},
		{Key: "api-hung", Name: "API server hung (SIGSTOP)", Target: 1200 * time.Millisecond,
			Break: on((*cluster.Node).FreezeAPI)},
		{Key: "etcd-killed", Name: "etcd member killed", Target: 500 * time.Millisecond, Sum: true,
			Prepare: etcdLeaderElsewhere, Break: on((*cluster.Node).KillEtcd), Etcd: true},
		{
			Key: "etcd-stopped", Name: "etcd stopped on all nodes for 20 s", Variant: true, Stays: true,
			Target: 100 * time.Millisecond, Page: ping, Etcd: true, Break: stopEtcds, Undo: startEtcds,
			UndoAfter: etcdStops, Watch: etcdStops + 5*time.Second,
		},
		{Key: "node-off", Name: "node off", Target: 450 * time.Millisecond,
			Prepare: etcdLeaderElsewhere, Break: on((*cluster.Node).PowerOff), Etcd: true},
		{Key: "node-off-quick", Name: "node off, --failover-timeout 200ms", Variant: true,
			Tool: KvipQuick, Target: 280 * time.Millisecond, Prepare: etcdLeaderElsewhere,
			Break: on((*cluster.Node).PowerOff), Etcd: true},
		{Key: "node-off-leader", Name: "node off, etcd's leader on it", Variant: true,
			Target: 2 * time.Second, Prepare: etcdLeaderHere, Break: on((*cluster.Node).PowerOff),
			Etcd: true},
		{Key: "agent-sigkill", Name: "agent SIGKILL", Target: 150 * time.Millisecond,
			Break: on(killAgent), Watch: Lease + 2*time.Second},
		{
			Key: "agent-sigstop", Name: "agent SIGSTOP, then SIGCONT", Target: 450 * time.Millisecond,
			Break: on(stopAgent), Undo: on(contAgent), UndoAfter: Lease + 3*time.Second,
			Watch: Lease + 5*time.Second,
		},
	}...)
}

// planned returns the faults after which the last holder could still serve.
func planned() []Fault {
	const target = 100 * time.Millisecond
	return []Fault{
		{Key: "move", Name: "kvip move", Target: target, Lossless: true, Tool: "kvip",
			Connections: manyConnections, Break: on(moveAway), Watch: drainsFor},
		{Key: "agent-sigterm", Name: "agent SIGTERM", Target: target, Lossless: true,
			Connections: manyConnections, Break: on(termAgent), Watch: drainsFor},
		{Key: "api-sigterm", Name: "API server SIGTERM, shutdown delay", Target: target, Lossless: true,
			Break: on((*cluster.Node).TerminateAPI), Page: ping},
	}
}

// on makes a fault of what happens to one node.
func on(do func(*cluster.Node) error) func(*cluster.Cluster, *cluster.Node) error {
	return func(_ *cluster.Cluster, n *cluster.Node) error { return do(n) }
}

func etcdLeaderHere(ctx context.Context, c *cluster.Cluster, victim *cluster.Node) error {
	return c.LeadEtcd(ctx, victim)
}

func etcdLeaderElsewhere(ctx context.Context, c *cluster.Cluster, victim *cluster.Node) error {
	i := slices.Index(c.Nodes, victim)
	return c.LeadEtcd(ctx, c.Nodes[(i+1)%len(c.Nodes)])
}

func stopEtcds(c *cluster.Cluster, _ *cluster.Node) error {
	var errs []error
	for _, n := range c.Nodes {
		errs = append(errs, n.KillEtcd())
	}
	return errors.Join(errs...)
}

func startEtcds(c *cluster.Cluster, _ *cluster.Node) error {
	var errs []error
	for _, n := range c.Nodes {
		errs = append(errs, n.StartEtcd())
	}
	return errors.Join(errs...)
}

// FaultByKey returns the fault of that key.
func FaultByKey(key string) (Fault, bool) {
	for _, f := range Faults() {
		if f.Key == key {
			return f, true
		}
	}
	return Fault{}, false
}

// withAgent calls f for the node's agent; that there is none is an error, for then the fault
// would not be one.
func withAgent(n *cluster.Node, f func(*cluster.Agent) error) error {
	a := n.Agent()
	if a == nil || !a.Running() {
		return errors.New("break agent of " + n.Name + ": it does not run")
	}
	return f(a)
}

// moveAway runs `kvip move` on the node.
func moveAway(n *cluster.Node) error {
	return withAgent(n, func(a *cluster.Agent) error {
		p, err := n.Host.Start(n.WithState(netlab.Command{
			Path: a.Path(), Args: []string{"move"}, Log: n.Log("move"),
		}))
		if err != nil {
			return err
		}
		return p.Err()
	})
}

func termAgent(n *cluster.Node) error {
	return withAgent(n, func(a *cluster.Agent) error { return a.SendTerm() })
}

// killAgent freezes the tree first, because a parent would restart a child that dies first.
func killAgent(n *cluster.Node) error {
	return withAgent(n, func(a *cluster.Agent) error { return errors.Join(a.Freeze(), a.Kill()) })
}

func stopAgent(n *cluster.Node) error {
	return withAgent(n, func(a *cluster.Agent) error { return a.Freeze() })
}

func contAgent(n *cluster.Node) error {
	return withAgent(n, func(a *cluster.Agent) error { return a.Thaw() })
}
