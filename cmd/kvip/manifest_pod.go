package main

import (
	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/manifest"
)

// newManifestPod returns `kvip manifest pod`.
func newManifestPod() *cobra.Command {
	cfg := config.StaticPod()
	cfg.Image = defaultImage()
	cmd := &cobra.Command{
		Use:   "pod",
		Short: "Print the static pod for control-plane nodes",
		Long: `Print the static pod for control-plane nodes: the same file for the first node and for those that
join. Put it into the kubelet's manifest directory before 'kubeadm init' or 'kubeadm join'.`,
		Example: `  kvip manifest pod --vip 192.0.2.10 > /etc/kubernetes/manifests/kvip.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pod, err := manifest.Pod(cfg)
			if err != nil {
				return err
			}
			return manifest.Write(cmd.OutOrStdout(), pod)
		},
	}
	cfg.AddFlags(cmd.Flags())
	return cmd
}
