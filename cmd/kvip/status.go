package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/printable"
	"github.com/kvip/kvip/pkg/status"
)

const (
	// statusTimeout bounds `kvip status` when no API server answers.
	statusTimeout = 10 * time.Second
	outputText    = "text"
	outputJSON    = "json"
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
transitions with their reasons. It works on any control-plane node and does not use the virtual IP. In
a pod of the DaemonSet it uses the ServiceAccount. Elsewhere it asks the servers that the files of
--kubeconfig or of the variable KUBECONFIG name, each of which needs a client certificate or a token.

Exit codes: 0 exactly one node holds the address, 3 nobody or more than one does, or the lease does not
exist, 1 nobody could be asked, 2 the command line was refused.`,
		Example: `  kvip status
  kvip status -o json

  # From a workstation
  kvip status --kubeconfig admin.conf`,
		Args: statusArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := validateStatus(cfg, output); err != nil {
				return err
			}
			if err := chooseCredentials(cmd, &cfg); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), statusTimeout)
			defer cancel()
			report, err := status.Collect(ctx, cfg)
			if err != nil {
				return fmt.Errorf("collect status: %w", err)
			}
			if err := printReport(cmd.OutOrStdout(), output, report, report.WriteText); err != nil {
				return err
			}
			if report.Problem != "" {
				return troubleError(report.Problem)
			}
			return nil
		},
	}
	cfg.AddFlags(cmd.Flags(), statusGroups...)
	addOutput(cmd, &output)
	cmd.AddCommand(newStatusService())
	return cmd
}

var statusGroups = []config.Group{config.APIServer, config.Lease, config.Client, config.Metrics}

// statusArgs refuses arguments: what is a command here is about one Service.
func statusArgs(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError(fmt.Sprintf("%q is an argument too many; for a Service: kvip status service NAME", args[0]))
}

// printReport prints a report as text, or as JSON that is safe for a terminal.
func printReport(w io.Writer, output string, report any, text func(io.Writer) error) error {
	if output == outputText {
		return text(w)
	}
	encoder := json.NewEncoder(printable.JSON(w))
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}

func validateStatus(cfg config.Config, output string) error {
	if err := validateOutput(output); err != nil {
		return err
	}
	return cfg.Validate(statusGroups...)
}

// addOutput registers -o.
func addOutput(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", outputText, "output format: text or json")
}

func validateOutput(output string) error {
	if output != outputText && output != outputJSON {
		return &config.UsageError{Flag: "output", Reason: fmt.Sprintf("%q is unknown", output), Hint: "give text or json"}
	}
	return nil
}
