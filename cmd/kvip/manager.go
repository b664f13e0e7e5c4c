package main

import (
	"io"
	"log/slog"
	"os"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/agent"
	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubevip"
	"github.com/kvip/kvip/pkg/printable"
)

// newManager returns `kvip manager`, the agent that every node runs.
func newManager() *cobra.Command {
	cfg := config.Default()
	cmd := &cobra.Command{
		Use:   "manager",
		Short: "Run the agent of this node",
		Long: `Run the agent of this node: take part in the election, own the virtual IP while this node holds
the lease and its API server is healthy, and announce it. It ends in order on SIGTERM and SIGINT.
It needs the capabilities NET_ADMIN and NET_RAW.

With --services it also gives Services of type LoadBalancer addresses and announces them, with or
without a --vip. With the environment of a kube-vip manifest and no flag, or with flags of
'kube-vip manager', it does what those ask for.`,
		Example: `  # What the static pod of 'kvip manifest pod --vip 192.0.2.10' runs
  kvip manager --vip 192.0.2.10 --kubeconfig /etc/kubernetes/super-admin.conf,/etc/kubernetes/admin.conf

  # What the DaemonSet of 'kvip manifest daemonset --services' runs
  kvip manager --services --daemonset kvip-services

  # IPv4 and IPv6 together on a named interface
  kvip manager --vip 192.0.2.10,2001:db8::10 --interface eth0 --kubeconfig /etc/kubernetes/admin.conf`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags, err := kubeVIPFlags(cmd.Flags())
			if err != nil {
				return err
			}
			inPlace := len(flags) > 0 || cmd.Flags().NFlag() == 0 && kubevip.Detect(os.Environ())
			var notes []kubevip.Note
			if inPlace {
				if notes, err = asKubeVIP(&cfg, flags, os.Environ()); err != nil {
					return err
				}
			}
			if err = checkManager(&cfg); inPlace {
				err = kubevip.TranslateError(err)
			} else if err == nil {
				err = cfg.CheckUnusedFlags(cmd.Flags())
			}
			if err != nil {
				return err
			}
			log := newLogger(cfg, cmd.ErrOrStderr())
			for _, n := range notes {
				log.Warn("a setting of kube-vip's is not carried out as it is written", "setting", n.Name, "reason", n.Text)
			}
			limitMemory(log)
			return agent.Run(cmd.Context(), cfg, agent.Build{Version: version, Commit: builtFrom()}, log)
		},
	}
	cfg.AddFlags(cmd.Flags(), config.ManagerGroups()...)
	addKubeVIPFlags(cmd.Flags())
	return cmd
}

// checkManager completes the configuration and refuses what it or this host shows to be wrong.
func checkManager(cfg *config.Config) error {
	if err := cfg.SetNodeName(); err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	return agent.Preflight(*cfg)
}

// asKubeVIP takes kube-vip's settings where kvip was started in its place: with flags of kube-vip's, or
// with its variables and without a flag (S9). The notes are for the log.
func asKubeVIP(cfg *config.Config, flags, env []string) ([]kubevip.Note, error) {
	settings, notes, err := kubevip.Parse(flags, env)
	if err != nil {
		return nil, err
	}
	settings.Apply(cfg)
	if len(cfg.Kubeconfigs) > 0 {
		return notes, nil
	}
	// Without a ServiceAccount the file is waited for: it may be written later.
	if _, err := os.Stat(kubevip.Kubeconfig); err == nil || !apiclient.InPod() {
		cfg.Kubeconfigs = []string{kubevip.Kubeconfig}
	}
	return notes, nil
}

// memoryShare is what the Go runtime may use of the memory limit; the rest is for the program's own
// pages, stacks and buffers of the kernel.
const memoryShare = 0.75

// limitMemory makes the garbage collector respect the memory limit of the cgroup, such as the pod's,
// unless GOMEMLIMIT says something else.
func limitMemory(log *slog.Logger) {
	if _, err := memlimit.Set(memlimit.WithRatio(memoryShare)); err != nil {
		log.Info("cannot read the memory limit of this process; the garbage collector works without one", "reason", err)
	}
}

// newLogger returns the logger that cfg asks for. What others wrote is safe for a terminal in it, and
// bounded.
func newLogger(cfg config.Config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: printable.Attr}
	if cfg.Verbosity > 0 {
		options.Level = slog.LevelDebug
	}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(printable.JSON(w), options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
