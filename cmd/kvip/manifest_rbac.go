package main

import (
	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/manifest"
)

// newManifestRBAC returns `kvip manifest rbac`.
func newManifestRBAC() *cobra.Command {
	cfg := config.DaemonSet()
	cmd := &cobra.Command{
		Use:   "rbac",
		Short: "Print the ServiceAccount, roles and bindings of kvip",
		Long: `Print the ServiceAccount, roles and bindings of kvip: rights on one lease, on events beside it, on the
EndpointSlice of the API servers, on their health and on a new token for itself, and no others. The
static pod applies them by itself, with the administrator's rights; the DaemonSet needs them first.

With --services they are those of the DaemonSet kvip-services instead: to read Services, their
EndpointSlices, nodes and pools, to write the status of Services and pools and events about them, and
to keep Leases in the namespace. With --vip as well, one ServiceAccount has both.`,
		Example: `  kvip manifest rbac | kubectl apply -f -
  kvip manifest rbac --services | kubectl apply -f -`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			objects, err := manifest.RBAC(cfg)
			if err != nil {
				return err
			}
			if err := cfg.CheckUnusedFlags(cmd.Flags()); err != nil {
				return err
			}
			return manifest.Write(cmd.OutOrStdout(), objects...)
		},
	}
	cfg.AddFlags(cmd.Flags(), config.Address, config.Lease, config.Services)
	hideDaemonSet(cmd)
	return cmd
}
