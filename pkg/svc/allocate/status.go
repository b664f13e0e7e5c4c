package allocate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/svc"
)

// FieldManager is kvip's name as the owner of fields (Kubernetes documentation, "Server-Side Apply").
const FieldManager = "kvip"

// requestTimeout bounds one write of a status.
const requestTimeout = 10 * time.Second

// statusClient writes the statuses of Services by server-side apply, and where that is forbidden by an
// update (S9). It never forces: fields of others stay theirs.
type statusClient struct {
	cfg     Config
	events  *events
	noPatch atomic.Bool
}

func newStatusClient(cfg Config) *statusClient {
	return &statusClient{cfg: cfg, events: newEvents(cfg)}
}

// write makes the status say what is wanted, at the version of s, and tells by an Event what changed.
func (c *statusClient) write(ctx context.Context, s *svc.Service, want wish) (*metav1.ObjectMeta, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var written *corev1.Service
	err := c.cfg.Router.Do(ctx, func(ctx context.Context, server *apiclient.Server) (err error) {
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
		if !apierrors.IsConflict(err) {
			c.cfg.Log.Warn("cannot write the status of a Service; trying again", "service", s.Owner(), "reason", err)
		}
		return nil, err
	}
	c.tell(ctx, s, want)
	return &metav1.ObjectMeta{ResourceVersion: written.ResourceVersion}, nil
}

// tell posts an Event when the condition changed.
func (c *statusClient) tell(ctx context.Context, s *svc.Service, want wish) {
	if s.Told != nil && s.Told.Reason == want.reason && s.Told.Message == want.message {
		return
	}
	kind := corev1.EventTypeNormal
	if want.refused() {
		kind = corev1.EventTypeWarning
	}
	c.cfg.Log.Info("told a Service", "service", s.Owner(), "reason", want.reason, "message", want.message)
	c.events.post(ctx, s, kind, want.reason, want.message)
}

func (c *statusClient) send(ctx context.Context, server *apiclient.Server, s *svc.Service, want wish) (*corev1.Service, error) {
	services := server.Core.Services(s.Namespace)
	if !c.noPatch.Load() {
		body, err := applied(s, want)
		if err != nil {
			return nil, err
		}
		written, err := services.Patch(ctx, s.Name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: FieldManager}, "status")
		if !apierrors.IsForbidden(err) {
			return written, err
		}
		if c.noPatch.CompareAndSwap(false, true) {
			c.cfg.Log.Warn("a right is missing: patch services/status; statuses are written by update instead", "reason", err)
		}
	}
	current, err := services.Get(ctx, s.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if current.ResourceVersion != s.ResourceVersion {
		return nil, apierrors.NewConflict(corev1.Resource("services"), s.Name, errors.New("it changed meanwhile"))
	}
	updated(current, s, want)
	written, err := services.UpdateStatus(ctx, current, metav1.UpdateOptions{FieldManager: FieldManager})
	if apierrors.IsForbidden(err) {
		c.noPatch.Store(false) // neither right is there: try both again
	}
	return written, err
}

// applied is the body of a server-side apply: all that kvip wants to own, at the version decided upon.
func applied(s *svc.Service, want wish) ([]byte, error) {
	status := map[string]any{}
	if !want.clear {
		status["conditions"] = []metav1.Condition{condition(s, want)}
		if ingress := ingressOf(want); len(ingress) > 0 {
			status["loadBalancer"] = corev1.LoadBalancerStatus{Ingress: ingress}
		}
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]string{"namespace": s.Namespace, "name": s.Name, "resourceVersion": s.ResourceVersion, "uid": string(s.UID)},
		"status":   status,
	})
	if err != nil {
		return nil, fmt.Errorf("encode status of service %s: %w", s.Owner(), err)
	}
	return body, nil
}

// updated puts the same into a whole object.
func updated(o *corev1.Service, s *svc.Service, want wish) {
	o.Status.Conditions = slices.DeleteFunc(o.Status.Conditions, func(c metav1.Condition) bool { return c.Type == svc.Condition })
	o.Status.LoadBalancer.Ingress = nil
	if !want.clear {
		o.Status.LoadBalancer.Ingress = ingressOf(want)
		o.Status.Conditions = append(o.Status.Conditions, condition(s, want))
	}
}

func ingressOf(want wish) []corev1.LoadBalancerIngress {
	mode := corev1.LoadBalancerIPModeVIP
	var list []corev1.LoadBalancerIngress
	for _, addr := range want.addresses {
		list = append(list, corev1.LoadBalancerIngress{IP: addr.String(), IPMode: &mode})
	}
	return list
}

func condition(s *svc.Service, want wish) metav1.Condition {
	c := metav1.Condition{Type: svc.Condition, Status: metav1.ConditionTrue, Reason: want.reason, Message: want.message, LastTransitionTime: metav1.Now()}
	if !want.ok {
		c.Status = metav1.ConditionFalse
	}
	if s.Told != nil && s.Told.Status == c.Status {
		c.LastTransitionTime = s.Told.LastTransitionTime
	}
	return c
}

// isForeignField tells the conflict about who owns a field from that about the version.
func isForeignField(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsConflict(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool { return c.Type == metav1.CauseTypeFieldManagerConflict })
}
