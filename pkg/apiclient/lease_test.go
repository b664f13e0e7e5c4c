package apiclient

import (
	"context"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

// TestWriteLease creates without a version, updates at one, and fails at an old one. The base is
// not changed.
func TestWriteLease(t *testing.T) {
	f := newFixture(t)
	s := f.open(f.kubeconfig("admin.conf", fakeapi.User{Token: "t"}))
	server := testutil.Must(s.ServerInPool("", f.server.Host))
	leases := server.Coordination.Leases("kube-system")
	write := func(base *coordinationv1.Lease, holder string) (*coordinationv1.Lease, error) {
		return WriteLease(context.Background(), leases, base, func(l *coordinationv1.Lease) {
			l.Labels["role"], l.Annotations["by"] = "test", holder
			l.Spec.HolderIdentity = &holder
		})
	}
	empty := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "a"},
	}
	first := testutil.Must(write(empty, "x"))
	if empty.Labels != nil || empty.Spec.HolderIdentity != nil || first.Annotations["by"] != "x" {
		t.Errorf("base %+v, written %+v", empty, first)
	}
	if _, err := write(empty, "y"); !apierrors.IsAlreadyExists(err) {
		t.Errorf("a second create: %v", err)
	}
	second := testutil.Must(write(first, "y"))
	if first.Annotations["by"] != "x" || *second.Spec.HolderIdentity != "y" {
		t.Errorf("base %+v, written %+v", first, second)
	}
	if _, err := write(first, "z"); !apierrors.IsConflict(err) {
		t.Errorf("an update at an old version: %v", err)
	}
}
