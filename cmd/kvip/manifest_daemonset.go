package main

import (
	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/manifest"
)

// newManifestDaemonSet returns `kvip manifest daemonset`.
func newManifestDaemonSet() *cobra.Command {
	cfg := config.DaemonSet()
	cfg.Image = defaultImage()
	var workers, controlPlanes bool
	cmd := &cobra.Command{
		Use:   "daemonset",
		Short: "Print the DaemonSet for a running cluster",
		Long: `Print the DaemonSet for a running cluster, with the ServiceAccount that 'kvip manifest rbac' prints
for the same flags. With --vip it is named kvip and runs on control-plane nodes. A cluster that is
reached through the virtual IP from its first minute on needs the static pod instead.

With --services it gives Services of type LoadBalancer their addresses. Without --vip it is then named
kvip-services and runs on all nodes that are no control planes, beside whatever holds the virtual IP;
with both it is one DaemonSet for both jobs, on every node.`,
		Example: `  kvip manifest rbac | kubectl apply -f -
  kvip manifest daemonset --vip 192.0.2.10 | kubectl apply -f -

  # Addresses for Services
  kvip manifest crd | kubectl apply -f -
  kvip manifest rbac --services | kubectl apply -f -
  kvip manifest daemonset --services | kubectl apply -f -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			forServicesAlone(cmd, &cfg)
			everywhere := workers
			if len(cfg.VIPs) == 0 { // it is on the workers already
				everywhere = controlPlanes
			}
			set, err := manifest.DaemonSet(cfg, everywhere)
			if err != nil {
				return err
			}
			return manifest.Write(cmd.OutOrStdout(), set)
		},
	}
	cfg.AddFlags(cmd.Flags(), config.Address, config.Interface, config.Server, config.Lease, config.Timing,
		config.Metrics, config.Health, config.Services, config.Image, config.Logging)
	hideDaemonSet(cmd)
	cmd.Flags().BoolVar(&workers, "workers", false, "with --vip: run on worker nodes too, not on control-plane nodes alone")
	cmd.Flags().BoolVar(&controlPlanes, "control-planes", false, "with --services alone: run on control-plane nodes too, not on worker nodes alone")
	return cmd
}
