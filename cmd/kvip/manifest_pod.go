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
	var hardened bool
	var kubeadmConfig string
	cmd := &cobra.Command{
		Use:   "pod",
		Short: "Print the static pod for control-plane nodes",
		Long: `Print the static pod for control-plane nodes: the same file for the first node and for those that
join. Put it into the kubelet's manifest directory before 'kubeadm init' or 'kubeadm join'. It begins
with the kubeconfigs, and from then on uses a token of its own with the rights of 'kvip manifest rbac'.

With --hardened it has that token alone and mounts no kubeconfig: for nodes whose kvip already says
on /readyz that it uses its ServiceAccount.`,
		Example: `  kvip manifest pod --vip 192.0.2.10 > /etc/kubernetes/manifests/kvip.yaml

  # What kubeadm's configuration says already
  kvip manifest pod --kubeadm-config kubeadm.yaml > /etc/kubernetes/manifests/kvip.yaml

  # After that, without the administrator's rights
  kvip manifest pod --vip 192.0.2.10 --hardened > /etc/kubernetes/manifests/kvip.yaml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := takeFromKubeadm(cmd, &cfg, kubeadmConfig); err != nil {
				return err
			}
			forServicesAlone(cmd, &cfg)
			fill := manifest.Pod
			if hardened {
				fill = manifest.HardenedPod
				if cmd.Flags().Changed("kubeconfig") {
					return &config.UsageError{Flag: "hardened", Reason: "a hardened pod uses no kubeconfig", Hint: "give --kubeconfig or --hardened, not both"}
				}
			}
			pod, err := fill(cfg)
			if err != nil {
				return err
			}
			if err := cfg.CheckUnusedFlags(cmd.Flags()); err != nil {
				return err
			}
			noteImage(cmd, cfg.Image)
			return manifest.Write(cmd.OutOrStdout(), pod)
		},
	}
	cfg.AddFlags(cmd.Flags())
	hideDaemonSet(cmd)
	cmd.Flags().StringVar(&kubeadmConfig, "kubeadm-config", "", kubeadmConfigUsage)
	cmd.Flags().BoolVar(&hardened, "hardened", false, "leave the kubeconfigs out, for nodes where kvip has its own token already")
	return cmd
}
