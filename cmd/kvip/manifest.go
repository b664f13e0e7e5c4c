package main

import "github.com/spf13/cobra"

// newManifest returns `kvip manifest`, which groups the printers.
func newManifest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manifest",
		Short: "Print Kubernetes manifests that run kvip",
		Long:  "Print Kubernetes manifests that run kvip. Nothing is applied and no cluster is asked.",
		Example: `  kvip manifest pod --vip 192.0.2.10
  kvip manifest rbac`,
		RunE: needsCommand,
	}
	cmd.AddCommand(newManifestPod(), newManifestDaemonSet(), newManifestRBAC())
	return cmd
}
