package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/printable"
	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/svc/inspect"
)

const (
	// statusTimeout bounds a status command if no API server answers.
	statusTimeout = 10 * time.Second
	outputText    = "text"
	outputJSON    = "json"
	// kubeconfigEnv names kubeconfig files, as for kubectl.
	kubeconfigEnv = "KUBECONFIG"
)

var statusGroups = []config.Group{config.APIServer, config.Lease, config.Client, config.Metrics}

// newStatus returns `kvip status`.
func newStatus() *cobra.Command {
	cfg := config.StaticPod()
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show which node holds or announces the virtual IP, and why",
		Long: `
Show the holder of the virtual IP, its term and Lease, the health of each node's API server and the
last transitions with their reasons. The command does not use the virtual IP. On a control-plane
node it needs no flags. In a pod of the DaemonSet it uses the ServiceAccount. Elsewhere it asks the
servers of the files of --kubeconfig or of the variable KUBECONFIG, each of which needs a client
certificate or a token.

Where agents announce the virtual IP by BGP there is no Lease. The command shows the announcement of
each node with its reason, and how many of its BGP sessions are established.

Exit codes: 0 no problem was found; 3 no node or more than one node has the address, or a node that
does not hold the Lease, or the Lease does not exist; by BGP: no node announces the address, a node
with a ready API server does not, or by the worse path, or a BGP session is down, or none carries
the family of the address; 1 the Lease could not be read, and no agent by BGP answers; 2 the command
line was refused.`,
		Example: `  kvip status
  kvip status -o json
  kvip status bgp

  # From a workstation
  kvip status --kubeconfig admin.conf`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return usageError(fmt.Sprintf(
				"%q is an argument too many; for a Service: kvip status service NAME", args[0]))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return runStatus(cmd, cfg, output) },
	}
	cfg.AddFlags(cmd.Flags(), statusGroups...)
	addOutput(cmd, &output)
	cmd.AddCommand(newStatusService(), newStatusBGP())
	return cmd
}

func runStatus(cmd *cobra.Command, cfg config.Config, output string) error {
	if err := validateOutput(output); err != nil {
		return err
	}
	if err := cfg.Validate(statusGroups...); err != nil {
		return err
	}
	if err := chooseCredentials(cmd, &cfg); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), statusTimeout)
	defer cancel()
	report, err := status.Collect(ctx, cfg)
	if err != nil {
		return fmt.Errorf("collect status: %w", err)
	}
	if err := printReport(cmd.OutOrStdout(), output, report, report.WriteText); err != nil {
		return err
	}
	if report.Problem != "" {
		return unhealthyError(report.Problem)
	}
	return nil
}

// printReport prints a report as text, or as JSON that is safe for a terminal.
func printReport(w io.Writer, output string, report any, text func(io.Writer) error) error {
	if output == outputText {
		return text(w)
	}
	encoder := json.NewEncoder(printable.JSON(w))
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}

// addOutput registers -o.
func addOutput(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", outputText, "output `format`: text or json")
}

func validateOutput(output string) error {
	if output != outputText && output != outputJSON {
		return &config.UsageError{
			Flag:   "output",
			Reason: fmt.Sprintf("%q is unknown", output),
			Hint:   "give text or json",
		}
	}
	return nil
}

// newStatusService returns `kvip status service`.
func newStatusService() *cobra.Command {
	cfg := config.StaticPod()
	cfg.Services, cfg.StateDir = true, ""
	var output, namespace string
	cmd := &cobra.Command{
		Use:   "service NAME",
		Short: "Show which node announces a Service's addresses, since when, and why",
		Long: `
Show which node announces the addresses of a Service of type LoadBalancer, since when, and why that
node, or why none does. The command asks the API and the agent of every node. It runs on a
control-plane node, in a pod of the DaemonSet, or on any host that reaches the nodes and the server
of --kubeconfig or of the variable KUBECONFIG.

Exit codes: 0 exactly one node announces each address of the Service, or by BGP at least one; 3 no
node announces an address, or more than one without BGP, or the Service has none; 1 the API or all
agents did not answer; 2 the command line was refused.`,
		Example: `  kvip status service web
  kvip status service web -n shop -o json`,
		Args: oneArg("a Service, as NAME or NAMESPACE/NAME; 'kubectl get services -A' lists them"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runStatusService(cmd, cfg, output, namespace, args[0])
		},
	}
	cfg.AddFlags(cmd.Flags(), config.APIServer, config.Kubeconfig, config.ServiceClass)
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of the Service")
	cmd.Flags().StringVar(&cfg.Namespace, "lease-namespace", cfg.Namespace,
		"namespace of kvip's Leases")
	addOutput(cmd, &output)
	cmd.ValidArgsFunction = completeService(&cfg, &namespace)
	return cmd
}

