package allocator

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/svc"
)

// write takes or renews the seat; the answer decides whether it is held.
func (k *LeaderElector) write(ctx context.Context, now time.Duration, holder string) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var written *coordinationv1.Lease
	err := k.failed().do(ctx, k.cfg.Router, "update", "leases", func(ctx context.Context, s *apiclient.Server) (err error) {
		written, err = k.send(ctx, s, holder)
		return err
	})
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil:
		k.took(written, now)
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err):
		k.lose()
	default:
		k.cfg.Log.Debug("cannot write the Lease of the allocator", "lease", k.cfg.Name, "reason", err)
	}
}

// took takes in the answer. The caller holds the lock.
func (k *LeaderElector) took(written *coordinationv1.Lease, sentAt time.Duration) {
	if written.Spec.HolderIdentity == nil || *written.Spec.HolderIdentity != k.cfg.Identity {
		k.lose()
		return
	}
	if !k.seat.held {
		k.term++
		k.cfg.Log.Info("this node gives out addresses now", "lease", k.cfg.Name, "reason", "the seat was free")
	}
	k.lease = written
	k.seat.confirmed(viewOf(svc.ReadLease(written)), sentAt, k.cfg.Clock())
}

func (k *LeaderElector) lose() {
	k.seat.lost()
	k.lease = nil
}

// send writes the Lease at the version that was judged.
func (k *LeaderElector) send(ctx context.Context, s *apiclient.Server, holder string) (*coordinationv1.Lease, error) {
	leases := s.Coordination.Leases(k.cfg.Namespace)
	k.mu.Lock()
	last, own := k.seat.last, k.lease
	k.mu.Unlock()
	if !last.exists {
		l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: k.cfg.Name, Namespace: k.cfg.Namespace}}
		k.fill(l, holder)
		made, err := leases.Create(ctx, l, metav1.CreateOptions{})
		return made, k.failed().of("create", "leases", err)
	}
	l := own
	if l == nil || l.ResourceVersion != last.version {
		var err error
		if l, err = leases.Get(ctx, k.cfg.Name, metav1.GetOptions{}); k.failed().of("get", "leases", err) != nil {
			return nil, err
		}
		if l.ResourceVersion != last.version { // E2: the write carries the version that the wait was counted from
			return nil, apierrors.NewConflict(coordinationv1.Resource("leases"), k.cfg.Name, fmt.Errorf("it changed to version %s", l.ResourceVersion))
		}
	}
	l = l.DeepCopy()
	k.fill(l, holder)
	written, err := leases.Update(ctx, l, metav1.UpdateOptions{})
	return written, k.failed().of("update", "leases", err)
}

func (k *LeaderElector) failed() failures { return k.cfg.OnFailure }

// fill writes holder and terms into l.
func (k *LeaderElector) fill(l *coordinationv1.Lease, holder string) {
	if l.Annotations == nil {
		l.Annotations = map[string]string{}
	}
	l.Annotations[svc.AnnotationLeader] = signature(holder)
	now, seconds := metav1.NowMicro(), int32(k.cfg.Duration()/time.Second)
	if l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity != holder {
		transitions := int32(1)
		if l.Spec.LeaseTransitions != nil {
			transitions += *l.Spec.LeaseTransitions
		}
		l.Spec.LeaseTransitions, l.Spec.AcquireTime = &transitions, &now
	}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &holder, &seconds, &now
}

// leave gives the seat to whoever comes first.
func (k *LeaderElector) leave(ctx context.Context) {
	if _, held := k.IsLeader(); held {
		k.write(ctx, k.cfg.Clock(), "")
	}
}

func viewOf(l *svc.Lease) view {
	if l == nil {
		return view{}
	}
	return view{exists: true, version: l.ResourceVersion, holder: l.Holder, duration: l.Duration, kvip: l.Leader == signature(l.Holder)}
}

// signature is what a kvip writes beside the holder.
func signature(holder string) string { return "kvip:" + holder }
