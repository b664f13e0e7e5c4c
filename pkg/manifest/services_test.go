package manifest

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/kvip/kvip/pkg/config"
)

// TestWhereADaemonSetRuns: on control-plane nodes for the VIP, on the others for Services, on all
// for both jobs, as one pod per node, and with everywhere on all nodes.
func TestWhereADaemonSetRuns(t *testing.T) {
	for _, row := range []struct {
		name       string
		cfg        config.Config
		everywhere bool
		called     string
		where      corev1.NodeSelectorOperator // of the control-plane label; empty: everywhere
		tainted    bool                        // on nodes with every taint
	}{
		{"the VIP", with(config.DaemonSet()), false, "kvip", corev1.NodeSelectorOpExists, false},
		{"the VIP, everywhere", with(config.DaemonSet()), true, "kvip", "", false},
		{"Services", config.ServicesDaemonSet(), false, "kvip-services",
			corev1.NodeSelectorOpDoesNotExist, true},
		{"Services, everywhere", config.ServicesDaemonSet(), true, "kvip-services", "", true},
		{"both", with(config.DaemonSet(), services), false, "kvip", "", true},
		{"both, everywhere", with(config.DaemonSet(), services), true, "kvip", "", true},
	} {
		set, err := DaemonSet(row.cfg, row.everywhere)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		pod := set.Spec.Template.Spec
		var where corev1.NodeSelectorOperator
		if pod.Affinity != nil {
			required := pod.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
			where = required.NodeSelectorTerms[0].MatchExpressions[0].Operator
		}
		tainted := pod.Tolerations[0].Key == "" && pod.Tolerations[0].Effect == "" &&
			pod.Tolerations[0].Operator == corev1.TolerationOpExists
		if set.Name != row.called || pod.ServiceAccountName != row.called || where != row.where ||
			tainted != row.tainted {
			t.Errorf("%s: %s as %s on nodes where %s is %q, whatever the taints: %v", row.name, set.Name,
				pod.ServiceAccountName, controlPlaneLabel, where, tainted)
		}
	}
}

// TestDaemonSetsStandBesideEachOther: neither takes the other's pods for its own, nor its ports.
func TestDaemonSetsStandBesideEachOther(t *testing.T) {
	one, err := DaemonSet(with(config.DaemonSet()), true)
	if err != nil {
		t.Fatal(err)
	}
	other, err := DaemonSet(config.ServicesDaemonSet(), true)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range other.Spec.Selector.MatchLabels {
		if other.Spec.Template.Labels[key] != value || other.Labels[key] != value {
			t.Errorf("its own pods have not the label %s=%s", key, value)
		}
	}
	label := one.Spec.Template.Labels[componentLabel]
	if label == other.Spec.Selector.MatchLabels[componentLabel] {
		t.Errorf("both select the component %s", label)
	}
	if a, b := one.Spec.Template.Spec.Containers[0].ReadinessProbe.HTTPGet.Port,
		other.Spec.Template.Spec.Containers[0].ReadinessProbe.HTTPGet.Port; a == b {
		t.Errorf("both serve /readyz on port %s", a.String())
	}
}

// TestManifestsFitOnOneNode: a container port of a pod in the host's network is a port of the
// node, and the scheduler keeps pods with the same one apart. One that waits for the other must be
// able to run.
func TestManifestsFitOnOneNode(t *testing.T) {
	static, err := Pod(with(config.StaticPod()))
	if err != nil {
		t.Fatal(err)
	}
	pods := map[string]corev1.PodSpec{"static pod": static.Spec}
	for name, cfg := range map[string]config.Config{"DaemonSet": with(config.DaemonSet()),
		"DaemonSet of Services": config.ServicesDaemonSet()} {
		set, err := DaemonSet(cfg, true)
		if err != nil {
			t.Fatal(err)
		}
		pods[name] = set.Spec.Template.Spec
	}
	users := map[int32]string{}
	for name, pod := range pods {
		c := pod.Containers[0]
		if c.Ports[0].Name != "metrics" {
			t.Fatalf("%s: container ports %+v, want the first to be metrics", name, c.Ports)
		}
		ports := []int32{c.ReadinessProbe.HTTPGet.Port.IntVal}
		for _, p := range c.Ports {
			ports = append(ports, p.ContainerPort)
		}
		for _, port := range ports {
			if other, taken := users[port]; taken {
				t.Errorf("%s and %s both use port %d", name, other, port)
			}
			users[port] = name
		}
	}
}

