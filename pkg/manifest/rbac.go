package manifest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/templates"
)

const (
	// ServiceAccount is the name of kvip's identity, in ServiceAccountNamespace.
	ServiceAccount = "kvip"
	// ServicesAccount is the ServiceAccount of a DaemonSet for Services only, and its name.
	ServicesAccount = "kvip-services"
	// ServiceAccountNamespace is independent of the lease's namespace: API priority and fairness
	// classifies requests of ServiceAccounts in this namespace as leader election (E11).
	ServiceAccountNamespace = "kube-system"
)

// Identity returns the name of the ServiceAccount for cfg. All static pods have the same one,
// whatever their job: those of a node share the token in the state directory.
func Identity(cfg config.Config) string {
	if servicesOnly(cfg) && cfg.StateDir == "" {
		return ServicesAccount
	}
	return ServiceAccount
}

// RBAC returns the ServiceAccount for cfg, its roles and their bindings, with the least permissions
// that its jobs need: the control plane unless cfg is for Services only, and Services if cfg has
// them. Create the objects in their order. Configurations with different leases or different jobs
// have roles of different names.
func RBAC(cfg config.Config) ([]any, error) {
	if err := cfg.Validate(config.Lease, config.Services); err != nil {
		return nil, err
	}
	var objects []any
	if Identity(cfg) == ServiceAccount {
		all, err := decodeRBAC(templates.RBAC)
		if err != nil {
			return nil, err
		}
		for _, object := range all {
			setLease(object, cfg)
		}
		objects = all
	}
	if !cfg.Services {
		return objects, nil
	}
	all, err := decodeRBAC(templates.ServicesRBAC)
	if err != nil {
		return nil, err
	}
	for _, object := range all {
		if _, account := object.(*corev1.ServiceAccount); account && Identity(cfg) != ServicesAccount {
			continue // ServiceAccount is among the objects already
		}
		setServicesIdentity(object, cfg)
		objects = append(objects, object)
	}
	return objects, nil
}

// BGPSecretsRBAC returns the role to read the Secrets of these names, which have the passwords of
// BGPPeers, and its binding. They are in ServiceAccountNamespace. Roles of RBAC stay as they are.
func BGPSecretsRBAC(cfg config.Config, names []string) ([]any, error) {
	for _, name := range names {
		if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
			return nil, &config.UsageError{
				Flag: "bgp-secret", Reason: fmt.Sprintf("%q cannot be the name of a Secret", name),
				Hint: "give the name of a Secret in " + ServiceAccountNamespace,
			}
		}
	}
	objects, err := decodeRBAC(templates.BGPSecretsRBAC)
	if err != nil {
		return nil, err
	}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	for _, object := range objects {
		if role, ok := object.(*rbacv1.Role); ok {
			role.Rules[0].ResourceNames = names
		}
		setServicesIdentity(object, cfg)
	}
	return objects, nil
}

