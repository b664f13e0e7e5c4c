package manifest

import (
	appsv1 "k8s.io/api/apps/v1"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/templates"
)

// DaemonSet returns the DaemonSet for cfg, with the ServiceAccount of RBAC as its identity. It runs
// on control-plane nodes, and with workers on every other Linux node too. It returns a
// *config.UsageError for settings that differ from node to node or need files of the host.
func DaemonSet(cfg config.Config, workers bool) (*appsv1.DaemonSet, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if len(cfg.Kubeconfigs) > 0 {
		return nil, &config.UsageError{Flag: "kubeconfig", Reason: "a DaemonSet uses its ServiceAccount", Hint: "leave the flag out"}
	}
	if cfg.StateDir != "" {
		return nil, &config.UsageError{Flag: "state-dir", Reason: "a DaemonSet has the token that the kubelet renews", Hint: "leave the flag out"}
	}
	if cfg.NodeName != "" {
		return nil, &config.UsageError{Flag: "node-name", Reason: "all pods of a DaemonSet share their arguments",
			Hint: "leave the flag out, each pod learns its node's name"}
	}
	set, err := decode[appsv1.DaemonSet](templates.DaemonSet)
	if err != nil {
		return nil, err
	}
	if workers {
		set.Spec.Template.Spec.Affinity = nil
	}
	return set, fill(&set.Spec.Template.Spec, cfg)
}
