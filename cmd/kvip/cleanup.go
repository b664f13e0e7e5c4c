package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/agent"
	"github.com/kvip/kvip/pkg/config"
)

// newCleanup returns `kvip cleanup`.
func newCleanup() *cobra.Command {
	cfg := config.Default()
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove what a killed agent left on this host",
		Long: `
Remove what a killed agent left on this host: every address with kvip's mark, the fences and the
packet filter of the Services, or only the addresses of --vip with their fences. Stop the agent
first, because a running agent adds its address again. The command prints what it removed.`,
		Example: `  kvip cleanup
  kvip cleanup --vip 192.0.2.10`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := config.CheckVIPs(cfg.VIPs); err != nil {
				return err
			}
			removed, err := agent.Cleanup(cfg.VIPs)
			for _, what := range removed {
				if _, werr := fmt.Fprintln(cmd.OutOrStdout(), what); werr != nil {
					return fmt.Errorf("print what was removed: %w", werr)
				}
			}
			if err != nil {
				return fmt.Errorf("remove leftovers: %w", err)
			}
			if len(removed) == 0 {
				_, err = fmt.Fprintln(cmd.OutOrStdout(),
					"nothing to remove: this host has no address or table of kvip")
			}
			return err
		},
	}
	cfg.AddFlags(cmd.Flags(), config.Address)
	return cmd
}
