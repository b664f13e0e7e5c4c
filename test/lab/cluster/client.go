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
	"github.com/kvip/kvip/test/lab/wait"
)

// RESTConfig returns the configuration of a client inside a node for its own API server, as the
// user of the first node's super-admin.conf and without a client-side rate limit.
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

// TLS returns a configuration that trusts the cluster's CA and authenticates as an administrator.
func (c *Cluster) TLS() (*tls.Config, error) {
	conf, err := c.RESTConfig(c.Nodes[0])
	if err != nil {
		return nil, err
	}
	return rest.TLSConfigFor(conf)
}

// StartClient starts a client of the VIP's /readyz on the client host. It is anonymous, unless an
// API server refuses anonymous requests.
func (c *Cluster) StartClient(vip netip.Addr) (*netlab.Client, error) {
	return c.StartClientOf(vip, "/readyz")
}

// StartClientOf starts a client of another page, as an administrator: anonymous clients may read
// only a few.
func (c *Cluster) StartClientOf(vip netip.Addr, page string) (*netlab.Client, error) {
	conf, err := c.TLS()
	if err != nil {
		return nil, err
	}
	refused := slices.ContainsFunc(c.Nodes, func(n *Node) bool { return n.API.NoAnonymous })
	if page == "/readyz" && !refused {
		conf.Certificates, conf.GetClientCertificate = nil, nil
	}
	return netlab.StartClient(netlab.ClientConfig{
		Host: c.Client, Target: netip.AddrPortFrom(vip, Port), TLS: conf, Path: page,
	})
}

// administrators is the group in admin.conf, and the name of its ClusterRoleBinding.
const administrators = "kubeadm:cluster-admins"

// BindAdmins authorizes the group in admin.conf, as `kubeadm init` does. It is idempotent.
func (c *Cluster) BindAdmins(ctx context.Context) error {
	kube, err := c.Kube(c.Nodes[0])
	if err != nil {
		return err
	}
	const group = administrators
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: group},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole",
			Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: group}},
	}
	_, err = kube.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("authorize admin.conf: %w", err)
	}
	return nil
}

// waitForEndpoints waits until the EndpointSlice default/kubernetes lists all API servers. Those
// that start together overwrite each other's list, which is complete 10 s later.
func (c *Cluster) waitForEndpoints(ctx context.Context) error {
	kube, err := c.Kube(c.Nodes[0])
	if err != nil {
		return err
	}
	return wait.Until(ctx, "the list of API servers", 100*time.Millisecond, func() error {
		slice, err := kube.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Get(ctx, "kubernetes",
			metav1.GetOptions{})
		if err != nil {
			return err
		}
		if listed := len(apiclient.ServersOf(slice)); listed < len(c.Nodes) {
			return fmt.Errorf("%d of %d are listed", listed, len(c.Nodes))
		}
		return nil
	})
}

// deleteLeases deletes the Leases in kube-system except those of the API servers themselves.
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

// deletePermissions deletes every role, binding and ServiceAccount whose name begins with kvip.
func (c *Cluster) deletePermissions(ctx context.Context) error {
	kube, err := c.Kube(c.Nodes[0])
	if err != nil {
		return err
	}
	var errs []error
	remove := func(list []metav1.ObjectMeta,
		do func(ctx context.Context, name string, o metav1.DeleteOptions) error, err error) {
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
		remove(metas(bindings.Items, func(o rbacv1.RoleBinding) metav1.ObjectMeta {
			return o.ObjectMeta
		}), rbac.RoleBindings(namespace).Delete, err)
		roles, err := rbac.Roles(namespace).List(ctx, metav1.ListOptions{})
		remove(metas(roles.Items, func(o rbacv1.Role) metav1.ObjectMeta { return o.ObjectMeta }),
			rbac.Roles(namespace).Delete, err)
		accounts, err := kube.CoreV1().ServiceAccounts(namespace).List(ctx, metav1.ListOptions{})
		remove(metas(accounts.Items, func(o corev1.ServiceAccount) metav1.ObjectMeta {
			return o.ObjectMeta
		}), kube.CoreV1().ServiceAccounts(namespace).Delete, err)
	}
	bindings, err := kube.RbacV1().ClusterRoleBindings().List(ctx, metav1.ListOptions{})
	remove(metas(bindings.Items, func(o rbacv1.ClusterRoleBinding) metav1.ObjectMeta {
		return o.ObjectMeta
	}), kube.RbacV1().ClusterRoleBindings().Delete, err)
	roles, err := kube.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{})
	remove(metas(roles.Items, func(o rbacv1.ClusterRole) metav1.ObjectMeta { return o.ObjectMeta }),
		kube.RbacV1().ClusterRoles().Delete, err)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("delete permissions: %w", err)
	}
	return nil
}

func metas[T any](items []T, of func(T) metav1.ObjectMeta) (all []metav1.ObjectMeta) {
	for _, item := range items {
		all = append(all, of(item))
	}
	return all
}

// RevokeAdmins removes the authorization of the group in admin.conf. BindAdmins restores it.
// super-admin.conf does not depend on it.
func (c *Cluster) RevokeAdmins(ctx context.Context) error {
	kube, err := c.Kube(c.Nodes[0])
	if err != nil {
		return err
	}
	err = kube.RbacV1().ClusterRoleBindings().Delete(ctx, administrators, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("revoke the authorization of admin.conf: %w", err)
	}
	return nil
}
