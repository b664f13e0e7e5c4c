package main

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/agent"
	"github.com/kvip/kvip/pkg/config"
)

// newManager returns `kvip manager`, the agent that every node runs.
func newManager() *cobra.Command {
	cfg := config.Default()
	cmd := &cobra.Command{
		Use:   "manager",
		Short: "Run the agent of this node",
		Long: `Run the agent of this node: take part in the election, own the virtual IP while this node holds
the lease and its API server is healthy, and announce it. It ends in order on SIGTERM and SIGINT.
It needs the capabilities NET_ADMIN and NET_RAW.`,
		Example: `  # What the static pod of 'kvip manifest pod --vip 192.0.2.10' runs
  kvip manager --vip 192.0.2.10 --kubeconfig /etc/kubernetes/super-admin.conf,/etc/kubernetes/admin.conf

  # IPv4 and IPv6 together on a named interface
  kvip manager --vip 192.0.2.10,2001:db8::10 --interface eth0 --kubeconfig /etc/kubernetes/admin.conf`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.Complete(); err != nil {
				return err
			}
			if err := cfg.Validate(); err != nil {
				return err
			}
			if err := agent.Preflight(cfg); err != nil {
				return err
			}
			return agent.Run(cmd.Context(), cfg, agent.Build{Version: version, Commit: commit}, newLogger(cfg, cmd.ErrOrStderr()))
		},
	}
	cfg.AddFlags(cmd.Flags(), config.ManagerGroups()...)
	return cmd
}

// newLogger returns the logger that cfg asks for.
func newLogger(cfg config.Config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if cfg.Verbosity > 0 {
		options.Level = slog.LevelDebug
	}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