// decodeRBAC decodes the documents of a template.
func decodeRBAC(template []byte) (objects []any, err error) {
	for document := range bytes.SplitSeq(template, []byte("\n---\n")) {
		object, err := decodeObject(document)
		if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}

func decodeObject(document []byte) (any, error) {
	var kind struct{ Kind string }
	if err := yaml.Unmarshal(document, &kind); err != nil {
		return nil, fmt.Errorf("read kind of template: %w", err)
	}
	switch kind.Kind {
	case "ServiceAccount":
		return decode[corev1.ServiceAccount](document)
	case "Role":
		return decode[rbacv1.Role](document)
	case "RoleBinding":
		return decode[rbacv1.RoleBinding](document)
	case "ClusterRole":
		return decode[rbacv1.ClusterRole](document)
	case "ClusterRoleBinding":
		return decode[rbacv1.ClusterRoleBinding](document)
	}
	return nil, fmt.Errorf("read template: unknown kind %q", kind.Kind)
}

// leaseRoleTemplate is the name, in the template, of the Role and RoleBinding for the lease.
const leaseRoleTemplate = "kvip"

// setLease sets name and namespace of the lease.
func setLease(object any, cfg config.Config) {
	switch o := object.(type) {
	case *rbacv1.Role:
		if o.Name == leaseRoleTemplate {
			o.Namespace, o.Name = cfg.Namespace, leaseRole(cfg.LeaseName)
			renameLeases(o.Rules, cfg.LeaseName)
		}
	case *rbacv1.RoleBinding:
		if o.Name == leaseRoleTemplate {
			o.Namespace, o.Name = cfg.Namespace, leaseRole(cfg.LeaseName)
			o.RoleRef.Name = o.Name
		}
	}
}

// leaseRole returns the name of the role for a lease. Agents for different VIPs each apply their
// own role: with one name the last one would revoke the permissions of the others.
func leaseRole(lease string) string {
	if lease == config.DefaultLeaseName {
		return "kvip"
	}
	return "kvip-lease-" + lease
}

// renameLeases sets the names of the Lease and of its directory.
func renameLeases(rules []rbacv1.PolicyRule, lease string) {
	directory := kubelease.DirectoryName(config.DefaultLeaseName)
	for _, rule := range rules {
		for i, name := range rule.ResourceNames {
			switch name {
			case config.DefaultLeaseName:
				rule.ResourceNames[i] = lease
			case directory:
				rule.ResourceNames[i] = kubelease.DirectoryName(lease)
			}
		}
	}
}

// setResourceName sets the name in the rules that are limited to one object of a resource.
func setResourceName(rules []rbacv1.PolicyRule, resource, name string) {
	for i := range rules {
		if len(rules[i].ResourceNames) > 0 && rules[i].Resources[0] == resource {
			rules[i].ResourceNames = []string{name}
		}
	}
}

// setServicesIdentity grants the permissions to the ServiceAccount of cfg. If a cluster has both
// ServiceAccounts, each has roles of its own, so that one does not overwrite those of the other.
func setServicesIdentity(object any, cfg config.Config) {
	account := Identity(cfg)
	rename := func(name *string) {
		if account == ServiceAccount {
			*name = strings.Replace(*name, ServicesAccount, "kvip-with-services", 1)
		}
	}
	switch o := object.(type) {
	case *rbacv1.Role:
		o.Namespace = servicesNamespace(o.Name, cfg)
		setResourceName(o.Rules, "daemonsets", account)
		rename(&o.Name)
	case *rbacv1.RoleBinding:
		o.Namespace = servicesNamespace(o.Name, cfg)
		o.Subjects[0].Name = account
		rename(&o.Name)
		rename(&o.RoleRef.Name)
	case *rbacv1.ClusterRole:
		if cfg.KubeVIP {
			o.Rules = append(o.Rules, kubeVIPRules()...)
		}
		rename(&o.Name)
	case *rbacv1.ClusterRoleBinding:
		o.Subjects[0].Name = account
		rename(&o.Name)
		rename(&o.RoleRef.Name)
	}
}

// kubeVIPRules are the additional permissions for kube-vip compatibility (S9): to read the
// cluster's own networks, to detect a kube-vip that renews the Lease of a Service, and to remove
// the finalizer of its cloud provider from a Service that is being deleted.
func kubeVIPRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{
			APIGroups: []string{"networking.k8s.io"},
			Resources: []string{"servicecidrs"},
			Verbs:     []string{"list", "watch"},
		},
		{
			APIGroups: []string{"coordination.k8s.io"},
			Resources: []string{"leases"},
			Verbs:     []string{"list"},
		},
		{
			APIGroups: []string{""},
			Resources: []string{"services"},
			Verbs:     []string{"patch"},
		},
	}
}

// servicesNamespace returns the namespace of the role with this name in the template: that of the
// Leases, or that of the ServiceAccount.
func servicesNamespace(role string, cfg config.Config) string {
	if role == ServicesAccount {
		return cfg.Namespace
	}
	return ServiceAccountNamespace
}
