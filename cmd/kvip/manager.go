package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
		Long: `
Run the agent of this node. With --vip it takes part in the election for the control plane's VIP,
and owns and announces the VIP while this node holds the Lease and its API server is healthy. With
--services it assigns addresses to Services of type LoadBalancer and announces those of this node.

The agent needs the capabilities NET_ADMIN and NET_RAW. SIGTERM and SIGINT end it in order.

The agent also runs in place of kube-vip: with flags of 'kube-vip manager', or with the environment
of a kube-vip manifest and no flag. docs/migrate-from-kube-vip.md lists both.`,
		Example: `  # As in the static pod of 'kvip manifest pod --vip 192.0.2.10'
  kvip manager --vip 192.0.2.10 --kubeconfig /etc/kubernetes/admin.conf --state-dir /var/lib/kvip

  # As in the DaemonSet of 'kvip manifest daemonset --services'
  kvip manager --services --daemonset kvip-services

  # IPv4 and IPv6 on a chosen interface
  kvip manager --vip 192.0.2.10,2001:db8::10 --interface eth0`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runManager(cmd, cfg) },
	}
	cfg.AddFlags(cmd.Flags(), config.ManagerGroups()...)
	addKubeVIPFlags(cmd.Flags())
	return cmd
}

// runManager completes and checks the configuration, and runs the agent.
func runManager(cmd *cobra.Command, cfg config.Config) error {
	flags, err := kubeVIPFlags(cmd.Flags())
	if err != nil {
		return err
	}
	asKubeVIP := len(flags) > 0 || cmd.Flags().NFlag() == 0 && kubevip.Detect(os.Environ())
	var notes []kubevip.Note
	if asKubeVIP {
		if notes, err = applyKubeVIP(&cfg, flags, os.Environ()); err != nil {
			return err
		}
	}
	err = checkManager(&cfg)
	switch {
	case asKubeVIP:
		err = kubevip.TranslateError(err)
	case err == nil:
		err = cfg.CheckUnusedFlags(cmd.Flags())
	}
	if err != nil {
		return err
	}
	log := newLogger(cfg, cmd.ErrOrStderr())
	for _, n := range notes {
		log.Warn("kube-vip setting not supported", "setting", n.Name, "reason", n.Text)
	}
	limitMemory(log)
	return agent.Run(cmd.Context(), cfg, agent.Build{Version: version, Commit: builtFrom()}, log)
}

// checkManager completes the configuration and checks it, alone and against this host.
func checkManager(cfg *config.Config) error {
	if err := cfg.SetNodeName(); err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	return agent.Preflight(*cfg)
}

// applyKubeVIP takes the settings of kube-vip: its flags, or its variables if there is no flag
// (S9). The notes are for the log.
func applyKubeVIP(cfg *config.Config, flags, env []string) ([]kubevip.Note, error) {
	settings, notes, err := kubevip.Parse(flags, env)
	if err != nil {
		return nil, err
	}
	settings.Apply(cfg)
	if len(cfg.Kubeconfigs) > 0 {
		return notes, nil
	}
	// Without a ServiceAccount the agent waits for the file.
	if _, err := os.Stat(kubevip.Kubeconfig); err == nil || !apiclient.InPod() {
		cfg.Kubeconfigs = []string{kubevip.Kubeconfig}
	}
	return notes, nil
}

// kubeVIPAnnotation marks a flag that `kvip manager` takes only because `kube-vip manager` has it.
const kubeVIPAnnotation = "kvip.dev/of-kube-vip"

// addKubeVIPFlags lets `kvip manager` take the flags of `kube-vip manager`, so that a manifest with
// flags needs no change but that of its image (S9). A flag that both have under one name has one
// meaning.
func addKubeVIPFlags(fs *pflag.FlagSet) {
	for _, theirs := range kubevip.Flags() {
		name := theirs.Name
		switch {
		case fs.Lookup(name) != nil && theirs.Short == "":
			continue
		case fs.Lookup(name) != nil:
			name = "kube-vip-" + name // for the short form, which kvip's own flag does not have
		}
		fs.StringP(name, theirs.Short, "", "kube-vip's flag --"+theirs.Name)
		f := fs.Lookup(name)
		f.Hidden, f.Annotations = true, map[string][]string{kubeVIPAnnotation: {theirs.Name}}
		if theirs.Boolean {
			f.NoOptDefVal = "true"
		}
	}
}

// kubeVIPFlags returns the flags on the command line, in the form of kubevip.Parse, if kube-vip's
// are among them. Flags of both programs together are a usage error.
func kubeVIPFlags(fs *pflag.FlagSet) ([]string, error) {
	shared := kubevip.Flags()
	var all, own, theirs []string
	fs.Visit(func(f *pflag.Flag) {
		name := f.Name
		if mark := f.Annotations[kubeVIPAnnotation]; mark != nil {
			name, theirs = mark[0], append(theirs, f.Name)
		} else if !slices.ContainsFunc(shared, func(k kubevip.Flag) bool { return k.Name == name }) {
			own = append(own, name)
			return
		}
		all = append(all, "--"+name+"="+f.Value.String())
	})
	switch {
	case len(theirs) == 0:
		return nil, nil
	case len(own) > 0:
		return nil, usageError(fmt.Sprintf(
			"--%s is a flag of kube-vip and --%s one of kvip; give flags of one program "+
				"only. 'kvip migrate' translates a manifest", theirs[0], own[0]))
	}
	return kubevip.Arguments(all)
}

// memoryShare is the share of the memory limit for the Go runtime. The rest is for the program's
// text, stacks and kernel buffers.
const memoryShare = 0.75

// limitMemory makes the garbage collector respect the memory limit of the cgroup, such as the
// pod's, unless GOMEMLIMIT is set.
func limitMemory(log *slog.Logger) {
	if _, err := memlimit.Set(memlimit.WithRatio(memoryShare)); err != nil {
		log.Info("cannot read the memory limit of this process; the garbage collector uses none",
			"err", err)
	}
}

// newLogger returns the logger for cfg. Text of other programs is safe for a terminal in it, and
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
