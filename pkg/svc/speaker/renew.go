package speaker

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/liveness"
	"github.com/kvip/kvip/pkg/svc"
)

const (
	// renewTimeout bounds one renewal.
	renewTimeout = 2 * time.Second
	// askAnother is how long an API server may be silent before another one is asked as well.
	askAnother = 500 * time.Millisecond
	// mostAttempts a renewal has in its time.
	mostAttempts = int(renewTimeout/askAnother) + 1
)

// attempt is a renewal as one API server was asked for it.
type attempt struct {
	sent    time.Duration
	written *coordinationv1.Lease
	err     error
}

// renew writes the Lease once.
func (h *NodeLease) renew(ctx context.Context) {
	h.mu.Lock()
	info, nodes := h.info, h.nodes
	h.dirty = false
	h.mu.Unlock()
	a := h.hedge(ctx, func(ctx context.Context) attempt {
		a := attempt{sent: h.cfg.Clock()}
		a.err = h.cfg.Router.Do(ctx, func(ctx context.Context, s *apiclient.Server) (err error) {
			a.written, err = h.write(ctx, s, info, h.cfg.Identity, liveness.Duration(nodes))
			return err
		})
		return a
	})
	if h.renewed(a.written, a.err, a.sent, nodes) {
		h.cfg.Log.Warn("the API server confirms renewals and shows none of them; reading everything anew", "lease", h.cfg.Name)
		h.cfg.Cache.Resync()
	}
}

// hedge makes attempts, the next one at another server while those before it are still without an answer, and returns
// the first that succeeds, or else the last. All carry one version, so that no more than one is written.
//
// When the node dies that etcd's leader is on, etcd loses what it is sent for a second or two. Who waited for the answer
// to that, and then began anew at a server that died as well, was late enough for the judge to see an outage, in which
// the dead node gets its duration anew (S2).
func (h *NodeLease) hedge(ctx context.Context, try func(context.Context) attempt) attempt {
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	answers := make(chan attempt, mostAttempts)
	begin := func() { group.Go(func() { answers <- try(ctx) }) }
	begin()
	tick := time.NewTicker(askAnother)
	defer tick.Stop()
	for begun, open := 1, 1; ; {
		select {
		case a := <-answers:
			if open--; a.err == nil || open == 0 {
				return a
			}
		case <-tick.C:
			if begun < mostAttempts {
				begun, open = begun+1, open+1
				h.cfg.Router.Next()
				begin()
			}
		}
	}
}

// renewed takes in how a renewal ended, and says whether the watch is blind.
func (h *NodeLease) renewed(written *coordinationv1.Lease, err error, sent time.Duration, nodes int) (blind bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Clock()
	if err != nil {
		h.missed(err, now)
		return false
	}
	blind = h.isBlind(now)
	h.lease, h.misses, h.problem, h.twin = written, 0, "", ""
	h.sent, h.due = sent, sent+liveness.Interval(nodes)
	h.judge.RecordRenewal(liveness.Renewal{Version: written.ResourceVersion, Sent: sent, Duration: liveness.Duration(nodes)}, now)
	return blind
}

// isBlind is whether for two durations no renewal was seen back that the API server had confirmed: its watches are
// open and show nothing new, as when it has lost its etcd. The caller holds the lock.
func (h *NodeLease) isBlind(now time.Duration) bool {
	shown := h.cfg.Cache.Lease(h.cfg.Name)
	switch {
	case h.lease == nil || !h.cfg.Cache.HasSynced() || shown != nil && !svc.Newer(h.lease, shown):
		h.blind = 0
	case h.blind == 0:
		h.blind = now
	case now-h.blind > 2*liveness.Duration(h.nodes):
		h.blind = 0
		return true
	}
	return false
}

// missed plans the next attempt (S2: less than the duration later). The caller holds the lock.
func (h *NodeLease) missed(err error, now time.Duration) {
	h.misses++
	pause := liveness.Backoff(h.misses, liveness.Duration(h.nodes))
	h.due = now + pause - time.Duration(rand.Int64N(int64(pause)/4+1))
	h.dirty = true
	if h.lease != nil && apierrors.IsConflict(err) {
		h.lease = nil
	}
	if text := err.Error(); text != h.problem {
		h.cfg.Log.Warn("cannot renew the Lease of this node; trying again", "lease", h.cfg.Name, "reason", err)
		h.problem = text
	}
	h.cfg.OnFailure("renew-node", err)
}
