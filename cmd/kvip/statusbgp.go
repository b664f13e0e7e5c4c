package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/status"
)

var statusBGPGroups = []config.Group{config.APIServer, config.Client, config.Metrics}

// newStatusBGP returns `kvip status bgp`.
func newStatusBGP() *cobra.Command {
	cfg := config.StaticPod()
	var output, peer string
	cmd := &cobra.Command{
		Use:   "bgp",
		Short: "Show the BGP sessions of every node, and why one is down",
		Long: `
Show one line for each BGP session of each node: state and since when, hold time, routes that the
peer has with their next hops, routes that it does not get because of maximumPrefixes, BFD with its
diagnostic, negotiated times and detections, and why there is no session. The command reads the
pages of the agents beside the API servers and, with credentials that may list Nodes, of the agents
on all nodes. It finds API servers and credentials as 'kvip status' does; what the agent of this
node knows it shows without any API server.

Exit codes: 0 every session is established, with all routes and with BFD if that is configured; 3 a
session or its BFD is down, routes are refused, or there is no session; 1 no agent with BGP
answered; 2 the command line was refused.`,
		Example: `  kvip status bgp
  kvip status bgp --peer tor-a
  kvip status bgp -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runStatusBGP(cmd, cfg, output, peer)
		},
	}
	cfg.AddFlags(cmd.Flags(), statusBGPGroups...)
	cmd.Flags().StringVar(&peer, "peer", "", "show only the sessions with the `peer` of this name or "+
		"address")
	addOutput(cmd, &output)
	return cmd
}

func runStatusBGP(cmd *cobra.Command, cfg config.Config, output, peer string) error {
	if err := validateOutput(output); err != nil {
		return err
	}
	if err := cfg.Validate(statusBGPGroups...); err != nil {
		return err
	}
	if err := chooseCredentials(cmd, &cfg); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), statusTimeout)
	defer cancel()
	report, err := status.CollectBGP(ctx, cfg, peer)
	if err != nil {
		return fmt.Errorf("collect BGP sessions: %w", err)
	}
	text := func(w io.Writer) error { return report.WriteText(w, time.Now()) }
	if err := printReport(cmd.OutOrStdout(), output, report, text); err != nil {
		return err
	}
	if report.Problem != "" {
		return unhealthyError(report.Problem)
	}
	return nil
}
