package manifest

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/templates"
)

// controlPlaneLabel is the label, and the key of the taint, of control-plane nodes.
const controlPlaneLabel = "node-role.kubernetes.io/control-plane"

// DaemonSet returns the DaemonSet for cfg. Its name and identity are the ServiceAccount of RBAC.
// For a VIP it runs on control-plane nodes, for Services on all others, for both, or with
// everywhere, on every Linux node. It returns a *config.UsageError for settings that differ
// between nodes or need files of the host.
func DaemonSet(cfg config.Config, everywhere bool) (*appsv1.DaemonSet, error) {
	if err := checkDaemonSet(cfg); err != nil {
		return nil, err
	}
	set, err := decode[appsv1.DaemonSet](templates.DaemonSet)
	if err != nil {
		return nil, err
	}
	if cfg.Services {
		cfg.DaemonSet = Identity(cfg) // at shutdown the agent checks that it still exists (S6)
	}
	if servicesOnly(cfg) {
		asServicesDaemonSet(set)
	}
	pod := &set.Spec.Template.Spec
	if cfg.Services {
		// As for kube-proxy: the address of a Service must be able to follow its only endpoint.
		pod.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
	if everywhere || cfg.Services && len(cfg.VIPs) > 0 {
		pod.Affinity = nil
	}
	if err := fill(pod, cfg); err != nil {
		return nil, err
	}
	mountBGP(pod, cfg)
	return set, nil
}

func checkDaemonSet(cfg config.Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	switch own := Identity(cfg); {
	case len(cfg.Kubeconfigs) > 0:
		return &config.UsageError{
			Flag:   "kubeconfig",
			Reason: "a DaemonSet uses its ServiceAccount",
			Hint:   "remove the flag",
		}
	case cfg.StateDir != "":
		return &config.UsageError{
			Flag:   "state-dir",
			Reason: "a DaemonSet uses the token that the kubelet renews",
			Hint:   "remove the flag",
		}
	case cfg.NodeName != "":
		return &config.UsageError{
			Flag:   "node-name",
			Reason: "all pods of a DaemonSet have the same arguments",
			Hint:   "remove the flag; the downward API provides the name",
		}
	case cfg.BGPRouterID.IsValid():
		return &config.UsageError{
			Flag:   "bgp-router-id",
			Reason: "all pods of a DaemonSet have the same arguments, and each node needs its own",
			Hint:   "remove the flag",
		}
	case cfg.DaemonSet != "" && cfg.DaemonSet != own:
		return &config.UsageError{
			Flag:   "daemonset",
			Reason: "the DaemonSet is named " + own,
			Hint:   "remove the flag",
		}
	}
	return nil
}

// asServicesDaemonSet changes name, labels and node affinity, so that the DaemonSet can exist
// beside that of the control plane, on the other nodes.
func asServicesDaemonSet(set *appsv1.DaemonSet) {
	set.Name = ServicesAccount
	for _, labels := range []map[string]string{
		set.Labels, set.Spec.Selector.MatchLabels, set.Spec.Template.Labels,
	} {
		labels[componentLabel] = "services"
	}
	pod := &set.Spec.Template.Spec
	pod.ServiceAccountName = ServicesAccount
	terms := pod.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	terms[0].MatchExpressions = []corev1.NodeSelectorRequirement{
		{Key: controlPlaneLabel, Operator: corev1.NodeSelectorOpDoesNotExist},
	}
}
