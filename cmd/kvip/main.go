// Command kvip keeps one virtual IP address on a healthy node of a Kubernetes control plane. This
// package only turns command lines into calls: one file per command.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubeadm"
	"github.com/kvip/kvip/pkg/kubevip"
	"github.com/kvip/kvip/pkg/printable"
)

// The exit codes of every command.
const (
	exitOK      = 0
	exitFailure = 1 // it was tried and did not work
	exitUsage   = 2 // it was not tried: the command line cannot mean anything
	exitTrouble = 3 // it was found out, and is not as it should be
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run executes one command line and returns its exit code. The first SIGINT or SIGTERM ends the
// command in order, a second one at once.
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
	if trouble := troubleError(""); errors.As(err, &trouble) {
		return exitTrouble
	}
	if !*started || refused(err) {
		fmt.Fprintf(stderr, "Run '%s --help' for examples and flags.\n", cmd.CommandPath())
		return exitUsage
	}
	return exitFailure
}

// refused tells a command line that was not understood from one that was tried.
func refused(err error) bool {
	var setting *config.UsageError
	var line usageError
	var input *kubeadm.InputError
	var conflict *kubeadm.Conflict
	var theirs *kubevip.Error
	return errors.As(err, &theirs) || errors.As(err, &setting) || errors.As(err, &line) || errors.As(err, &input) || errors.As(err, &conflict)
}

// troubleError is what a command found out, and what is not as it should be.
type troubleError string

// Error says what is wrong.
func (e troubleError) Error() string { return string(e) }

// usageError is a command line that is wrong beyond a single flag.
type usageError string

// Error says what is wrong.
func (e usageError) Error() string { return string(e) }
