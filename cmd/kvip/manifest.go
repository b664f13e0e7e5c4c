package main

import (
	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/config"
)

// newManifest returns `kvip manifest`, which groups the printers.
func newManifest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manifest",
		Short: "Print Kubernetes manifests that run kvip",
		Long:  "Print Kubernetes manifests that run kvip. Nothing is applied and no cluster is asked.",
		Example: `  kvip manifest pod --vip 192.0.2.10
  kvip manifest rbac
  kvip manifest crd`,
		RunE: needsCommand,
	}
	cmd.AddCommand(newManifestPod(), newManifestDaemonSet(), newManifestRBAC(), newManifestCRD())
	return cmd
}

// forServicesAlone gives a manifest without a VIP the ports that are free beside one with, except for
// those that were chosen.
func forServicesAlone(cmd *cobra.Command, cfg *config.Config) {
	if !cfg.Services || len(cfg.VIPs) > 0 {
		return
	}
	if !cmd.Flags().Changed("health-address") {
		cfg.HealthAddress = config.ServicesHealthAddress
	}
	if !cmd.Flags().Changed("metrics-address") {
		cfg.MetricsAddress = config.ServicesMetricsAddress
	}
}

// hideDaemonSet hides the flag that only the manager takes: a manifest knows the name by itself.
func hideDaemonSet(cmd *cobra.Command) { cmd.Flags().Lookup("daemonset").Hidden = true }
