package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/printable"
	"github.com/kvip/kvip/pkg/status"
)

// moveTimeout bounds the command if no API server answers, or the holder does not leave.
const moveTimeout = 30 * time.Second

// newMove returns `kvip move`.
func newMove() *cobra.Command {
	cfg := config.StaticPod()
	cmd := &cobra.Command{
		Use:   "move [NODE]",
		Short: "Move the virtual IP to another node without loss",
		Long: `
Move the virtual IP to the agent on a node, or to the next one in the order of the nodes. The
holder stops answering for the address, and goes on serving the connections that it has until they
end, for at most ten minutes; the new holder relays their packets. The command ends when another
node holds the Lease. It finds API servers and credentials as 'kvip status' does. They must permit
to update the Lease. The address moves neither to nor from agents with --failover-timeout 0 or
without the fence 'nftables', as before Linux 6.9. There is nothing to move with --announce=bgp:
every node with a ready API server announces the address.

Exit codes: 0 another node holds; 1 no other node could hold, the holder did not leave, or the
address is announced by BGP; 2 the command line was refused.`,
		Example: `  kvip move
  kvip move cp2
  kvip move cp2 --kubeconfig admin.conf`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError(fmt.Sprintf("%q is an argument too many: give one node", args[1]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			to := ""
			if len(args) > 0 {
				to = args[0]
			}
			return runMove(cmd, cfg, to)
		},
	}
	cfg.AddFlags(cmd.Flags(), statusGroups...)
	return cmd
}

func runMove(cmd *cobra.Command, cfg config.Config, to string) error {
	if err := cfg.Validate(statusGroups...); err != nil {
		return err
	}
	if err := chooseCredentials(cmd, &cfg); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), moveTimeout)
	defer cancel()
	moved, err := status.Move(ctx, cfg, to)
	if err != nil {
		return fmt.Errorf("move the virtual IP: %w", err)
	}
	if to != "" && moved.To != to {
		return fmt.Errorf("move the virtual IP: %s holds it now, because %s did not take it",
			moved.To, to)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "moved from %s to %s in %v\n", printable.Lines(moved.From),
		printable.Lines(moved.To), moved.Took.Round(time.Millisecond))
	return err
}
