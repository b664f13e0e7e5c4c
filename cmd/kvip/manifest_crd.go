package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/templates"
)

// newManifestCRD returns `kvip manifest crd`.
func newManifestCRD() *cobra.Command {
	return &cobra.Command{
		Use:   "crd",
		Short: "Print the definition of IPPool",
		Long: `Print the CustomResourceDefinition of IPPool (kvip.dev/v1alpha1), the pools that Services get their
addresses from. It is needed once for each cluster, before the first pool, with Kubernetes 1.31 or later.`,
		Example: `  kvip manifest crd | kubectl apply -f -`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := cmd.OutOrStdout().Write(templates.CRD); err != nil {
				return fmt.Errorf("write definition: %w", err)
			}
			return nil
		},
	}
}
