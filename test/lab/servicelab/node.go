package servicelab

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/kvip/kvip/test/lab/cluster"
)

// RegisterNodes makes Node objects with the nodes' own addresses, as their kubelets would.
func (l *Lab) RegisterNodes(ctx context.Context, nodes ...*cluster.Node) error {
	for _, n := range nodes {
		if err := l.registerNode(ctx, n); err != nil {
			return fmt.Errorf("register node %s: %w", n.Name, err)
		}
	}
	return nil
}

func (l *Lab) registerNode(ctx context.Context, n *cluster.Node) error {
	client := l.Kube.CoreV1().Nodes()
	object, err := client.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name}},
		metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		object, err = client.Get(ctx, n.Name, metav1.GetOptions{})
	}
	if err != nil {
		return err
	}
	object.Status.Addresses = nil
	for _, p := range n.Host.Addrs {
		object.Status.Addresses = append(object.Status.Addresses,
			corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: p.Addr().String()})
	}
	_, err = client.UpdateStatus(ctx, object, metav1.UpdateOptions{})
	return err
}

// ChangeNode changes a Node's metadata and spec.
func (l *Lab) ChangeNode(ctx context.Context, name string, change func(*corev1.Node)) error {
	client := l.Kube.CoreV1().Nodes()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		object, err := client.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(object)
		_, err = client.Update(ctx, object, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("change node %s: %w", name, err)
	}
	return nil
}

// Cordon marks a Node as unschedulable, as `kubectl cordon` does, or takes that back.
func (l *Lab) Cordon(ctx context.Context, name string, on bool) error {
	return l.ChangeNode(ctx, name, func(n *corev1.Node) { n.Spec.Unschedulable = on })
}
