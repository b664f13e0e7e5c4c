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
	var workers bool
	cmd := &cobra.Command{
		Use:   "daemonset",
		Short: "Print the DaemonSet for a running cluster",
		Long: `Print the DaemonSet for a running cluster. It runs on control-plane nodes with the ServiceAccount
that 'kvip manifest rbac' prints. A cluster that is reached through the virtual IP from its first
minute on needs the static pod instead.`,
		Example: `  kvip manifest rbac | kubectl apply -f -
  kvip manifest daemonset --vip 192.0.2.10 | kubectl apply -f -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			set, err := manifest.DaemonSet(cfg, workers)
			if err != nil {
				return err
			}
			return manifest.Write(cmd.OutOrStdout(), set)
		},
	}
	cfg.AddFlags(cmd.Flags(), config.Address, config.Interface, config.Server, config.Lease, config.Timing,
		config.Metrics, config.Health, config.Image, config.Logging)
	cmd.Flags().BoolVar(&workers, "workers", false, "run on worker nodes too, not on control-plane nodes alone")
	return cmd
}
