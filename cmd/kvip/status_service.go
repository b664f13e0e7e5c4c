package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/svc/inspect"
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
one, or why none does. It asks the API and the agent of every node, from a control-plane node, from a
pod of the DaemonSet, or from anywhere that reaches the server of --kubeconfig or of the variable
KUBECONFIG, and the nodes.

Exit codes: 0 one node announces each address of the Service, 3 no node or more than one announces an
address, or the Service has none, 1 the API or all agents could not be asked, 2 the command line was
refused.`,
		Example: `  kvip status service web
  kvip status service web -n shop -o json`,
		Args: oneArg("a Service, as NAME or NAMESPACE/NAME; `kubectl get services -A` lists them"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := validateOutput(output); err != nil {
				return err
			}
			if err := validateServiceStatus(cfg); err != nil {
				return err
			}
			space, name, err := whichService(args[0], namespace, cmd.Flags().Changed("namespace"))
			if err != nil {
				return err
			}
			if err := chooseCredentials(cmd, &cfg); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), statusTimeout)
			defer cancel()
			report, err := inspect.Service(ctx, question(cfg, space, name))
			if err != nil {
				return withHint(err)
			}
			return printService(cmd.OutOrStdout(), output, report)
		},
	}
	cfg.AddFlags(cmd.Flags(), config.APIServer, config.Kubeconfig, config.ServiceClass)
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of the Service")
	cmd.Flags().StringVar(&cfg.Namespace, "lease-namespace", cfg.Namespace, "namespace of kvip's Leases")
	addOutput(cmd, &output)
	cmd.ValidArgsFunction = completeService(&cfg, &namespace)
	return cmd
}

// printService prints a report, and returns what is not as it should be.
func printService(w io.Writer, output string, report inspect.Report) error {
	text := func(w io.Writer) error { return report.WriteText(w, time.Now()) }
	if err := printReport(w, output, report, text); err != nil {
		return err
	}
	if err := report.Err(); err != nil {
		return err
	}
	if report.Problem != "" {
		return troubleError(report.Problem)
	}
	return nil
}

// withHint adds what to do where no API server could be asked.
func withHint(err error) error {
	if apiclient.IsNoResponse(err) || errors.Is(err, apiclient.ErrNoCredentials) {
		return fmt.Errorf("%w; %s", err, status.HintElsewhere)
	}
	return err
}

// validateServiceStatus names the namespace of the Leases as this command does: its --namespace is the Service's.
func validateServiceStatus(cfg config.Config) error {
	err := cfg.Validate(config.APIServer, config.Lease, config.Client, config.Services)
	if setting := (*config.UsageError)(nil); errors.As(err, &setting) && setting.Flag == "namespace" {
		setting.Flag = "lease-namespace"
	}
	return err
}

// kinds are kubectl's ways to begin the name of a Service.
var kinds = []string{"svc/", "service/", "services/"}

// whichService reads which Service is meant: NAME in namespace, or NAMESPACE/NAME as logs have it. chosen says that
// namespace was asked for, so that it must not be another one.
func whichService(arg, namespace string, chosen bool) (space, name string, err error) {
	for _, kind := range kinds {
		arg = strings.TrimPrefix(arg, kind)
	}
	space, name, both := strings.Cut(arg, "/")
	if !both {
		space, name = namespace, arg
	}
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/%") {
		return "", "", usageError(fmt.Sprintf("%q cannot name a Service; give NAME or NAMESPACE/NAME", arg))
	}
	if chosen && space != namespace {
		return "", "", &config.UsageError{Flag: "namespace", Reason: fmt.Sprintf("%q is not the namespace of %q", namespace, arg), Hint: "leave one of them out"}
	}
	of := config.StaticPod()
	of.Namespace = space
	return space, name, of.Validate(config.Lease) // which refuses what can name no namespace
}

func question(cfg config.Config, namespace, name string) inspect.Config {
	store := apiclient.NewStore(apiclient.StoreConfig{Kubeconfigs: cfg.Kubeconfigs, Log: slog.New(slog.DiscardHandler)})
	local := []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port))}
	for _, server := range apiclient.KubeconfigServers(cfg.Kubeconfigs) { // the last ones: the VIP may be among them
		if !slices.Contains(local, server) {
			local = append(local, server)
		}
	}
	return inspect.Config{
		Router:         apiclient.NewRouter(apiclient.RouterConfig{Store: store, Local: func() []string { return local }, InCluster: apiclient.InCluster()}),
		Reader:         svc.Reader{Class: cfg.ServiceClass, ClassOnly: cfg.ClassOnly, KubeVIP: cfg.KubeVIP},
		LeaseNamespace: cfg.Namespace, Namespace: namespace, Name: name,
	}
}
