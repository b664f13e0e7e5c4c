package allocator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/svc"
)

// statusClient writes the statuses of Services by server-side apply, or by an update if apply is
// forbidden (S9). It does not change fields of other programs unless it takes a status over.
type statusClient struct {
	cfg     Config
	events  *events
	allowed *permissions
	noApply atomic.Bool
}

// write gives s the desired status, at the version of s, and posts an Event about a change. It
// returns the version that it wrote, nil if the Service is deleted.
func (c *statusClient) write(
	ctx context.Context, s *svc.Service, want desiredStatus,
) (*metav1.ObjectMeta, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var written *corev1.Service
	err := c.cfg.failures().send(ctx, c.cfg.Router, "patch", "services",
		func(ctx context.Context, server *apiclient.Server) (err error) {
			written, err = c.apply(ctx, server, s, want)
			return err
		})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case isFieldConflict(err):
		c.events.post(ctx, s, corev1.EventTypeWarning, ReasonForeignStatus, fmt.Sprintf(
			"service %s: status.loadBalancer belongs to another program, and kvip does not change it: "+
				"stop that program, or give the Service another loadBalancerClass (%v)", s.Key(), err))
		return nil, err
	case err != nil:
		if !apierrors.IsConflict(err) && ctx.Err() == nil {
			c.cfg.Log.Warn("cannot write the status of a Service; trying again",
				"service", s.Key(), "err", err)
		}
		return nil, err
	}
	c.recordEvent(ctx, s, want)
	return &metav1.ObjectMeta{ResourceVersion: written.ResourceVersion}, nil
}

// recordEvent posts an Event if the condition changed.
func (c *statusClient) recordEvent(ctx context.Context, s *svc.Service, want desiredStatus) {
	if s.Condition != nil && s.Condition.Reason == want.reason && s.Condition.Message == want.message {
		return
	}
	kind := corev1.EventTypeNormal
	if want.isRefused() {
		kind = corev1.EventTypeWarning
	}
	c.cfg.Log.Info("updated Service condition",
		"service", s.Key(), "reason", want.reason, "message", want.message)
	c.events.postChange(ctx, s, kind, want.reason, want.message)
}

// apply writes the status by server-side apply. It updates instead if apply is forbidden, or if
// kvip wrote it by update before it had that permission (S9).
func (c *statusClient) apply(
	ctx context.Context, server *apiclient.Server, s *svc.Service, want desiredStatus,
) (*corev1.Service, error) {
	services := server.Core.Services(s.Namespace)
	if c.noApply.Load() {
		return c.update(ctx, services, s, want, nil)
	}
	body, err := want.applyBody(s)
	if err != nil {
		return nil, err
	}
	options := metav1.PatchOptions{FieldManager: svc.FieldManager, Force: &want.takeOver}
	written, err := services.Patch(ctx, s.Name, types.ApplyPatchType, body, options, "status")
	switch c.cfg.failures().count("patch", "services", err); {
	case apierrors.IsForbidden(err):
		c.noApply.Store(true)
		c.allowed.missing("patch services/status", "statuses are written by update instead", err)
	case isFieldConflict(err): // perhaps with kvip's own update
	case err != nil || !want.clear || !slices.ContainsFunc(written.Status.Conditions,
		isAddressCondition):
		return written, err
	default: // an apply does not remove what an update wrote
		s = &svc.Service{ObjectMeta: written.ObjectMeta, Condition: s.Condition}
	}
	return c.update(ctx, services, s, want, err)
}

// update writes the whole status, at the version of s. If cause is a field conflict, it does so
// only if kvip owns the fields.
func (c *statusClient) update(
	ctx context.Context, services typedv1.ServiceInterface, s *svc.Service, want desiredStatus,
	cause error,
) (*corev1.Service, error) {
	failures := c.cfg.failures()
	current, err := services.Get(ctx, s.Name, metav1.GetOptions{})
	switch failures.count("get", "services", err); {
	case err != nil:
		return nil, err
	case isFieldConflict(cause) && !updatedByKVIP(current):
		return nil, cause
	case current.ResourceVersion != s.ResourceVersion:
		return nil, apierrors.NewConflict(corev1.Resource("services"), s.Name,
			errors.New("it changed meanwhile"))
	}
	want.update(current, s)
	options := metav1.UpdateOptions{FieldManager: svc.FieldManager}
	written, err := services.UpdateStatus(ctx, current, options)
	if failures.count("update", "services", err); apierrors.IsForbidden(err) {
		c.noApply.Store(false) // neither is permitted: try both again
	}
	return written, err
}

// isFieldConflict reports whether err is a conflict about the owner of a field, not about the
// version.
func isFieldConflict(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsConflict(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool {
		return c.Type == metav1.CauseTypeFieldManagerConflict
	})
}
