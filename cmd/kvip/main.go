// Command kvip keeps one virtual IP address on a healthy control-plane node of a Kubernetes cluster
// and gives Services of type LoadBalancer their addresses. This package only turns command lines
// into calls: a file has one command with those below it; help.go, kubeadmfiles.go and
// kubeadmhost.go have helpers.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubeadm"
	"github.com/kvip/kvip/pkg/kubevip"
	"github.com/kvip/kvip/pkg/printable"
)

// The exit codes of every command.
const (
	exitOK        = 0
	exitFailure   = 1 // the command was tried and failed
	exitUsage     = 2 // the command line or an input file was refused; nothing was done
	exitUnhealthy = 3 // the command succeeded and found something unhealthy
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run executes one command line and returns its exit code. The first SIGINT or SIGTERM ends the
// command in order, a second one kills the process.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	root, started := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "%s: %s\n", cmd.CommandPath(), printable.Lines(err.Error()))
	if unhealthy := unhealthyError(""); errors.As(err, &unhealthy) {
		return exitUnhealthy
	}
	if !*started || isUsageError(err) {
		fmt.Fprintf(stderr, "Run '%s --help' for examples and flags.\n", cmd.CommandPath())
		return exitUsage
	}
	return exitFailure
}

// newRoot returns the command tree. started becomes true when the work of a command begins: every
// error before that is a usage error.
func newRoot() (root *cobra.Command, started *bool) {
	started = new(bool)
	root = &cobra.Command{
		Use:   "kvip",
		Short: "Virtual IP addresses for the control plane and the Services of a Kubernetes cluster",
		Long: `
kvip keeps one virtual IP address (IPv4, IPv6 or both) on a healthy control-plane node. It also
assigns addresses to Services of type LoadBalancer and spreads them over the nodes. Every node runs
'kvip manager'.`,
		Example: `  # Static pod for each control-plane node of a kubeadm cluster
  kvip manifest pod --vip 192.0.2.10 > /etc/kubernetes/manifests/kvip.yaml

  # DaemonSet for addresses of Services
  kvip manifest daemonset --services | kubectl apply -f -

  # Holder of the control plane's VIP, and the node that announces a Service
  kvip status
  kvip status service web`,
		Args:              cobra.ArbitraryArgs, // needsCommand refuses them
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRun:  func(*cobra.Command, []string) { *started = true },
	}
	// Not cobra's version flag: its template links text/template, which disables dead-code
	// elimination of methods and makes the program a third larger. The same holds for templates of
	// the help text: see help.go.
	version := root.Flags().Bool("version", false, "print the version of this program")
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if *version && len(args) == 0 {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), thisBuild())
			return err
		}
		return needsCommand(cmd, args)
	}
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { writeHelp(cmd.OutOrStdout(), cmd) })
	root.SetUsageFunc(
		func(cmd *cobra.Command) error { writeUsage(cmd.OutOrStderr(), cmd); return nil },
	)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newManager(), newManifest(), newKubeadm(), newStatus(), newMove(), newMigrate(),
		newCleanup(), newHealthz(), newVersion(), newCompletion())
	registerCompletions(root)
	return root, started
}

// isUsageError reports whether a command refused its input before it did anything.
func isUsageError(err error) bool {
	var (
		flag     *config.UsageError
		line     usageError
		input    *config.InputError
		conflict *kubeadm.Conflict
		setting  *kubevip.Error
	)
	return errors.As(err, &flag) || errors.As(err, &line) || errors.As(err, &input) ||
		errors.As(err, &conflict) || errors.As(err, &setting)
}

// unhealthyError is a finding of a command that worked.
type unhealthyError string

// Error returns the finding.
func (e unhealthyError) Error() string { return string(e) }

// usageError is a command line that is wrong beyond a single flag.
type usageError string

// Error returns what is wrong.
func (e usageError) Error() string { return string(e) }
