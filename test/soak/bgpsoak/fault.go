package bgpsoak

import (
	"errors"
	"fmt"
	"time"

	"github.com/kvip/kvip/test/lab/bgplab"
	"github.com/kvip/kvip/test/lab/cluster"
)

// fault is one thing that happens to a node and a router, more often the larger its weight.
type fault struct {
	name   string
	weight int
	begin  begin
}

// begin lets a fault happen. undo, if there is one, ends it.
type begin = func(s *soak, n *cluster.Node, r *bgplab.Router) (undo func() error, err error)

// errNotNow means that a fault cannot happen now, because of another one.
var errNotNow = errors.New("not possible now")

// bfdPort is that of single-hop BFD (RFC 5881, section 4).
const bfdPort = 3784

var faults = []fault{
	{"agent frozen", 10, freezeAgent},
	{"agent killed", 8, killAgent},
	{"agent ended", 4, endAgent},
	{"agent restarted", 6, restartAgent},
	{"agent dead for long", 1, loseAgent},
	{"API server killed", 8, killAPI},
	{"API server frozen", 6, freezeAPI},
	{"API server ended", 4, endAPI},
	{"etcd member killed", 4, killEtcd},
	{"etcd member frozen", 4, freezeEtcd},
	{"cable cut", 8, unplug},
	{"cable flaps", 6, flap},
	{"link down", 6, linkDown},
	{"cut off from a router", 8, cut},
	{"BFD lost", 6, loseBFD},
	{"frames lost", 6, loseFrames},
	{"session reset", 6, reset},
	{"router killed", 4, killRouter},
	{"router frozen", 4, freezeRouter},
}

// agentOf returns the agent of a node, or nil if none runs.
func agentOf(n *cluster.Node) *cluster.Agent {
	if a := n.Agent(); a != nil && a.Running() {
		return a
	}
	return nil
}

func freezeAgent(_ *soak, n *cluster.Node, _ *bgplab.Router) (func() error, error) {
	a := agentOf(n)
	if a == nil {
		return nil, errNotNow
	}
	return a.Thaw, a.Freeze()
}

// mortal returns the agent of a node, if it may end: that of the first node lives for the whole
// soak, so that growth is seen.
func (s *soak) mortal(n *cluster.Node) *cluster.Agent {
	if n == s.lab.Nodes[0] {
		return nil
	}
	return agentOf(n)
}

func killAgent(s *soak, n *cluster.Node, _ *bgplab.Router) (func() error, error) {
	a := s.mortal(n)
	if a == nil {
		return nil, errNotNow
	}
	return n.RestartAgent, a.Kill()
}

func endAgent(s *soak, n *cluster.Node, _ *bgplab.Router) (func() error, error) {
	a := s.mortal(n)
	if a == nil {
		return nil, errNotNow
	}
	return n.RestartAgent, a.SendTerm()
}

func restartAgent(s *soak, n *cluster.Node, r *bgplab.Router) (func() error, error) {
	undo, err := killAgent(s, n, r)
	if err != nil {
		return nil, err
	}
	return nil, undo()
}

// loseAgent kills an agent and waits until the kernel has removed the addresses by their lifetime
// (B7).
func loseAgent(s *soak, n *cluster.Node, r *bgplab.Router) (func() error, error) {
	undo, err := killAgent(s, n, r)
	if err != nil {
		return nil, err
	}
	killed := time.Now()
	for has := true; has; time.Sleep(lookEvery) {
		if has, err = bgplab.HasAddresses(n); err != nil {
			return undo, err
		}
		if after := time.Since(killed); has && after > orphanedFor+slack {
			return undo, fmt.Errorf("%s has the addresses %v after its agent was killed", n.Name, after)
		}
	}
	return undo, nil
}

func killAPI(s *soak, n *cluster.Node, _ *bgplab.Router) (func() error, error) {
	s.dies(n)
	return func() error { s.lives(n); return n.StartAPI() }, n.KillAPI()
}

func freezeAPI(s *soak, n *cluster.Node, _ *bgplab.Router) (func() error, error) {
	if !n.APIRunning() {
		return nil, errNotNow
	}
	s.dies(n)
	return func() error { s.lives(n); return n.ThawAPI() }, n.FreezeAPI()
}

func endAPI(_ *soak, n *cluster.Node, _ *bgplab.Router) (func() error, error) {
	if !n.APIRunning() {
		return nil, errNotNow
	}
	return n.StartAPI, n.TerminateAPI()
}

func killEtcd(_ *soak, n *cluster.Node, _ *bgplab.Router) (func() error, error) {
	return n.StartEtcd, n.KillEtcd()
}

func freezeEtcd(_ *soak, n *cluster.Node, _ *bgplab.Router) (func() error, error) {
	return n.ThawEtcd, n.FreezeEtcd()
}

func unplug(s *soak, n *cluster.Node, _ *bgplab.Router) (func() error, error) {
	return func() error { return errors.Join(n.Host.Plug(), s.lab.Reroute(n)) }, n.Host.Unplug()
}

// flaps is how often a cable loses contact, and flapFor for how long.
const (
	flaps   = 5
	flapFor = 100 * time.Millisecond
)

func flap(_ *soak, n *cluster.Node, _ *bgplab.Router) (func() error, error) {
	for range flaps {
		if err := n.Host.Unplug(); err != nil {
			return nil, err
		}
		time.Sleep(flapFor)
		if err := n.Host.Plug(); err != nil {
			return nil, err
		}
		time.Sleep(flapFor)
	}
	return nil, nil
}

func linkDown(s *soak, n *cluster.Node, _ *bgplab.Router) (func() error, error) {
	return func() error { return errors.Join(n.Host.LinkUp(), s.lab.Reroute(n)) }, n.Host.LinkDown()
}

func cut(s *soak, n *cluster.Node, r *bgplab.Router) (func() error, error) {
	return s.lab.Lab.Heal, s.lab.Lab.Partition(n.Host, r.Host)
}

func loseBFD(s *soak, n *cluster.Node, r *bgplab.Router) (func() error, error) {
	return s.lab.Lab.Heal, s.lab.Lab.PartitionPorts(n.Host, []uint16{bfdPort}, r.Host)
}

// loseFrames drops 1 to 20 % of the frames between a node and a router.
func loseFrames(s *soak, n *cluster.Node, r *bgplab.Router) (func() error, error) {
	percent := 1 + s.random.IntN(20)
	return s.lab.Lab.Heal, errors.Join(s.lab.Lab.Lose(percent, n.Host, r.Host),
		s.lab.Lab.Lose(percent, r.Host, n.Host))
}

func reset(s *soak, n *cluster.Node, r *bgplab.Router) (func() error, error) {
	if s.failed[r] {
		return nil, errNotNow
	}
	return nil, r.Reset(n.Host.Addr(true))
}

// A router that died or does not run keeps its routes in its kernel. They do not count until all
// has recovered.
func killRouter(s *soak, _ *cluster.Node, r *bgplab.Router) (func() error, error) {
	if s.failed[r] {
		return nil, errNotNow
	}
	s.fail(r)
	return func() error { return s.lab.Restart(r) }, r.Kill()
}

func freezeRouter(s *soak, _ *cluster.Node, r *bgplab.Router) (func() error, error) {
	if s.failed[r] {
		return nil, errNotNow
	}
	s.fail(r)
	return func() error { return r.Thaw() }, r.Freeze()
}