func runStatusService(cmd *cobra.Command, cfg config.Config,
	output, namespace, service string) error {
	if err := validateOutput(output); err != nil {
		return err
	}
	if err := validateServiceStatus(cfg); err != nil {
		return err
	}
	space, name, err := parseService(service, namespace, cmd.Flags().Changed("namespace"))
	if err != nil {
		return err
	}
	if err := chooseCredentials(cmd, &cfg); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), statusTimeout)
	defer cancel()
	inspected, err := inspectConfig(cfg, space, name)
	if err != nil {
		return err
	}
	report, err := inspect.Service(ctx, inspected)
	if apiclient.IsNoResponse(err) { // also without credentials
		return fmt.Errorf("%w; %s", err, status.HintElsewhere)
	}
	if err != nil {
		return err
	}
	text := func(w io.Writer) error { return report.WriteText(w, time.Now()) }
	if err := printReport(cmd.OutOrStdout(), output, report, text); err != nil {
		return err
	}
	if err := report.Err(); err != nil {
		return err
	}
	if report.Problem != "" {
		return unhealthyError(report.Problem)
	}
	return nil
}

// validateServiceStatus checks cfg. The namespace of the Leases has another flag here: --namespace
// is that of the Service.
func validateServiceStatus(cfg config.Config) error {
	err := cfg.Validate(config.APIServer, config.Lease, config.Client, config.Services)
	if setting := (*config.UsageError)(nil); errors.As(err, &setting) && setting.Flag == "namespace" {
		setting.Flag = "lease-namespace"
	}
	return err
}

// serviceKinds are the prefixes of a Service's name in kubectl.
var serviceKinds = []string{"svc/", "service/", "services/"}

// parseService returns namespace and name of a Service: NAME in namespace, or NAMESPACE/NAME, as
// logs have it. If the user chose the namespace, the two must not contradict each other.
func parseService(arg, namespace string, chosen bool) (space, name string, err error) {
	for _, kind := range serviceKinds {
		arg = strings.TrimPrefix(arg, kind)
	}
	space, name, both := strings.Cut(arg, "/")
	if !both {
		space, name = namespace, arg
	}
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/%") {
		return "", "", usageError(fmt.Sprintf(
			"%q cannot name a Service; give NAME or NAMESPACE/NAME", arg))
	}
	if chosen && space != namespace {
		return "", "", &config.UsageError{Flag: "namespace", Reason: fmt.Sprintf(
			"%q is not the namespace of %q", namespace, arg),
			Hint: "remove one of them"}
	}
	lease := config.Config{LeaseName: config.DefaultLeaseName, Namespace: space}
	return space, name, lease.Validate(config.Lease) // checks the namespace
}

// inspectConfig returns what package inspect needs for one Service, or for all if name is empty.
func inspectConfig(cfg config.Config, namespace, name string) (inspect.Config, error) {
	store, err := apiclient.NewStore(apiclient.StoreConfig{Kubeconfigs: cfg.Kubeconfigs})
	if err != nil {
		return inspect.Config{}, err
	}
	local := net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port))
	// The servers of the kubeconfigs come last: the VIP may be among them.
	servers := apiclient.Union([]string{local}, apiclient.KubeconfigServers(cfg.Kubeconfigs))
	router, err := apiclient.NewRouter(apiclient.RouterConfig{
		Store: store, Local: func() []string { return servers }, InCluster: apiclient.InCluster(),
	})
	return inspect.Config{
		Router: router,
		Reader: svc.Reader{
			Class:     cfg.ServiceClass,
			ClassOnly: cfg.ClassOnly,
			KubeVIP:   cfg.KubeVIP,
		},
		LeaseNamespace: cfg.Namespace, Namespace: namespace, Name: name,
	}, err
}

// chooseCredentials sets the kubeconfig files for requests: those of --kubeconfig, else those of
// KUBECONFIG, else in a pod its ServiceAccount, else the node's and the user's. Files that the user
// named may belong to another cluster: the token in the state directory is not used then.
func chooseCredentials(cmd *cobra.Command, cfg *config.Config) error {
	named := cmd.Flags().Changed("kubeconfig")
	if files := environmentKubeconfigs(); !named && len(files) > 0 {
		cfg.Kubeconfigs, named = files, true
	}
	if named {
		if !cmd.Flags().Changed("state-dir") { // false if the command has no such flag
			cfg.StateDir = ""
		}
		return checkReadable(cfg.Kubeconfigs)
	}
	if apiclient.InPod() {
		cfg.Kubeconfigs = nil
		return nil
	}
	if home, err := os.UserHomeDir(); err == nil {
		cfg.Kubeconfigs = append(slices.Clone(cfg.Kubeconfigs), filepath.Join(home, ".kube", "config"))
	}
	return nil
}

// environmentKubeconfigs returns the files of KUBECONFIG.
func environmentKubeconfigs() []string {
	return slices.DeleteFunc(filepath.SplitList(os.Getenv(kubeconfigEnv)), func(file string) bool {
		return file == ""
	})
}

// checkReadable fails if none of the files exists, or if one that exists cannot be used.
func checkReadable(files []string) error {
	present := slices.DeleteFunc(slices.Clone(files), func(file string) bool {
		_, err := os.Stat(file)
		return errors.Is(err, fs.ErrNotExist)
	})
	if len(present) == 0 {
		return fmt.Errorf("read kubeconfig: none of %q exists", files)
	}
	return apiclient.CheckKubeconfigs(present)
}
