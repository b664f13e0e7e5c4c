package serve

import (
	"context"
	"math/rand/v2"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/members"
	"github.com/kvip/kvip/pkg/svc"
)

// renewTimeout bounds one renewal: a server that is silent for longer is left for another one.
const renewTimeout = time.Second

// renew writes the Lease once.
func (h *Heart) renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	h.mu.Lock()
	info, nodes := h.info, h.nodes
	h.dirty = false
	h.mu.Unlock()
	sent := h.cfg.Clock()
	var written *coordinationv1.Lease
	err := h.cfg.Router.Do(ctx, func(ctx context.Context, s *apiclient.Server) (err error) {
		written, err = h.write(ctx, s, info, h.cfg.Identity, members.Duration(nodes))
		return err
	})
	if h.renewed(written, err, sent, nodes) {
		h.cfg.Log.Warn("the API server confirms renewals and shows none of them; reading everything anew", "lease", h.cfg.Name)
		h.cfg.Catalogue.Anew()
	}
}

// renewed takes in how a renewal ended, and says whether the watch is blind.
func (h *Heart) renewed(written *coordinationv1.Lease, err error, sent time.Duration, nodes int) (blind bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Clock()
	if err != nil {
		h.missed(err, now)
		return false
	}
	blind = h.isBlind(now)
	h.lease, h.misses, h.problem, h.twin = written, 0, "", ""
	h.sent, h.due = sent, sent+members.Interval(nodes)
	h.judge.Confirmed(members.Renewal{Version: written.ResourceVersion, Sent: sent, Duration: members.Duration(nodes)}, now)
	return blind
}

// isBlind is whether for two durations no renewal was seen back that the API server had confirmed: its watches are
// open and show nothing new, as when it has lost its etcd. The caller holds the lock.
func (h *Heart) isBlind(now time.Duration) bool {
	shown := h.cfg.Catalogue.Lease(h.cfg.Name)
	switch {
	case h.lease == nil || !h.cfg.Catalogue.Synced() || shown != nil && !svc.Newer(h.lease, shown):
		h.blind = 0
	case h.blind == 0:
		h.blind = now
	case now-h.blind > 2*members.Duration(h.nodes):
		h.blind = 0
		return true
	}
	return false
}

// missed plans the next attempt (S2: less than the duration later). The caller holds the lock.
func (h *Heart) missed(err error, now time.Duration) {
	h.misses++
	pause := members.Backoff(h.misses, members.Duration(h.nodes))
	h.due = now + pause - time.Duration(rand.Int64N(int64(pause)/4+1))
	h.dirty = true
	if h.lease != nil && apierrors.IsConflict(err) {
		h.lease = nil
	}
	if text := err.Error(); text != h.problem {
		h.cfg.Log.Warn("cannot renew the Lease of this node; trying again", "lease", h.cfg.Name, "reason", err)
		h.problem = text
	}
	h.cfg.Failed("renew-node", err)
}
