package manifest

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
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
		"default create /events *",
		"default get discovery.k8s.io/endpointslices kubernetes",
		"kube-system create /serviceaccounts/token kvip",
		"vips create /events *",
		"vips create coordination.k8s.io/leases *",
		"vips get coordination.k8s.io/leases vip-a",
		"vips list coordination.k8s.io/leases vip-a",
		"vips list coordination.k8s.io/leases vip-a-agents",
		"vips update coordination.k8s.io/leases vip-a",
		"vips update coordination.k8s.io/leases vip-a-agents",
		"vips watch coordination.k8s.io/leases vip-a",
		"vips watch coordination.k8s.io/leases vip-a-agents",
	}
	if got := allowed(objects); !slices.Equal(got, want) {
		t.Errorf("granted:\n%q\nwant:\n%q", got, want)
	}
}

func TestServicesRBACGrantsExactlyThis(t *testing.T) {
	cfg := config.ServicesDaemonSet()
	cfg.Namespace = "vips"
	objects, err := RBAC(cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"- create /events *", "- create kvip.dev/bgpnodestates *", "- get /services *",
		"- list /nodes *", "- list /services *", "- list discovery.k8s.io/endpointslices *",
		"- list kvip.dev/bfdprofiles *", "- list kvip.dev/bgpadvertisements *",
		"- list kvip.dev/bgpnodestates *", "- list kvip.dev/bgppeers *", "- list kvip.dev/ippools *",
		"- patch /services/status *", "- patch kvip.dev/bgpadvertisements/status *",
		"- patch kvip.dev/bgpnodestates/status *", "- patch kvip.dev/bgppeers/status *",
		"- patch kvip.dev/ippools/status *",
		"- update /services/status *",
		"- watch /nodes *", "- watch /services *", "- watch discovery.k8s.io/endpointslices *",
		"- watch kvip.dev/bfdprofiles *", "- watch kvip.dev/bgpadvertisements *",
		"- watch kvip.dev/bgppeers *", "- watch kvip.dev/ippools *",
		"kube-system get apps/daemonsets kvip-services",
		"kube-system list /configmaps kubevip", "kube-system watch /configmaps kubevip",
		"vips create coordination.k8s.io/leases *", "vips delete coordination.k8s.io/leases *",
		"vips get coordination.k8s.io/leases *",
		"vips list coordination.k8s.io/leases *", "vips update coordination.k8s.io/leases *",
		"vips watch coordination.k8s.io/leases *",
	}
	if got := allowed(objects); !slices.Equal(got, want) {
		t.Errorf("granted:\n%q\nwant:\n%q", got, want)
	}
}

// TestBGPSecretsAreNamed: no agent may read Secrets but those that the user names.
func TestBGPSecretsAreNamed(t *testing.T) {
	for name, cfg := range map[string]config.Config{
		"kvip-services": with(config.ServicesDaemonSet(), custom, alone),
		"kvip":          with(config.DaemonSet(), custom, services),
	} {
		objects, err := RBAC(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(allowed(objects), "\n"); strings.Contains(text, "secrets") {
			t.Errorf("%s may read Secrets:\n%s", name, text)
		}
		objects, err = BGPSecretsRBAC(cfg, []string{"b", "a", "b"})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"kube-system list /secrets a", "kube-system list /secrets b",
			"kube-system watch /secrets a", "kube-system watch /secrets b"}
		if got := allowed(objects); !slices.Equal(got, want) {
			t.Errorf("%s: granted %q, want %q", name, got, want)
		}
		role, binding := objects[0].(*rbacv1.Role), objects[1].(*rbacv1.RoleBinding)
		if binding.RoleRef.Name != role.Name || binding.Subjects[0].Name != name ||
			binding.Namespace != ServiceAccountNamespace {
			t.Errorf("%s: role %s in binding %+v", name, role.Name, binding)
		}
		for _, invalid := range []string{"", "A", "a/b"} {
			if _, err := BGPSecretsRBAC(cfg, []string{"a", invalid}); err == nil {
				t.Errorf("the name %q is accepted", invalid)
			}
		}
	}
}

// TestRightsAfterKubeVIP: only kube-vip compatibility gets its additional permissions (S9).
func TestRightsAfterKubeVIP(t *testing.T) {
	cfg := config.ServicesDaemonSet()
	before, err := RBAC(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.KubeVIP = true
	after, err := RBAC(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var more []string
	for _, right := range allowed(after) {
		if !slices.Contains(allowed(before), right) {
			more = append(more, right)
		}
	}
	want := []string{"- list coordination.k8s.io/leases *", "- list networking.k8s.io/servicecidrs *",
		"- patch /services *", "- watch networking.k8s.io/servicecidrs *"}
	if !slices.Equal(more, want) {
		t.Errorf("granted besides:\n%q\nwant:\n%q", more, want)
	}
}

func TestBothJobsHaveTheRightsOfBoth(t *testing.T) {
	cfg := with(config.DaemonSet(), custom, services)
	both, err := RBAC(cfg)
	if err != nil {
		t.Fatal(err)
	}
	one, err := RBAC(with(config.DaemonSet(), custom))
	if err != nil {
		t.Fatal(err)
	}
	other, err := RBAC(with(config.ServicesDaemonSet(), custom, alone))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, grant := range append(allowed(one), allowed(other)...) {
		want = append(want, strings.Replace(grant, "daemonsets kvip-services", "daemonsets kvip", 1))
	}
	slices.Sort(want)
	if got := allowed(both); !slices.Equal(got, want) {
		t.Errorf("granted:\n%q\nwant:\n%q", got, want)
	}
}

func TestEveryRoleIsBoundInItsNamespace(t *testing.T) {
	for _, row := range []struct {
		cfg   config.Config
		who   string
		roles int
	}{
		{config.DaemonSet(), "kvip", 4}, {config.ServicesDaemonSet(), "kvip-services", 3},
		{with(config.DaemonSet(), services),
			"kvip", 7},
	} {
		for _, namespace := range []string{"kube-system", "default", "vips"} {
			row.cfg.Namespace = namespace
			checkBound(t, row.cfg, row.who, row.roles)
		}
	}
}

// checkBound: each of so many roles is bound to that ServiceAccount, which is there.
func checkBound(t *testing.T, cfg config.Config, who string, count int) {
	t.Helper()
	objects, err := RBAC(cfg)
	if err != nil {
		t.Fatal(err)
	}
	roles, bound := map[string]bool{}, map[string]bool{}
	bind := func(namespace string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
		bound[ref.Kind+" "+namespace+"/"+ref.Name] = true
		if len(subjects) != 1 || subjects[0].Name != who || subjects[0].Namespace != "kube-system" {
			t.Errorf("%s is bound to %+v", ref.Name, subjects)
		}
	}
	accounts := 0
	for _, object := range objects {
		switch o := object.(type) {
		case *corev1.ServiceAccount:
			if accounts++; o.Name != who {
				t.Errorf("ServiceAccount %s instead of %s", o.Name, who)
			}
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
	if accounts != 1 || len(roles) != count || len(bound) != count {
		t.Errorf("%s, leases in %s: %d ServiceAccounts, %d roles, %d bound", who, cfg.Namespace, accounts,
			len(roles), len(bound))
	}
	for role := range roles {
		if !bound[role] {
			t.Errorf("%s, leases in %s: %s has no binding", who, cfg.Namespace, role)
		}
	}
}
