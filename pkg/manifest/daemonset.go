package manifest

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/templates"
)

// controlPlane is the label, and the key of the taint, of control-plane nodes.
const controlPlane = "node-role.kubernetes.io/control-plane"

// DaemonSet returns the DaemonSet for cfg, with the ServiceAccount of RBAC as its identity and its
// name. It runs on control-plane nodes where it holds the VIP, on all others where it serves Services,
// and with everywhere on every Linux node in any case. It returns a *config.UsageError for settings
// that differ from node to node or need files of the host.
func DaemonSet(cfg config.Config, everywhere bool) (*appsv1.DaemonSet, error) {
	if err := checkDaemonSet(cfg); err != nil {
		return nil, err
	}
	set, err := decode[appsv1.DaemonSet](templates.DaemonSet)
	if err != nil {
		return nil, err
	}
	if cfg.Services {
		cfg.DaemonSet = Identity(cfg) // it asks at its end whether that is still there (S6)
	}
	if servicesAlone(cfg) {
		ofServices(set)
	}
	pod := &set.Spec.Template.Spec
	if cfg.Services {
		// As kube-proxy: where the only endpoint of a Service may run, its address must be able to follow.
		pod.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
	if everywhere || cfg.Services && !servicesAlone(cfg) {
		pod.Affinity = nil
	}
	return set, fill(pod, cfg)
}

func checkDaemonSet(cfg config.Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	switch own := Identity(cfg); {
	case len(cfg.Kubeconfigs) > 0:
		return &config.UsageError{Flag: "kubeconfig", Reason: "a DaemonSet uses its ServiceAccount", Hint: "leave the flag out"}
	case cfg.StateDir != "":
		return &config.UsageError{Flag: "state-dir", Reason: "a DaemonSet has the token that the kubelet renews", Hint: "leave the flag out"}
	case cfg.NodeName != "":
		return &config.UsageError{Flag: "node-name", Reason: "all pods of a DaemonSet share their arguments",
			Hint: "leave the flag out, each pod learns its node's name"}
	case cfg.DaemonSet != "" && cfg.DaemonSet != own:
		return &config.UsageError{Flag: "daemonset", Reason: "this one is named " + own, Hint: "leave the flag out"}
	}
	return nil
}

// ofServices makes it another DaemonSet than that of the control plane, to stand beside it: on the nodes
// where that one is not.
func ofServices(set *appsv1.DaemonSet) {
	set.Name = ServicesAccount
	for _, labels := range []map[string]string{set.Labels, set.Spec.Selector.MatchLabels, set.Spec.Template.Labels} {
		labels[component] = "services"
	}
	pod := &set.Spec.Template.Spec
	pod.ServiceAccountName = ServicesAccount
	terms := pod.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	terms[0].MatchExpressions = []corev1.NodeSelectorRequirement{{Key: controlPlane, Operator: corev1.NodeSelectorOpDoesNotExist}}
}
