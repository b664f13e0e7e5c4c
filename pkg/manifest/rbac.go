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

// RBAC returns the ServiceAccount of the DaemonSet, its roles and their bindings: the least that
// the lease's name and namespace in cfg need. The objects are in the order in which to create them.
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
			role.Namespace = cfg.Namespace
			nameLease(role.Rules, cfg.LeaseName)
		}
		return role, err
	case "RoleBinding":
		binding, err := decode[rbacv1.RoleBinding](document)
		if err == nil && forLease(binding.Name) {
			binding.Namespace = cfg.Namespace
		}
		return binding, err
	case "ClusterRole":
		return decode[rbacv1.ClusterRole](document)
	case "ClusterRoleBinding":
		return decode[rbacv1.ClusterRoleBinding](document)
	}
	return nil, fmt.Errorf("read template: unknown kind %q", kind.Kind)
}

// forLease tells the Role and RoleBinding that follow the lease from those that stay in default.
func forLease(name string) bool { return name == "kvip" }

// nameLease limits the rules that name an object to the lease.
func nameLease(rules []rbacv1.PolicyRule, lease string) {
	for i := range rules {
		if len(rules[i].ResourceNames) > 0 {
			rules[i].ResourceNames = []string{lease}
		}
	}
}
