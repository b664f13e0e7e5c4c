package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/httpapi"
)

// newHealthz returns `kvip healthz`.
func newHealthz() *cobra.Command {
	address := config.DefaultHealthAddress
	cmd := &cobra.Command{
		Use:   "healthz",
		Short: "Check that the agent in this container is alive",
		Long: `
Check that the agent in this container, or on this host, is alive: the liveness probe of kvip's
pods. The command prints the answer of /healthz. The exit code is 0 if the agent is alive, and 1 if
one of its loops is stuck or no agent runs. Unlike a probe over the network, it does not accept the
answer of another program on that port. It must run as root.`,
		Example: `  kvip healthz
  kvip healthz --health-address 127.0.0.1:2114`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := httpapi.Healthz(cmd.Context(), address)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().StringVar(&address, "health-address", address,
		"`address:port` of the agent's --health-address")
	return cmd
}
