package speaker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/liveness"
	"github.com/kvip/kvip/pkg/svc"
)

// write makes or updates the Lease, at the version that this process wrote last or has judged.
func (h *NodeLease) write(ctx context.Context, s *apiclient.Server, info svc.NodeInfo, holder string, duration time.Duration) (*coordinationv1.Lease, error) {
	leases := s.Coordination.Leases(h.cfg.Namespace)
	h.mu.Lock()
	l := h.lease
	h.mu.Unlock()
	if l == nil {
		var err error
		l, err = leases.Get(ctx, h.cfg.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			l = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: h.cfg.Name, Namespace: h.cfg.Namespace}}
			h.fill(l, info, holder, duration)
			return leases.Create(ctx, l, metav1.CreateOptions{})
		}
		if err != nil {
			return nil, err
		}
		if err := h.mayTake(l); err != nil {
			return nil, err
		}
	}
	l = l.DeepCopy()
	h.fill(l, info, holder, duration)
	written, err := leases.Update(ctx, l, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		h.mu.Lock()
		h.lease = nil
		h.mu.Unlock()
	}
	return written, err
}

// mayTake refuses a Lease that another machine renews under this node's name (E8): it must have been
// silent for its duration.
func (h *NodeLease) mayTake(l *coordinationv1.Lease) error {
	seen := svc.ReadLease(l)
	if seen.Holder == "" || seen.Holder == h.cfg.Identity {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Clock()
	if h.seen.version != l.ResourceVersion {
		if h.seen.version != "" {
			h.twin = seen.Holder
		}
		h.seen = rival{l.ResourceVersion, now}
	}
	if now-h.seen.at > seen.Duration {
		return nil
	}
	return apierrors.NewConflict(coordinationv1.Resource("leases"), l.Name, fmt.Errorf(
		"%s has it, an earlier boot of this node or another machine of its name: waiting until it is silent for %v", seen.Holder, seen.Duration))
}

// Release says that this node is gone, so that the others take its addresses at once.
func (h *NodeLease) Release(ctx context.Context) error {
	h.mu.Lock()
	info, nodes := h.info, h.nodes
	h.mu.Unlock()
	err := h.cfg.Router.Do(ctx, func(ctx context.Context, s *apiclient.Server) error {
		_, err := h.write(ctx, s, info, "", liveness.Duration(nodes))
		return err
	})
	if err != nil {
		return fmt.Errorf("give up lease %s: %w", h.cfg.Name, err)
	}
	return nil
}

// Delete deletes the Lease.
func (h *NodeLease) Delete(ctx context.Context) error {
	err := h.cfg.Router.Do(ctx, func(ctx context.Context, s *apiclient.Server) error {
		return s.Coordination.Leases(h.cfg.Namespace).Delete(ctx, h.cfg.Name, metav1.DeleteOptions{})
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete lease %s: %w", h.cfg.Name, err)
	}
	return nil
}

// fill writes into l what it is to say. It belongs to its Node, so that it goes when that is deleted.
func (h *NodeLease) fill(l *coordinationv1.Lease, info svc.NodeInfo, holder string, duration time.Duration) {
	text, err := json.Marshal(info)
	if err != nil {
		text = []byte("{}") // cannot happen: it is made of strings and numbers
	}
	if l.Labels == nil {
		l.Labels = map[string]string{}
	}
	if l.Annotations == nil {
		l.Annotations = map[string]string{}
	}
	l.Labels[svc.LabelRole], l.Annotations[svc.AnnotationNode] = svc.RoleNode, string(text)
	if n := h.cfg.Cache.Node(h.cfg.Node); n != nil {
		l.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID}}
	}
	now, seconds := metav1.NowMicro(), int32(duration/time.Second)
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &holder, &seconds, &now
}
