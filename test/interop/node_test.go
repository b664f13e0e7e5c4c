package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/test/lab/netlab"
)

// node runs an agent in a host. Its methods are safe for concurrent use by subtests.
type node struct {
	host *netlab.Host

	process *netlab.Process
	client  *rpc.Client

	mu     sync.Mutex
	peers  map[string]bgp.PeerConfig
	routes map[string][]bgp.Route
}

// nodeID is the router ID of every agent: a router has one session with each address of it.
var nodeID = netip.MustParseAddr("192.0.2.10")

// requestTimeout bounds a request to an agent on a busy machine.
const requestTimeout = 30 * time.Second

var sockets atomic.Int64 // numbers the sockets of agents

// startNode starts an agent, killed with the lab.
func startNode(t *testing.T, host *netlab.Host, s settings) *node {
	t.Helper()
	n := &node{host: host, peers: map[string]bgp.PeerConfig{}, routes: map[string][]bgp.Route{}}
	n.start(t, s)
	return n
}

// start starts an agent, which knows neither peers nor routes.
func (n *node) start(t *testing.T, s settings) {
	t.Helper()
	s.Socket = filepath.Join(n.host.Dir, fmt.Sprintf("agent-%d", sockets.Add(1)))
	text, err := json.Marshal(s)
	must(t, err)
	self, err := os.Executable()
	must(t, err)
	n.process, err = n.host.Start(netlab.Command{
		Path: self, Env: []string{agentEnv + "=" + string(text)}, Log: s.Socket + ".log",
	})
	must(t, err)
	eventually(t, "agent of "+n.host.Name, func() error {
		conn, err := net.Dial("unix", s.Socket)
		if err == nil {
			n.client = jsonrpc.NewClient(conn)
			t.Cleanup(func() { _ = n.client.Close() })
		}
		return err
	})
}

// call sends a request.
func (n *node) call(method string, args, reply any) error {
	call := n.client.Go("Agent."+method, args, reply, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		return call.Error
	case <-time.After(requestTimeout):
		return fmt.Errorf("%s: no answer of the agent", method)
	}
}

// setPeers adds peers, or changes them.
func (n *node) setPeers(t *testing.T, list ...bgp.PeerConfig) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, cfg := range list {
		n.peers[cfg.Name] = cfg
	}
	all := []bgp.PeerConfig{}
	for _, cfg := range n.peers {
		all = append(all, cfg)
	}
	must(t, n.call("SetPeers", all, &struct{}{}))
}

// setRoutes replaces the routes of one peer.
func (n *node) setRoutes(t *testing.T, peer string, routes ...bgp.Route) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.routes[peer] = routes
	must(t, n.call("SetRoutes", n.routes, &struct{}{}))
}

// restart starts another agent with the same peers, and without routes.
func (n *node) restart(t *testing.T, s settings) {
	t.Helper()
	n.start(t, s)
	n.setPeers(t)
}

// announceAgain gives another agent the routes that the former one had.
func (n *node) announceAgain(t *testing.T) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	must(t, n.call("SetRoutes", n.routes, &struct{}{}))
}

// status returns the status of a peer.
func (n *node) status(peer string) (bgp.Status, error) {
	var all []bgp.Status
	if err := n.call("Status", struct{}{}, &all); err != nil {
		return bgp.Status{}, err
	}
	for _, s := range all {
		if s.Name == peer {
			return s, nil
		}
	}
	return bgp.Status{}, fmt.Errorf("the agent has no peer %s", peer)
}

// waitFor waits for a status of a peer.
func (n *node) waitFor(t *testing.T, peer, what string, ok func(bgp.Status) bool) (s bgp.Status) {
	t.Helper()
	eventually(t, what+" of "+peer, func() (err error) {
		if s, err = n.status(peer); err == nil && !ok(s) {
			err = fmt.Errorf("status %s", describe(s))
		}
		return err
	})
	return s
}

// established waits for a session.
func (n *node) established(t *testing.T, peer string) bgp.Status {
	t.Helper()
	return n.waitFor(t, peer, "session", bgp.Status.Established)
}

// refused waits until an attempt has failed for one of some reasons. A session is an error.
func (n *node) refused(t *testing.T, peer string, reasons ...string) {
	t.Helper()
	n.ended(t, peer, reasons...)
	if s, err := n.status(peer); err != nil || s.Sessions > 0 {
		t.Errorf("%s: there was a session: %s, %v", peer, describe(s), err)
	}
}

// goesOn reports an error if there is another session than the first one, or none (B11).
func (n *node) goesOn(t *testing.T, peer string) bgp.Status {
	t.Helper()
	s, err := n.status(peer)
	must(t, err)
	if !s.Established() || s.Sessions != 1 {
		t.Errorf("%s: the session did not go on: %s; reasons %q", peer, describe(s),
			n.history(t, peer).Reasons)
	}
	return s
}

// flushed waits until the routers have what was to be sent.
func (n *node) flushed(t *testing.T) {
	t.Helper()
	eventually(t, "acknowledgements", func() error {
		var done bool
		if err := n.call("Flushed", struct{}{}, &done); err != nil || done {
			return err
		}
		return errors.New("something is not acknowledged")
	})
}

// permit sets whether the agent may send.
func (n *node) permit(t *testing.T, permitted bool) {
	t.Helper()
	must(t, n.call("Permit", permitted, &struct{}{}))
}

// history returns what has happened to a peer.
func (n *node) history(t *testing.T, peer string) (h History) {
	t.Helper()
	must(t, n.call("History", peer, &h))
	return h
}

// forget begins all histories again.
func (n *node) forget(t *testing.T) {
	t.Helper()
	must(t, n.call("Forget", struct{}{}, &struct{}{}))
}

// ended waits until a session has ended, or was refused, for a reason that contains one of some
// texts.
func (n *node) ended(t *testing.T, peer string, texts ...string) {
	t.Helper()
	eventually(t, "reason of "+peer, func() error {
		reasons := n.history(t, peer).Reasons
		for _, reason := range reasons {
			for _, text := range texts {
				if strings.Contains(reason, text) {
					return nil
				}
			}
		}
		return fmt.Errorf("there are %q: want one of %q", reasons, texts)
	})
}

// memory returns the agent's resident memory in kB.
func (n *node) memory(t *testing.T) int {
	t.Helper()
	lines := map[string]string{}
	must(t, n.call("Memory", struct{}{}, &lines))
	kB, err := strconv.Atoi(strings.TrimSuffix(lines["VmRSS"], " kB"))
	must(t, err)
	return kB
}

// stop ends the agent in order.
func (n *node) stop(t *testing.T) {
	t.Helper()
	must(t, n.process.Terminate(requestTimeout))
}

// describe returns what matters of a status.
func describe(s bgp.Status) string {
	path := "none"
	if s.BFD != nil {
		path = fmt.Sprintf("%v (%v, problem %q, dropped %v)", s.BFD.State, s.BFD.Diagnostic,
			s.BFD.Problem, maps.Clone(s.BFD.Dropped))
	}
	return fmt.Sprintf("%v, sessions %d, reason %q, local %v, peer %v, routes %v, refused %d,"+
		" unreachable %d, BFD %s", s.State, s.Sessions, s.Reason, s.Local, s.Address, s.Routes,
		s.Refused, s.Unreachable, path)
}
