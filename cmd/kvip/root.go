package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kvip/kvip/pkg/config"
)

// newRoot returns the command tree. started turns true once a command's own work begins: every
// error before that is one of usage.
func newRoot() (root *cobra.Command, started *bool) {
	started = new(bool)
	root = &cobra.Command{
		Use:   "kvip",
		Short: "Virtual IP addresses for the control plane and the Services of a Kubernetes cluster",
		Long: `kvip keeps one virtual IP address (IPv4, IPv6 or both) on a healthy control-plane node, and gives
Services of type LoadBalancer addresses, which it spreads over the nodes. Every node runs
'kvip manager'.`,
		Example: `  # The static pod for each control-plane node of a kubeadm cluster
  kvip manifest pod --vip 192.0.2.10 > /etc/kubernetes/manifests/kvip.yaml

  # What gives Services addresses
  kvip manifest daemonset --services | kubectl apply -f -

  # Who holds the control plane's address, and who announces a Service, and why
  kvip status
  kvip status service web`,
		Args:              cobra.ArbitraryArgs, // which needsCommand refuses
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRun:  func(*cobra.Command, []string) { *started = true },
	}
	// Not cobra's own flag: its template brings text/template in, which keeps the linker from
	// leaving methods out, and makes the program a third larger.
	version := root.Flags().Bool("version", false, "print the version of this program")
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if *version && len(args) == 0 {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), thisBuild())
			return err
		}
		return needsCommand(cmd, args)
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newManager(), newManifest(), newKubeadm(), newStatus(), newMigrate(), newCleanup(), newHealthz(), newVersion(), newCompletion())
	completeValues(root)
	return root, started
}

// needsCommand runs a command that only groups others, and refuses: its help on stdout could end in
// a file meant for a manifest.
func needsCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	return usageError("name a command: " + commandsOf(cmd))
}

// isGroup reports whether a command does nothing but to group others.
func isGroup(cmd *cobra.Command) bool {
	return cmd.HasSubCommands() && cmd.Args == nil || !cmd.HasParent()
}

// commandsOf lists the commands below cmd.
func commandsOf(cmd *cobra.Command) string {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return strings.Join(names, ", ")
}

// elsewhere says of commands that other programs have where kvip has what they are for.
var elsewhere = map[string]string{
	"check": "`kvip status` says what is wrong in the cluster, and `kvip kubeadm init --dry-run` what is\n" +
		"wrong on a host",
	"explain": "`kvip status` says why a node is in its state; docs/operations.md explains each reason,\n" +
		"docs/troubleshooting.md what to do",
	"logs": "kvip's logs are its pods': kubectl -n kube-system logs -l app.kubernetes.io/name=kvip --prefix\n" +
		"On a node without an API server they are in /var/log/pods/kube-system_kvip-*",
	"move": "`kvip status` says who holds the address; when the agent there ends (SIGTERM, or its manifest\n" +
		"is moved away), another takes over",
	"services": "`kvip status service NAME` says which node announces a Service",
}

// synonyms are other words for what elsewhere explains.
var synonyms = map[string]string{
	"diagnose": "check", "doctor": "check", "health": "check", "verify": "check",
	"reason": "explain", "why": "explain",
	"log":   "logs",
	"drain": "move", "failover": "move", "release": "move", "transfer": "move",
	"service": "services", "svc": "services",
}

// unknownCommand says of a word that is no command below cmd what there is.
func unknownCommand(cmd *cobra.Command, word string) error {
	text := fmt.Sprintf("unknown command %q; there are: %s", word, commandsOf(cmd))
	name := word
	if synonym, ok := synonyms[word]; ok {
		name = synonym
	}
	if hint, ok := elsewhere[name]; ok && !cmd.HasParent() {
		return usageError(text + "\n" + hint)
	}
	cmd.SuggestionsMinimumDistance = 2
	if suggestions := cmd.SuggestionsFor(word); len(suggestions) > 0 {
		text += "\n\nDid you mean this?\n\t" + strings.Join(suggestions, "\n\t") + "\n"
	}
	return usageError(text)
}

// flagError says of a value that cannot be parsed what Validate says of one that cannot be used. A flag
// of a command that does not exist is not what is wrong.
func flagError(cmd *cobra.Command, err error) error {
	if words := cmd.Flags().Args(); len(words) > 0 && isGroup(cmd) {
		return unknownCommand(cmd, words[0])
	}
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	flag := invalid.GetFlag()
	reason := fmt.Sprintf("%q is not a valid %s", invalid.GetValue(), flag.Value.Type())
	if flag.Value.Type() == "duration" {
		reason = fmt.Sprintf("%q is not a duration; give one with its unit, like %ss", invalid.GetValue(), digits(invalid.GetValue()))
	}
	if cause := invalid.Unwrap(); flag.Value.Type() == "addresses" && cause != nil {
		reason = cause.Error()
	}
	return &config.UsageError{Flag: flag.Name, Reason: reason, Hint: "it takes: " + flag.Usage}
}

// oneArg refuses anything but one argument, which is what.
func oneArg(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch len(args) {
		case 1:
			return nil
		case 0:
			return usageError("name " + what)
		}
		return usageError(fmt.Sprintf("%q is one argument too many; name %s", args[1], what))
	}
}

// oneOf refuses a first argument that is none of known.
func oneOf(known []string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if slices.Contains(known, args[0]) {
			return nil
		}
		return usageError(fmt.Sprintf("%q is none of %s", args[0], strings.Join(known, ", ")))
	}
}

// noArgs refuses arguments, which are no commands: cobra's own check calls them that.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError(fmt.Sprintf("%q is an argument too many: this command takes flags only", args[0]))
}

// digits returns text if it is a number, else one for an example.
func digits(text string) string {
	if text == "" || len(text) > 4 || strings.Trim(text, "0123456789") != "" {
		return "5"
	}
	return text
}
