package main

import (
	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/manifest"
)

// The flags that say on which nodes a DaemonSet runs beside those that it is for.
const (
	workersFlag       = "workers"
	controlPlanesFlag = "control-planes"
)

// checkWhere refuses what means nothing for the jobs that the DaemonSet has: with --vip alone it is on
// control-plane nodes anyway, with --services alone on all others, with both on all.
func checkWhere(cmd *cobra.Command, cfg config.Config) error {
	without := map[string]string{}
	if cfg.Services {
		without[workersFlag] = "with --services the DaemonSet runs on workers anyway"
	}
	if len(cfg.VIPs) > 0 {
		without[controlPlanesFlag] = "with --vip the DaemonSet runs on control-plane nodes anyway"
	}
	for _, flag := range []string{workersFlag, controlPlanesFlag} {
		if without[flag] != "" && cmd.Flags().Changed(flag) {
			return &config.UsageError{Flag: flag, Reason: without[flag], Hint: "leave the flag out"}
		}
	}
	return cfg.CheckUnusedFlags(cmd.Flags())
}

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
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			forServicesAlone(cmd, &cfg)
			set, err := manifest.DaemonSet(cfg, workers || controlPlanes)
			if err != nil {
				return err
			}
			if err := checkWhere(cmd, cfg); err != nil {
				return err
			}
			noteImage(cmd, cfg.Image)
			return manifest.Write(cmd.OutOrStdout(), set)
		},
	}
	cfg.AddFlags(cmd.Flags(), config.Address, config.Interface, config.APIServer, config.Lease, config.Timing,
		config.Metrics, config.Health, config.Services, config.Image, config.Logging)
	hideDaemonSet(cmd)
	cmd.Flags().BoolVar(&workers, workersFlag, false, "with --vip: run on worker nodes too, not on control-plane nodes alone")
	cmd.Flags().BoolVar(&controlPlanes, controlPlanesFlag, false, "with --services alone: run on control-plane nodes too, not on worker nodes alone")
	return cmd
}
