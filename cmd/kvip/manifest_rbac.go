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
static pod applies them by itself, with the administrator's rights; the DaemonSet needs them first.`,
		Example: `  kvip manifest rbac | kubectl apply -f -`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			objects, err := manifest.RBAC(cfg)
			if err != nil {
				return err
			}
			return manifest.Write(cmd.OutOrStdout(), objects...)
		},
	}
	cfg.AddFlags(cmd.Flags(), config.Lease)
	return cmd
}
