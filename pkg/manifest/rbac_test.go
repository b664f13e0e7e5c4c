package manifest

import (
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/kvip/kvip/pkg/config"
)

// allowed lists what the objects grant, as "namespace verb group/resource name".
func allowed(objects []any) []string {
	var grants []string
	add := func(namespace string, rules []rbacv1.PolicyRule) {
		for _, rule := range rules {
			names := rule.ResourceNames
			if len(names) == 0 {
				names = []string{"*"}
			}
			for _, verb := range rule.Verbs {
				for _, resource := range rule.Resources {
					for _, name := range names {
						grants = append(grants, namespace+" "+verb+" "+rule.APIGroups[0]+"/"+resource+" "+name)
					}
				}
				for _, url := range rule.NonResourceURLs {
					grants = append(grants, "- "+verb+" "+url)
				}
			}
		}
	}
	for _, object := range objects {
		switch o := object.(type) {
		case *rbacv1.Role:
			add(o.Namespace, o.Rules)
		case *rbacv1.ClusterRole:
			add("-", o.Rules)
		}
	}
	slices.Sort(grants)
	return grants
}

func TestRBACGrantsExactlyThis(t *testing.T) {
	cfg := config.DaemonSet()
	cfg.LeaseName, cfg.Namespace = "vip-a", "vips"
	objects, err := RBAC(cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"- get /livez/ping", "- get /readyz",
		"default get discovery.k8s.io/endpointslices kubernetes",
		"kube-system create /serviceaccounts/token kvip",
		"vips create /events *",
		"vips create coordination.k8s.io/leases *",
		"vips get coordination.k8s.io/leases vip-a",
		"vips list coordination.k8s.io/leases vip-a",
		"vips update coordination.k8s.io/leases vip-a",
		"vips watch coordination.k8s.io/leases vip-a",
	}
	if got := allowed(objects); !slices.Equal(got, want) {
		t.Errorf("granted:\n%q\nwant:\n%q", got, want)
	}
}

func TestEveryRoleIsBoundInItsNamespace(t *testing.T) {
	for _, namespace := range []string{"kube-system", "default", "vips"} {
		cfg := config.DaemonSet()
		cfg.Namespace = namespace
		objects, err := RBAC(cfg)
		if err != nil {
			t.Fatal(err)
		}
		roles, bound := map[string]bool{}, map[string]bool{}
		bind := func(namespace string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
			bound[ref.Kind+" "+namespace+"/"+ref.Name] = true
			if len(subjects) != 1 || subjects[0].Name != "kvip" || subjects[0].Namespace != "kube-system" {
				t.Errorf("%s is bound to %+v", ref.Name, subjects)
			}
		}
		for _, object := range objects {
			switch o := object.(type) {
			case *rbacv1.Role:
				roles["Role "+o.Namespace+"/"+o.Name] = true
			case *rbacv1.ClusterRole:
				roles["ClusterRole /"+o.Name] = true
			case *rbacv1.RoleBinding:
				bind(o.Namespace, o.RoleRef, o.Subjects)
			case *rbacv1.ClusterRoleBinding:
				bind("", o.RoleRef, o.Subjects)
			}
		}
		if len(roles) != 4 || len(bound) != 4 {
			t.Errorf("lease in %s: %d roles, %d bound", namespace, len(roles), len(bound))
		}
		for role := range roles {
			if !bound[role] {
				t.Errorf("lease in %s: %s is bound to nobody", namespace, role)
			}
		}
	}
}