// TestThePortFollowsTheAddressOfMetrics: what monitoring finds is where it is served.
func TestThePortFollowsTheAddressOfMetrics(t *testing.T) {
	for address, port := range map[string]int32{":9000": 9000, "192.0.2.1:9001": 9001,
		"[2001:db8::1]:9002": 9002, "": 0} {
		static, err := Pod(with(config.StaticPod(), func(c *config.Config) {
			c.MetricsAddress, c.FailoverTimeout = address, 0
		}))
		if err != nil {
			t.Fatal(err)
		}
		ports := static.Spec.Containers[0].Ports
		if port == 0 && len(ports) != 0 ||
			port != 0 && (len(ports) != 1 || ports[0].ContainerPort != port) {
			t.Errorf("%q: %+v", address, ports)
		}
	}
}

// TestS6AgentsKnowTheirDaemonSet: those that serve Services ask for it at their end, have the
// right to, and the time to hand over.
func TestS6AgentsKnowTheirDaemonSet(t *testing.T) {
	for _, cfg := range []config.Config{config.ServicesDaemonSet(), with(config.DaemonSet(),
		services), with(config.DaemonSet(), services, custom)} {
		set, err := DaemonSet(cfg, false)
		if err != nil {
			t.Fatal(err)
		}
		objects, err := RBAC(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if args := set.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args,
			"--daemonset="+set.Name) {
			t.Errorf("%s: arguments %q", set.Name, args)
		}
		if want := set.Namespace + " get apps/daemonsets " + set.Name; !slices.Contains(allowed(objects),
			want) {
			t.Errorf("%s: no right to %s in %q", set.Name, want, allowed(objects))
		}
		grace := *set.Spec.Template.Spec.TerminationGracePeriodSeconds
		if grace < int64(servicesShutdown/time.Second) {
			t.Errorf("%s: killed after %d s", set.Name, grace)
		}
	}
}

// TestStaticPodsShareOneIdentity: those of a node share the state directory and the token in it.
func TestStaticPodsShareOneIdentity(t *testing.T) {
	cfg := with(config.StaticPod(), alone)
	objects, err := RBAC(cfg)
	if err != nil {
		t.Fatal(err)
	}
	both, err := RBAC(with(config.StaticPod(), services))
	if err != nil {
		t.Fatal(err)
	}
	if got := allowed(objects); Identity(cfg) != ServiceAccount || !slices.Equal(got, allowed(both)) {
		t.Errorf("a static pod for Services alone is %s with %q", Identity(cfg), got)
	}
	pod, err := Pod(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if pod.Name != ServicesAccount || pod.Labels[componentLabel] != "services" {
		t.Errorf("it is named %s, with labels %v, as the one of the control plane", pod.Name, pod.Labels)
	}
}

// TestIdentitiesHaveRolesOfTheirOwn: what one agent applies takes nothing from another with other
// jobs.
func TestIdentitiesHaveRolesOfTheirOwn(t *testing.T) {
	bound := map[string]string{} // binding to whom
	for _, cfg := range []config.Config{config.DaemonSet(), config.ServicesDaemonSet(),
		with(config.StaticPod(), services), with(config.StaticPod(), alone)} {
		objects, err := RBAC(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range objects {
			var name, who string
			switch o := object.(type) {
			case *rbacv1.RoleBinding:
				name, who = o.Namespace+"/"+o.Name, o.Subjects[0].Name
			case *rbacv1.ClusterRoleBinding:
				name, who = o.Name, o.Subjects[0].Name
			}
			if was := bound[name]; name != "" && was != "" && was != who {
				t.Errorf("%s is bound to %s, and then to %s", name, was, who)
			}
			bound[name] = who
			if name != "" && strings.Contains(name, "services") && who != Identity(cfg) {
				t.Errorf("%s is bound to %s, not to %s", name, who, Identity(cfg))
			}
		}
	}
}
