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

// ServiceAccountNamespace does not follow the lease: API priority and fairness knows leader
// election by the ServiceAccounts of this namespace (E11).
const ServiceAccountNamespace = "kube-system"

// RBAC returns the ServiceAccount of kvip, its roles and their bindings: the least that the
// lease's name and namespace in cfg need. The objects are in the order in which to create them.
// Two configurations with different leases have roles of different names.
func RBAC(cfg config.Config) ([]any, error) {
	if err := cfg.Validate(config.Lease); err != nil {
		return nil, err
	}
	var objects []any
	for document := range bytes.SplitSeq(templates.RBAC, []byte("\n---\n")) {
		object, err := rbacObject(document, cfg)
		if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// rbacObject decodes one document and puts the lease's name and namespace where they belong.
func rbacObject(document []byte, cfg config.Config) (any, error) {
	var kind struct{ Kind string }
	if err := yaml.Unmarshal(document, &kind); err != nil {
		return nil, fmt.Errorf("read kind of template: %w", err)
	}
	switch kind.Kind {
	case "ServiceAccount":
		return decode[corev1.ServiceAccount](document)
	case "Role":
		role, err := decode[rbacv1.Role](document)
		if err == nil && forLease(role.Name) {
			role.Namespace, role.Name = cfg.Namespace, leaseRole(cfg.LeaseName)
			nameLease(role.Rules, cfg.LeaseName)
		}
		return role, err
	case "RoleBinding":
		binding, err := decode[rbacv1.RoleBinding](document)
		if err == nil && forLease(binding.Name) {
			binding.Namespace, binding.Name = cfg.Namespace, leaseRole(cfg.LeaseName)
			binding.RoleRef.Name = binding.Name
		}
		return binding, err
	case "ClusterRole":
		return decode[rbacv1.ClusterRole](document)
	case "ClusterRoleBinding":
		return decode[rbacv1.ClusterRoleBinding](document)
	}
	return nil, fmt.Errorf("read template: unknown kind %q", kind.Kind)
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

// nameLease limits the rules that name an object to the lease.
func nameLease(rules []rbacv1.PolicyRule, lease string) {
	for i := range rules {
		if len(rules[i].ResourceNames) > 0 {
			rules[i].ResourceNames = []string{lease}
		}
	}
}
