package tokenmanager

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kvip/kvip/pkg/apiclient"
)

// fieldManager owns the fields that kvip applies (Kubernetes documentation, "Server-Side Apply").
const fieldManager = "kvip"

// object is one object to apply.
type object struct {
	path string // of the API
	body []byte // JSON
}

// encode converts the objects of kvip's RBAC for apply.
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
	return "", fmt.Errorf("encode RBAC: unsupported type %T", o)
}

// apply applies the objects by server-side apply. It is idempotent: unchanged objects are not
// written.
func apply(ctx context.Context, s *apiclient.Server, objects []object) error {
	for _, o := range objects {
		err := s.REST().Patch(types.ApplyPatchType).AbsPath(o.path).
			Param("fieldManager", fieldManager).Param("force", "true").Body(o.body).Do(ctx).Error()
		if err != nil {
			return fmt.Errorf("apply %s: %w", o.path, err)
		}
	}
	return nil
}

// permissions lists everything that the roles among the objects allow.
func permissions(objects []any) (all []permission) {
	for _, o := range objects {
		switch o := o.(type) {
		case *rbacv1.Role:
			all = append(all, permissionsOf(o.Namespace, o.Rules)...)
		case *rbacv1.ClusterRole:
			all = append(all, permissionsOf("", o.Rules)...)
		}
	}
	return all
}

func permissionsOf(namespace string, rules []rbacv1.PolicyRule) (all []permission) {
	for _, rule := range rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, verb := range rule.Verbs {
			for _, path := range rule.NonResourceURLs {
				all = append(all, permission{
					NonResourceAttributes: &authorizationv1.NonResourceAttributes{
						Path: path, Verb: verb,
					},
				})
			}
			of := authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb}
			for _, of.Group = range rule.APIGroups {
				for _, resource := range rule.Resources {
					of.Resource, of.Subresource, _ = strings.Cut(resource, "/")
					for _, name := range names {
						one := of
						one.Name = name
						all = append(all, permission{ResourceAttributes: &one})
					}
				}
			}
		}
	}
	return all
}

// describe names a permission for messages, as in "get leases kvip in kube-system".
func describe(p permission) string {
	if n := p.NonResourceAttributes; n != nil {
		return n.Verb + " " + n.Path
	}
	r := p.ResourceAttributes
	text := r.Verb + " " + r.Resource
	if r.Subresource != "" {
		text += "/" + r.Subresource
	}
	if r.Name != "" {
		text += " " + r.Name
	}
	if r.Namespace != "" {
		text += " in " + r.Namespace
	}
	return text
}
