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
		Short: "Print the ServiceAccount, roles and bindings of the DaemonSet",
		Long: `Print the ServiceAccount, roles and bindings of the DaemonSet: rights on one lease, on events beside
it, on the EndpointSlice of the API servers and on their health, and no others.`,
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
