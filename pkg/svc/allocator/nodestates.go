package allocator

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/svc"
)

const (
	// minStatesInterval is the least time between two lists of BGPNodeStates, statesPause the time for
	// each node. Only the leader lists them: a watch in each agent would multiply each change by the
	// number of nodes.
	minStatesInterval = 10 * time.Second
	statesPause       = 20 * time.Millisecond
)

// sessionCount is how many sessions with a peer are established, and of how many.
type sessionCount struct{ established, all int }

// sessionCounts are the sessions by peer, as of the last list of BGPNodeStates. It is safe for
// concurrent use.
type sessionCounts struct {
	mu      sync.Mutex
	listed  bool // since this node is the leader
	absent  bool // the definition or the permission is missing
	of      map[string]sessionCount
	version uint64 // grows with each change
}

// text returns the count of a peer, "" if it cannot be known, and old if it is not known yet.
func (s *sessionCounts) text(peer, old string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch count := s.of[peer]; {
	case !s.listed:
		return old
	case s.absent:
		return ""
	default:
		return fmt.Sprintf("%d/%d", count.established, count.all)
	}
}

// exist reports whether any node has a session, and whether that is known.
func (s *sessionCounts) exist() (exist, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.of) > 0, s.listed
}

// set records the result of a list. A nil map means that it is not possible.
func (s *sessionCounts) set(of map[string]sessionCount) {
	s.mu.Lock()
	defer s.mu.Unlock()
	absent := of == nil
	if !s.listed || absent != s.absent || !maps.Equal(of, s.of) {
		s.version++
	}
	s.listed, s.absent, s.of = true, absent, of
}

// forget discards the counts: this node is not the leader, or nothing needs them.
func (s *sessionCounts) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed, s.of = false, nil
}

// state returns whether the states were listed, and a number that grows with each change.
func (s *sessionCounts) state() (listed bool, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listed, s.version
}

// followNodeStates lists the BGPNodeStates while this node is the leader and there are peers, or
// advertisements, which apply to the peers of the control plane also.
func (a *Allocator) followNodeStates(ctx context.Context) {
	var at time.Duration
	for backoff.Sleep(ctx, pollInterval) {
		wanted := len(a.cfg.Cache.BGPPeers())+len(a.cfg.Cache.BGPAdvertisements()) > 0
		if _, leader := a.cfg.Elector.IsLeader(); !leader || !wanted {
			a.sessions.forget()
			continue
		}
		nodes := a.cfg.Cache.Nodes()
		interval := max(minStatesInterval, time.Duration(len(nodes))*statesPause)
		now := a.cfg.Clock()
		if listed, _ := a.sessions.state(); listed && now-at < interval {
			continue
		}
		at = now
		if err := a.listNodeStates(ctx, nodes); err != nil && ctx.Err() == nil {
			a.cfg.Log.Debug("cannot list BGPNodeStates; trying again", "err", err)
		}
	}
}

// listNodeStates counts the sessions of all nodes once. After an error the last counts stand.
func (a *Allocator) listNodeStates(ctx context.Context, nodes map[string]*svc.Node) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var list *apiclient.RawList
	failures, resource := a.cfg.failures(), v1alpha1.BGPNodeStatePlural
	err := failures.send(ctx, a.cfg.Router, "list", resource,
		func(ctx context.Context, s *apiclient.Server) error {
			result := &apiclient.RawList{}
			// Version 0 is answered from the API server's memory, and may be a little old.
			err := s.KVIPRaw.Get().Resource(resource).Param("resourceVersion", "0").Do(ctx).Into(result)
			switch {
			case apierrors.IsForbidden(err): // keep the credentials
				a.allowed.missing("list "+resource, "BGPPeers do not count their sessions", err)
				return nil
			case apierrors.IsNotFound(err):
				return nil
			case err == nil:
				list = result
			}
			return failures.count("list", resource, err)
		})
	switch {
	case err != nil:
		return err
	case list == nil:
		a.sessions.set(nil)
	default:
		a.sessions.set(countSessions(list.Items, nodes))
	}
	return nil
}

// countSessions counts the sessions of existing nodes by peer. Those of a node that is not ready
// count as not established: its agent may have written its state long ago.
func countSessions(
	states []apiclient.RawObject, nodes map[string]*svc.Node,
) map[string]sessionCount {
	of := map[string]sessionCount{}
	for _, o := range states {
		var status v1alpha1.BGPNodeStateStatus
		node := nodes[o.Name]
		if node == nil || json.Unmarshal(o.Status, &status) != nil {
			continue
		}
		for _, one := range status.Sessions {
			peer, _, _ := strings.Cut(one.Peer, "/") // a session of one family has it as a suffix
			count := of[peer]
			count.all++
			if one.State == v1alpha1.SessionEstablished && !node.NotReady {
				count.established++
			}
			of[peer] = count
		}
	}
	return of
}
