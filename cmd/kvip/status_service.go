package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/svc/ask"
)

// newStatusService returns `kvip status service`.
func newStatusService() *cobra.Command {
	cfg := config.StaticPod()
	cfg.Services, cfg.StateDir = true, ""
	var output, namespace string
	cmd := &cobra.Command{
		Use:   "service NAME",
		Short: "Show which node announces a Service's addresses, since when, and why that one",
		Long: `Show which node announces the addresses of a Service of type LoadBalancer, since when, and why that
one, or why none does. It asks the API and the agent of every node, from a control-plane node or from
a pod of the DaemonSet.`,
		Example: `  kvip status service web
  kvip status service web -n shop -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := validateOutput(output); err != nil {
				return err
			}
			if err := cfg.Validate(serviceStatusGroups...); err != nil {
				return err
			}
			if space, name, both := strings.Cut(args[0], "/"); both {
				namespace, args[0] = space, name
			}
			if _, err := os.Stat(tokenFile); err == nil && !cmd.Flags().Changed("kubeconfig") {
				cfg.Kubeconfigs = nil
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), statusTimeout)
			defer cancel()
			report, err := ask.Service(ctx, question(cfg, namespace, args[0]))
			if err != nil {
				return err
			}
			if output == "text" {
				return report.WriteText(cmd.OutOrStdout(), time.Now())
			}
			encoder := json.NewEncoder(cmd.OutOrStdout())
			encoder.SetIndent("", "  ")
			return encoder.Encode(report)
		},
	}
	cfg.AddFlags(cmd.Flags(), config.Server, config.Client, config.Services)
	for _, flag := range []string{"services", "services-name", "services-interface", "daemonset", "state-dir"} {
		_ = cmd.Flags().MarkHidden(flag) // of the agent alone
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of the Service")
	cmd.Flags().StringVar(&cfg.Namespace, "lease-namespace", cfg.Namespace, "namespace of kvip's Leases")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "output format: text or json")
	return cmd
}

var serviceStatusGroups = []config.Group{config.Server, config.Client, config.Services}

func question(cfg config.Config, namespace, name string) ask.Config {
	store := apiclient.NewStore(apiclient.Config{Kubeconfigs: cfg.Kubeconfigs, Log: slog.New(slog.DiscardHandler)})
	local := []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port))}
	inCluster := ""
	if host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"); host != "" && port != "" {
		inCluster = net.JoinHostPort(host, port)
	}
	return ask.Config{
		Router:         apiclient.NewRouter(apiclient.RouterConfig{Store: store, Local: func() []string { return local }, InCluster: inCluster}),
		Reader:         svc.Reader{Class: cfg.ServiceClass, ClassOnly: cfg.ClassOnly, KubeVIP: cfg.KubeVIP},
		LeaseNamespace: cfg.Namespace, Namespace: namespace, Name: name,
	}
}
