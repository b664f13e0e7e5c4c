package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/test/lab/netlab"
)

// RESTConfig reaches a node's own API server, from inside the node, with the rights of the
// first node's super-admin.conf and without a client-side rate limit.
func (c *Cluster) RESTConfig(n *Node) (*rest.Config, error) {
	conf, err := clientcmd.BuildConfigFromFlags(n.URL(), c.Nodes[0].kubernetes("super-admin.conf"))
	if err != nil {
		return nil, fmt.Errorf("read super-admin.conf: %w", err)
	}
	conf.Dial = n.Host.Dial
	conf.QPS = -1
	conf.Timeout = 10 * time.Second
	return conf, nil
}

// Kube returns a client of a node's own API server.
func (c *Cluster) Kube(n *Node) (kubernetes.Interface, error) {
	conf, err := c.RESTConfig(n)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(conf)
}

// TLS trusts the cluster's CA and authenticates as an administrator.
func (c *Cluster) TLS() (*tls.Config, error) {
	conf, err := c.RESTConfig(c.Nodes[0])
	if err != nil {
		return nil, err
	}
	return rest.TLSConfigFor(conf)
}

// StartClient asks the VIP for /readyz from the client host: anonymously, unless there are API
// servers without anonymous access.
func (c *Cluster) StartClient(vip netip.Addr) (*netlab.Client, error) {
	conf, err := c.TLS()
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(c.Nodes, func(n *Node) bool { return n.API.NoAnonymous }) {
		conf.Certificates, conf.GetClientCertificate = nil, nil
	}
	return netlab.StartClient(netlab.ClientConfig{
		Host: c.Client, Target: netip.AddrPortFrom(vip, Port), TLS: conf,
	})
}

// administrators is the group in admin.conf, and the name of the binding of its rights.
const administrators = "kubeadm:cluster-admins"

// bindAdmins gives the group in admin.conf its rights, as `kubeadm init` does.
func (c *Cluster) bindAdmins(ctx context.Context) error {
	kube, err := c.Kube(c.Nodes[0])
	if err != nil {
		return err
	}
	const group = administrators
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: group},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: group}},
	}
	_, err = kube.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("give admin.conf its rights: %w", err)
	}
	return nil
}

// waitForEndpoints waits until the EndpointSlice default/kubernetes lists all API servers. Those that
// start together may each write what they know; the list is complete 10 s later.
func (c *Cluster) waitForEndpoints(ctx context.Context) error {
	kube, err := c.Kube(c.Nodes[0])
	if err != nil {
		return err
	}
	for {
		slice, err := kube.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Get(ctx, "kubernetes", metav1.GetOptions{})
		if err == nil && len(apiclient.Endpoints(slice)) >= len(c.Nodes) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the list of API servers: %w", errors.Join(ctx.Err(), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// deleteLeases deletes the Leases in kube-system but those of the API servers themselves.
func (c *Cluster) deleteLeases(ctx context.Context) error {
	kube, err := c.Kube(c.Nodes[0])
	if err != nil {
		return err
	}
	leases := kube.CoordinationV1().Leases(metav1.NamespaceSystem)
	err = leases.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{
		LabelSelector: "apiserver.kubernetes.io/identity!=kube-apiserver",
	})
	if err != nil {
		return fmt.Errorf("delete leases: %w", err)
	}
	return nil
}

// deletePermissions deletes every role, binding and ServiceAccount whose name begins as kvip's do.
func (c *Cluster) deletePermissions(ctx context.Context) error {
	kube, err := c.Kube(c.Nodes[0])
	if err != nil {
		return err
	}
	var errs []error
	remove := func(list []metav1.ObjectMeta, do func(ctx context.Context, name string, o metav1.DeleteOptions) error, err error) {
		errs = append(errs, err)
		for _, meta := range list {
			if strings.HasPrefix(meta.Name, "kvip") {
				errs = append(errs, do(ctx, meta.Name, metav1.DeleteOptions{}))
			}
		}
	}
	for _, namespace := range []string{metav1.NamespaceSystem, metav1.NamespaceDefault} {
		rbac := kube.RbacV1()
		bindings, err := rbac.RoleBindings(namespace).List(ctx, metav1.ListOptions{})
		remove(metas(bindings.Items, func(o rbacv1.RoleBinding) metav1.ObjectMeta { return o.ObjectMeta }), rbac.RoleBindings(namespace).Delete, err)
		roles, err := rbac.Roles(namespace).List(ctx, metav1.ListOptions{})
		remove(metas(roles.Items, func(o rbacv1.Role) metav1.ObjectMeta { return o.ObjectMeta }), rbac.Roles(namespace).Delete, err)
		accounts, err := kube.CoreV1().ServiceAccounts(namespace).List(ctx, metav1.ListOptions{})
		remove(metas(accounts.Items, func(o corev1.ServiceAccount) metav1.ObjectMeta { return o.ObjectMeta }), kube.CoreV1().ServiceAccounts(namespace).Delete, err)
	}
	bindings, err := kube.RbacV1().ClusterRoleBindings().List(ctx, metav1.ListOptions{})
	remove(metas(bindings.Items, func(o rbacv1.ClusterRoleBinding) metav1.ObjectMeta { return o.ObjectMeta }), kube.RbacV1().ClusterRoleBindings().Delete, err)
	roles, err := kube.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{})
	remove(metas(roles.Items, func(o rbacv1.ClusterRole) metav1.ObjectMeta { return o.ObjectMeta }), kube.RbacV1().ClusterRoles().Delete, err)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("delete rights: %w", err)
	}
	return nil
}

func metas[T any](items []T, of func(T) metav1.ObjectMeta) (all []metav1.ObjectMeta) {
	for _, item := range items {
		all = append(all, of(item))
	}
	return all
}

// RevokeAdmins removes the rights of the group in admin.conf; BindAdmins restores them.
// Those of super-admin.conf do not depend on them.
func (c *Cluster) RevokeAdmins(ctx context.Context) error {
	kube, err := c.Kube(c.Nodes[0])
	if err != nil {
		return err
	}
	err = kube.RbacV1().ClusterRoleBindings().Delete(ctx, administrators, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("take the rights of admin.conf: %w", err)
	}
	return nil
}

// BindAdmins gives the group in admin.conf its rights unless it has them.
func (c *Cluster) BindAdmins(ctx context.Context) error { return c.bindAdmins(ctx) }
