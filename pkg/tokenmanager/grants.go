package tokenmanager

import (
	"encoding/json"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// object is one that is applied: where, and what.
type object struct {
	path string // of the API
	body []byte // JSON
}

// encode turns the typed objects of kvip's RBAC into what is sent.
func encode(objects []any) (all []object, err error) {
	for _, o := range objects {
		path, err := pathOf(o)
		if err != nil {
			return nil, err
		}
		body, err := json.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", path, err)
		}
		all = append(all, object{path, body})
	}
	return all, nil
}

func pathOf(o any) (string, error) {
	const rbac = "/apis/rbac.authorization.k8s.io/v1"
	switch o := o.(type) {
	case *corev1.ServiceAccount:
		return "/api/v1/namespaces/" + o.Namespace + "/serviceaccounts/" + o.Name, nil
	case *rbacv1.Role:
		return rbac + "/namespaces/" + o.Namespace + "/roles/" + o.Name, nil
	case *rbacv1.RoleBinding:
		return rbac + "/namespaces/" + o.Namespace + "/rolebindings/" + o.Name, nil
	case *rbacv1.ClusterRole:
		return rbac + "/clusterroles/" + o.Name, nil
	case *rbacv1.ClusterRoleBinding:
		return rbac + "/clusterrolebindings/" + o.Name, nil
	}
	return "", fmt.Errorf("encode RBAC: a %T is no part of it", o)
}

// grants lists, as questions to an API server, everything that the roles among the objects allow.
func grants(objects []any) (all []authorizationv1.SelfSubjectAccessReviewSpec) {
	for _, o := range objects {
		switch o := o.(type) {
		case *rbacv1.Role:
			all = append(all, questions(o.Namespace, o.Rules)...)
		case *rbacv1.ClusterRole:
			all = append(all, questions("", o.Rules)...)
		}
	}
	return all
}

func questions(namespace string, rules []rbacv1.PolicyRule) (all []authorizationv1.SelfSubjectAccessReviewSpec) {
	for _, rule := range rules {
		for _, verb := range rule.Verbs {
			for _, path := range rule.NonResourceURLs {
				all = append(all, authorizationv1.SelfSubjectAccessReviewSpec{
					NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: verb},
				})
			}
			all = append(all, about(namespace, verb, rule)...)
		}
	}
	return all
}

func about(namespace, verb string, rule rbacv1.PolicyRule) (all []authorizationv1.SelfSubjectAccessReviewSpec) {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, name := range names {
				all = append(all, authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: attributes(namespace, verb, group, resource, name)})
			}
		}
	}
	return all
}

// attributes takes a resource such as "serviceaccounts/token" apart.
func attributes(namespace, verb, group, resource, name string) *authorizationv1.ResourceAttributes {
	resource, sub, _ := strings.Cut(resource, "/")
	return &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Group: group, Resource: resource, Subresource: sub, Name: name}
}

// describe names a right for people, as in "get leases kvip in kube-system".
func describe(q authorizationv1.SelfSubjectAccessReviewSpec) string {
	if n := q.NonResourceAttributes; n != nil {
		return n.Verb + " " + n.Path
	}
	r := q.ResourceAttributes
	resource := r.Resource
	if r.Subresource != "" {
		resource += "/" + r.Subresource
	}
	text := r.Verb + " " + resource
	if r.Name != "" {
		text += " " + r.Name
	}
	if r.Namespace != "" {
		text += " in " + r.Namespace
	}
	return text
}
