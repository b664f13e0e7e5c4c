package allocator

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/svc"
)

// send applies the status, and updates it where the right to apply is missing, or where kvip has updated it
// before it had that right (S9).
func (c *statusClient) send(ctx context.Context, server *apiclient.Server, s *svc.Service, want wish) (*corev1.Service, error) {
	services := server.Core.Services(s.Namespace)
	if c.noPatch.Load() {
		return c.update(ctx, services, s, want, nil)
	}
	body, err := applied(s, want)
	if err != nil {
		return nil, err
	}
	written, err := services.Patch(ctx, s.Name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: FieldManager, Force: &want.take}, "status")
	switch c.cfg.failed().of("patch", "services", err); {
	case apierrors.IsForbidden(err):
		c.noPatch.Store(true)
		c.rights.missing("patch services/status", "statuses are written by update instead", err)
	case isForeignField(err): // perhaps kvip's own
	case err != nil || !want.clear || !tells(written):
		return written, err
	default: // an apply does not take away what was updated
		s = &svc.Service{ObjectMeta: written.ObjectMeta, Condition: s.Condition}
	}
	return c.update(ctx, services, s, want, err)
}

// update writes the whole status, at the version of s. After a conflict about fields it does only where these
// are kvip's own.
func (c *statusClient) update(ctx context.Context, services typedv1.ServiceInterface, s *svc.Service, want wish, why error) (*corev1.Service, error) {
	failed := c.cfg.failed()
	current, err := services.Get(ctx, s.Name, metav1.GetOptions{})
	switch failed.of("get", "services", err); {
	case err != nil:
		return nil, err
	case isForeignField(why) && !updatedByKVIP(current):
		return nil, why
	case current.ResourceVersion != s.ResourceVersion:
		return nil, apierrors.NewConflict(corev1.Resource("services"), s.Name, errors.New("it changed meanwhile"))
	}
	update(current, s, want)
	written, err := services.UpdateStatus(ctx, current, metav1.UpdateOptions{FieldManager: FieldManager})
	if failed.of("update", "services", err); apierrors.IsForbidden(err) {
		c.noPatch.Store(false) // neither right is there: try both again
	}
	return written, err
}

// tells is whether kvip's condition is in a Service's status.
func tells(o *corev1.Service) bool {
	return slices.ContainsFunc(o.Status.Conditions, func(c metav1.Condition) bool { return c.Type == svc.Condition })
}

// isForeignField tells the conflict about who owns a field from that about the version.
func isForeignField(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsConflict(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool { return c.Type == metav1.CauseTypeFieldManagerConflict })
}
