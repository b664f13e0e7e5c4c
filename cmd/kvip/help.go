package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kvip/kvip/pkg/config"
)

// helpWidth is the longest line of a help text.
const helpWidth = 100

// writeHelp prints the help of a command: its text, then its usage.
func writeHelp(w io.Writer, cmd *cobra.Command) {
	fmt.Fprintf(w, "%s\n\n", strings.TrimSpace(cmd.Long))
	writeUsage(w, cmd)
}

// writeUsage prints the forms of a command line, examples, the commands below cmd, and its flags by
// section. It is plain code, because a template would link text/template (see newRoot).
func writeUsage(w io.Writer, cmd *cobra.Command) {
	fmt.Fprintln(w, "Usage:")
	if !isGroup(cmd) {
		fmt.Fprintf(w, "  %s\n", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "  %s COMMAND [flags]\n", cmd.CommandPath())
	}
	if cmd.HasExample() {
		fmt.Fprintf(w, "\nExamples:\n%s\n", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintln(w, "\nCommands:")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(w, "  %-*s  %s\n", cmd.NamePadding(), sub.Name(), sub.Short)
			}
		}
	}
	for _, section := range append([]string{""}, config.Sections()...) {
		if flags := flagsOf(cmd, section); flags != "" {
			title := section
			if title == "" {
				title = "Flags"
			}
			fmt.Fprintf(w, "\n%s:\n%s", title, flags)
		}
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\nRun '%s COMMAND --help' for the flags and examples of a command.\n",
			cmd.CommandPath())
	}
}

// flagsOf returns the lines about the flags of one section. Section "" has the command's own flags.
func flagsOf(cmd *cobra.Command, section string) string {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.SortFlags = false
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if config.Section(f) == section {
			fs.AddFlag(f)
		}
	})
	return fs.FlagUsagesWrapped(helpWidth)
}

// needsCommand is the RunE of a command that only groups others. It fails instead of printing help
// to stdout, which could end in a file meant for a manifest.
func needsCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	return usageError("name a command: " + subcommands(cmd))
}

// isGroup reports whether a command only groups others.
func isGroup(cmd *cobra.Command) bool {
	return cmd.HasSubCommands() && cmd.Args == nil || !cmd.HasParent()
}

// subcommands lists the commands below cmd.
func subcommands(cmd *cobra.Command) string {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return strings.Join(names, ", ")
}

// commandHints maps commands of other programs to kvip's command for the same purpose.
var commandHints = map[string]string{
	"check": "'kvip status' reports problems of the cluster,\n" +
		"'kvip kubeadm init --dry-run' problems of a host",
	"explain": "'kvip status' shows why a node is in its state;\n" +
		"docs/operations.md explains each reason, docs/troubleshooting.md what to do",
	"logs": "the logs are those of the pods: kubectl -n kube-system logs -l " +
		"app.kubernetes.io/name=kvip --prefix\n" +
		"On a node without an API server they are in /var/log/pods/kube-system_kvip-*",
	"transfer": "'kvip move' moves the address to another node",
	"services": "'kvip status service NAME' shows which node announces a Service",
}

// hintSynonyms are other words for the keys of commandHints.
var hintSynonyms = map[string]string{
	"diagnose": "check", "doctor": "check", "health": "check", "verify": "check",
	"reason": "explain", "why": "explain",
	"log":   "logs",
	"drain": "transfer", "failover": "transfer", "release": "transfer", "handover": "transfer",
	"service": "services", "svc": "services",
}

// unknownCommand names the commands below cmd, with a hint or suggestions for the unknown word.
func unknownCommand(cmd *cobra.Command, word string) error {
	text := fmt.Sprintf("unknown command %q; the commands are: %s", word, subcommands(cmd))
	name := word
	if synonym, ok := hintSynonyms[word]; ok {
		name = synonym
	}
	if hint, ok := commandHints[name]; ok && !cmd.HasParent() {
		return usageError(text + "\n" + hint)
	}
	cmd.SuggestionsMinimumDistance = 2
	if suggestions := cmd.SuggestionsFor(word); len(suggestions) > 0 {
		text += "\n\nDid you mean this?\n\t" + strings.Join(suggestions, "\n\t") + "\n"
	}
	return usageError(text)
}

// flagError gives a value that cannot be parsed the form of config.UsageError. If the command does
// not exist either, that is the error.
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
	switch cause := invalid.Unwrap(); {
	case flag.Value.Type() == "duration":
		reason = fmt.Sprintf("%q is not a duration; give one with its unit, like %ss", invalid.GetValue(),
			exampleNumber(invalid.GetValue()))
	case flag.Value.Type() == "addresses" && cause != nil:
		reason = cause.Error()
	}
	_, usage := pflag.UnquoteUsage(flag)
	return &config.UsageError{Flag: flag.Name, Reason: reason, Hint: "the flag takes: " + usage}
}

// exampleNumber returns text if it is a short number, else the number of an example.
func exampleNumber(text string) string {
	if text == "" || len(text) > 4 || strings.Trim(text, "0123456789") != "" {
		return "5"
	}
	return text
}

// oneArg accepts exactly one argument. what describes it.
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

// oneOf accepts a first argument that is one of known.
func oneOf(known []string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if slices.Contains(known, args[0]) {
			return nil
		}
		return usageError(fmt.Sprintf("%q is none of %s", args[0], strings.Join(known, ", ")))
	}
}

// noArgs refuses arguments. cobra's own check calls them unknown commands.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError(fmt.Sprintf(
		"%q is an argument too many: this command takes flags only", args[0]))
}
