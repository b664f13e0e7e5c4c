package allocator

import (
	"context"
	"encoding/json"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/svc"
)

// release lets Services go that wait for kube-vip's cloud provider, whose place kvip has (S9). By then the ledger has
// none of their addresses. One with a status of another program waits for that: other cloud providers have the
// same finalizer, and what they made would be left.
func (a *Allocator) release(services []*svc.Service) {
	for _, s := range services {
		if len(s.Finalizers) == 0 || byOthers(s) {
			continue
		}
		// Each removal is the same: spaced as a status that does not change.
		if due, _ := a.duePool("service "+string(s.Owner()), v1alpha1.IPPoolStatus{}); due {
			a.background(func(ctx context.Context) { a.removeFinalizer(ctx, s) })
		}
	}
}

func (a *Allocator) removeFinalizer(ctx context.Context, s *svc.Service) {
	rest := slices.DeleteFunc(slices.Clone(s.Finalizers), func(f string) bool { return f == svc.CleanupFinalizer })
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": s.ResourceVersion, "uid": s.UID, "finalizers": rest}})
	if err == nil {
		failed := a.cfg.failed()
		err = failed.do(ctx, a.cfg.Router, "patch", "services", func(ctx context.Context, server *apiclient.Server) error {
			_, err := server.Core.Services(s.Namespace).Patch(ctx, s.Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: FieldManager})
			if failed.of("patch", "services", err); apierrors.IsForbidden(err) { // no reason to change credentials
				a.writer.status.rights.missing("patch services", "Services that wait for kube-vip's cloud provider are not deleted: remove the finalizer "+svc.CleanupFinalizer, err)
				return nil
			}
			return err
		})
	}
	if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		a.cfg.Log.Warn("cannot remove a finalizer; trying again", "service", s.Owner(), "reason", err)
	}
}
