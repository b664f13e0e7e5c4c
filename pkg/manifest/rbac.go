package manifest

import (
	"bytes"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/templates"
)

// ServiceAccount is the name of kvip's identity, in ServiceAccountNamespace.
const ServiceAccount = "kvip"

// ServicesAccount is that of a DaemonSet that serves Services alone, and its name too.
const ServicesAccount = "kvip-services"

// ServiceAccountNamespace does not follow the lease: API priority and fairness knows leader
// election by the ServiceAccounts of this namespace (E11).
const ServiceAccountNamespace = "kube-system"

// Identity returns the name of the ServiceAccount for cfg. All static pods have one, whatever their
// job: those of a node share the token in the state directory.
func Identity(cfg config.Config) string {
	if servicesAlone(cfg) && cfg.StateDir == "" {
		return ServicesAccount
	}
	return ServiceAccount
}

// RBAC returns the ServiceAccount for cfg, its roles and their bindings: the least that its jobs need,
// the control plane unless it serves Services alone. The objects are in the order in which to create
// them. Two configurations with different leases or different jobs have roles of different names.
func RBAC(cfg config.Config) ([]any, error) {
	if err := cfg.Validate(config.Lease, config.Services); err != nil {
		return nil, err
	}
	var objects []any
	if Identity(cfg) == ServiceAccount {
		own, err := rbacObjects(templates.RBAC)
		if err != nil {
			return nil, err
		}
		for _, object := range own {
			nameForLease(object, cfg)
		}
		objects = own
	}
	if !cfg.Services {
		return objects, nil
	}
	more, err := servicesObjects(cfg)
	return append(objects, more...), err
}

// rbacObjects decodes the documents of a template.
func rbacObjects(template []byte) (objects []any, err error) {
	for document := range bytes.SplitSeq(template, []byte("\n---\n")) {
		object, err := rbacObject(document)
		if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}

func rbacObject(document []byte) (any, error) {
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

// nameForLease puts the lease's name and namespace where they belong.
func nameForLease(object any, cfg config.Config) {
	switch o := object.(type) {
	case *rbacv1.Role:
		if forLease(o.Name) {
			o.Namespace, o.Name = cfg.Namespace, leaseRole(cfg.LeaseName)
			nameObject(o.Rules, "leases", cfg.LeaseName)
		}
	case *rbacv1.RoleBinding:
		if forLease(o.Name) {
			o.Namespace, o.Name = cfg.Namespace, leaseRole(cfg.LeaseName)
			o.RoleRef.Name = o.Name
		}
	}
}

// forLease tells the Role and RoleBinding that follow the lease from those that do not.
func forLease(name string) bool { return name == "kvip" }

// leaseRole names the role for a lease: agents for different addresses each apply their own, and
// under one name the last would take the rights of the others.
func leaseRole(lease string) string {
	if lease == config.DefaultLeaseName {
		return "kvip"
	}
	return "kvip-lease-" + lease
}

// nameObject limits the rules that name an object of a resource to that of this name.
func nameObject(rules []rbacv1.PolicyRule, resource, name string) {
	for i := range rules {
		if len(rules[i].ResourceNames) > 0 && rules[i].Resources[0] == resource {
			rules[i].ResourceNames = []string{name}
		}
	}
}
