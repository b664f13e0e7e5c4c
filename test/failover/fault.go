package failover

import (
	"errors"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
)

// Lease is kvip's default lease duration, on which the targets of the slow faults rest.
const Lease = 5 * time.Second

// ShutdownDelay is what API servers are to be started with (--shutdown-delay-duration): long
// enough that a client would suffer for it if the address did not move.
const ShutdownDelay = 10 * time.Second

// Fault is one way in which the holder of the address fails.
type Fault struct {
	Key    string        // for files and filters, as in "api-killed"
	Name   string        // for people
	Target time.Duration // the outage that kvip must not exceed; 0: only two holders are a miss
	// Break makes the node fail.
	Break func(*cluster.Node) error
	// Undo, if there is one, is a part of the fault too: it comes UndoAfter the beginning.
	Undo      func(*cluster.Node) error
	UndoAfter time.Duration
	// Watch is for how long two holders may appear, from the beginning; 0: until the address
	// answers again.
	Watch time.Duration
	// Page is what clients ask for; "": /readyz, which fails while a server that shuts down serves.
	Page string
	// Etcd means that the node's etcd member is gone, so that no other may be missing.
	Etcd bool
}

// Faults returns all faults, in the order in which tables show them.
func Faults() []Fault {
	return []Fault{
		{Key: "agent-sigterm", Name: "agent SIGTERM", Target: 100 * time.Millisecond, Break: termAgent},
		{Key: "api-killed", Name: "API server killed", Target: 150 * time.Millisecond,
			Break: (*cluster.Node).KillAPI},
		{Key: "api-hung", Name: "API server hung (SIGSTOP)", Target: 2 * time.Second,
			Break: (*cluster.Node).FreezeAPI},
		{Key: "api-sigterm", Name: "API server SIGTERM, shutdown delay", Target: 100 * time.Millisecond,
			Break: (*cluster.Node).TerminateAPI, Page: "/livez/ping"},
		{Key: "etcd-killed", Name: "etcd member killed", Target: 2500 * time.Millisecond,
			Break: (*cluster.Node).KillEtcd, Etcd: true},
		{Key: "node-off", Name: "node off", Target: Lease + 500*time.Millisecond,
			Break: (*cluster.Node).PowerOff, Etcd: true},
		{Key: "agent-sigkill", Name: "agent SIGKILL", Target: Lease + 500*time.Millisecond,
			Break: killAgent, Watch: Lease + 2*time.Second},
		{
			Key: "agent-sigstop", Name: "agent SIGSTOP, then SIGCONT", Break: stopAgent,
			Undo: contAgent, UndoAfter: Lease + 3*time.Second, Watch: Lease + 5*time.Second,
		},
	}
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
