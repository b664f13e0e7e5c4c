package allocator

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/svc"
)

// FieldManager is kvip's name as the owner of fields.
const FieldManager = svc.FieldManager

// requestTimeout bounds one write of a status.
const requestTimeout = 10 * time.Second

// statusClient writes the statuses of Services by server-side apply, and where that is forbidden by an
// update (S9). Fields of others stay theirs, but where a status is taken over.
type statusClient struct {
	cfg     Config
	events  *events
	rights  *rights
	noPatch atomic.Bool
}

func newStatusClient(cfg Config) *statusClient {
	r := newRights(cfg.Log)
	return &statusClient{cfg: cfg, events: newEvents(cfg, r), rights: r}
}

// write makes the status say what is wanted, at the version of s, and tells by an Event what changed.
func (c *statusClient) write(ctx context.Context, s *svc.Service, want wish) (*metav1.ObjectMeta, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var written *corev1.Service
	err := c.cfg.failed().do(ctx, c.cfg.Router, "patch", "services", func(ctx context.Context, server *apiclient.Server) (err error) {
		written, err = c.send(ctx, server, s, want)
		return err
	})
	switch {
	case apierrors.IsNotFound(err): // deleted meanwhile; the watch will say so
		return nil, nil
	case isForeignField(err):
		c.events.post(ctx, s, corev1.EventTypeWarning, ReasonForeignStatus, fmt.Sprintf(
			"service %s: status.loadBalancer belongs to another program, and kvip never takes it away: stop that, or give the Service another loadBalancerClass (%v)", s.Owner(), err))
		return nil, err
	case err != nil:
		if !apierrors.IsConflict(err) && ctx.Err() == nil {
			c.cfg.Log.Warn("cannot write the status of a Service; trying again", "service", s.Owner(), "reason", err)
		}
		return nil, err
	}
	c.tell(ctx, s, want)
	return &metav1.ObjectMeta{ResourceVersion: written.ResourceVersion}, nil
}

// tell posts an Event when the condition changed.
func (c *statusClient) tell(ctx context.Context, s *svc.Service, want wish) {
	if s.Condition != nil && s.Condition.Reason == want.reason && s.Condition.Message == want.message {
		return
	}
	kind := corev1.EventTypeNormal
	if want.refused() {
		kind = corev1.EventTypeWarning
	}
	c.cfg.Log.Info("told a Service", "service", s.Owner(), "reason", want.reason, "message", want.message)
	c.events.change(ctx, s, kind, want.reason, want.message)
}
