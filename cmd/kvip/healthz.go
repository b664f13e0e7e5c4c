package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/agent"
	"github.com/kvip/kvip/pkg/config"
)

// newHealthz returns `kvip healthz`.
func newHealthz() *cobra.Command {
	address := config.DefaultHealthAddress
	cmd := &cobra.Command{
		Use:   "healthz",
		Short: "Ask the agent in this container whether it is alive",
		Long: `Ask the agent in this container, or on this host, whether it is alive: the liveness probe of kvip's
pods. It prints what /healthz says. The exit code is 0 if the agent is alive and 1 if a loop of it is
stuck or no agent is here. Unlike a probe over the network it cannot be answered by another program
that has taken the port. It must run as root.`,
		Example: `  kvip healthz
  kvip healthz --health-address 127.0.0.1:2114`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := agent.Healthz(cmd.Context(), address)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().StringVar(&address, "health-address", address, "--health-address of the agent to ask")
	return cmd
}
