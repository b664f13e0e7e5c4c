package apiclient

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LeaseWriter is the part of a client for the Leases of one namespace that WriteLease needs.
type LeaseWriter interface {
	Create(
		ctx context.Context, l *coordinationv1.Lease, o metav1.CreateOptions,
	) (*coordinationv1.Lease, error)
	Update(
		ctx context.Context, l *coordinationv1.Lease, o metav1.UpdateOptions,
	) (*coordinationv1.Lease, error)
}

// WriteLease writes a copy of base with the changes of fill, and returns what was written. With a
// resourceVersion it updates, and the API server rejects the write if the Lease has changed since;
// without one it creates. fill gets maps of labels and annotations that are not nil.
func WriteLease(
	ctx context.Context, leases LeaseWriter, base *coordinationv1.Lease,
	fill func(*coordinationv1.Lease),
) (*coordinationv1.Lease, error) {
	l := CopyLease(base)
	fill(l)
	if l.ResourceVersion == "" {
		return leases.Create(ctx, l, metav1.CreateOptions{})
	}
	return leases.Update(ctx, l, metav1.UpdateOptions{})
}

// CopyLease returns a deep copy of base with maps of labels and annotations that are not nil.
func CopyLease(base *coordinationv1.Lease) *coordinationv1.Lease {
	l := base.DeepCopy()
	if l.Labels == nil {
		l.Labels = map[string]string{}
	}
	if l.Annotations == nil {
		l.Annotations = map[string]string{}
	}
	return l
}
