package manifest

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/templates"
)

// servicesObjects returns what serving Services needs, for the identity of cfg; its ServiceAccount too,
// unless that has the control plane's rights and comes with them.
func servicesObjects(cfg config.Config) ([]any, error) {
	all, err := rbacObjects(templates.ServicesRBAC)
	if err != nil {
		return nil, err
	}
	var objects []any
	for _, object := range all {
		if _, account := object.(*corev1.ServiceAccount); account && Identity(cfg) != ServicesAccount {
			continue
		}
		nameForServices(object, cfg)
		objects = append(objects, object)
	}
	return objects, nil
}

// nameForServices gives the rights to the identity of cfg. Where both ServiceAccounts are in one
// cluster, each has roles of its own, so that what one applies takes nothing from the other.
func nameForServices(object any, cfg config.Config) {
	who := Identity(cfg)
	rename := func(name *string) {
		if who == ServiceAccount {
			*name = strings.Replace(*name, ServicesAccount, "kvip-with-services", 1)
		}
	}
	switch o := object.(type) {
	case *rbacv1.Role:
		o.Namespace = servicesNamespace(o.Name, cfg)
		nameObject(o.Rules, "daemonsets", who)
		rename(&o.Name)
	case *rbacv1.RoleBinding:
		o.Namespace = servicesNamespace(o.Name, cfg)
		o.Subjects[0].Name = who
		rename(&o.Name)
		rename(&o.RoleRef.Name)
	case *rbacv1.ClusterRole:
		if cfg.KubeVIP {
			o.Rules = append(o.Rules, afterKubeVIP()...)
		}
		rename(&o.Name)
	case *rbacv1.ClusterRoleBinding:
		o.Subjects[0].Name = who
		rename(&o.Name)
		rename(&o.RoleRef.Name)
	}
}

// afterKubeVIP are the rights that serving what was made for kube-vip needs besides (S9): which networks are the
// cluster's own, whether a kube-vip still renews the Lease of a Service, and to take the finalizer of its cloud
// provider from a Service that is being deleted.
func afterKubeVIP() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"servicecidrs"}, Verbs: []string{"list", "watch"}},
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"list"}},
		{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"patch"}},
	}
}

// servicesNamespace is where the role of this name, as in the template, belongs: with the Leases, or
// with the ServiceAccount.
func servicesNamespace(role string, cfg config.Config) string {
	if role == ServicesAccount {
		return cfg.Namespace
	}
	return ServiceAccountNamespace
}
