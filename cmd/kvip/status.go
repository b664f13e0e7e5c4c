package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/status"
)

const (
	// statusTimeout bounds `kvip status` when no API server answers.
	statusTimeout = 10 * time.Second
	// tokenFile is where every pod finds the token of its ServiceAccount.
	tokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"
)

// newStatus returns `kvip status`.
func newStatus() *cobra.Command {
	cfg := config.StaticPod()
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show who holds the virtual IP, and why",
		Long: `Show who holds the virtual IP, its term and lease, the health of each node's API server and the last
transitions with their reasons. It works on any control-plane node and does not use the virtual IP.
In a pod of the DaemonSet it uses the ServiceAccount.`,
		Example: `  kvip status
  kvip status -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := validateStatus(cfg, output); err != nil {
				return err
			}
			if _, err := os.Stat(tokenFile); err == nil && !cmd.Flags().Changed("kubeconfig") {
				cfg.Kubeconfigs = nil
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), statusTimeout)
			defer cancel()
			report, err := status.Collect(ctx, cfg)
			if err != nil {
				return fmt.Errorf("collect status: %w", err)
			}
			if output == "text" {
				return report.WriteText(cmd.OutOrStdout())
			}
			encoder := json.NewEncoder(cmd.OutOrStdout())
			encoder.SetIndent("", "  ")
			return encoder.Encode(report)
		},
	}
	cfg.AddFlags(cmd.Flags(), statusGroups...)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "output format: text or json")
	cmd.AddCommand(newStatusService())
	return cmd
}

var statusGroups = []config.Group{config.Server, config.Lease, config.Client, config.Metrics}

func validateStatus(cfg config.Config, output string) error {
	if err := validateOutput(output); err != nil {
		return err
	}
	return cfg.Validate(statusGroups...)
}

func validateOutput(output string) error {
	if output != "text" && output != "json" {
		return &config.UsageError{Flag: "output", Reason: fmt.Sprintf("%q is unknown", output), Hint: "give text or json"}
	}
	return nil
}
