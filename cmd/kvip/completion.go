package main

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/svc/inspect"
)

const (
	// completionTimeout bounds requests to the cluster: a user waits at a terminal.
	completionTimeout = 2 * time.Second
	noFiles           = cobra.ShellCompDirectiveNoFileComp
)

var shells = []string{"bash", "zsh", "fish", "powershell"}

// newCompletion returns `kvip completion`.
func newCompletion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a completion script for a shell",
		Long:  "Print a completion script for a shell. The shell must source it.",
		Example: `  source <(kvip completion bash)
  kvip completion bash > /etc/bash_completion.d/kvip`,
		Args: cobra.MatchAll(
			oneArg("a shell: bash, zsh, fish or powershell"), oneOf(shells)),
		ValidArgs:             shells,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			write := map[string]func(io.Writer) error{
				"bash":       func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
				"zsh":        root.GenZshCompletion,
				"fish":       func(w io.Writer) error { return root.GenFishCompletion(w, true) },
				"powershell": root.GenPowerShellCompletionWithDesc,
			}
			return write[args[0]](cmd.OutOrStdout())
		},
	}
}

// yamlFiles are the extensions of manifests and of kubeadm configurations.
var yamlFiles = []cobra.Completion{"yaml", "yml", "json", "conf"}

// flagCompletions has the completions of flags' values. A flag has the same values in every
// command, except for --output: see registerCompletions. Other flags have no completion.
var flagCompletions = map[string]cobra.CompletionFunc{
	"output":             cobra.FixedCompletions([]cobra.Completion{outputText, outputJSON}, noFiles),
	"log-format":         cobra.FixedCompletions([]cobra.Completion{"text", "json"}, noFiles),
	"v":                  cobra.FixedCompletions([]cobra.Completion{"0", "1"}, noFiles),
	"interface":          completeLinks(),
	"services-interface": completeLinks(),
	"services-fallback":  completeLinks(config.DefaultRoute),
	"serviceInterface":   completeLinks(), // kube-vip's
	"servicesInterface":  completeLinks(),
	"kubeconfig":         cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
	"k8sConfigPath":      cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
	"config":             cobra.FixedCompletions(yamlFiles, cobra.ShellCompDirectiveFilterFileExt),
	"kubeadm-config":     cobra.FixedCompletions(yamlFiles, cobra.ShellCompDirectiveFilterFileExt),
	"manifest-dir":       cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
	"state-dir":          cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
}

// registerCompletions registers the completions of all flags of cmd and of the commands below it.
// A flag without completion offers no files of the working directory.
func registerCompletions(cmd *cobra.Command) {
	cmd.CompletionOptions.SetDefaultShellCompDirective(noFiles)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		complete := flagCompletions[f.Name]
		if f.Name == "output" && f.DefValue != outputText { // the file of a kubeadm configuration
			complete = flagCompletions["config"]
		}
		if complete != nil {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, complete) // fails if the flag has one
		}
	})
	for _, sub := range cmd.Commands() {
		registerCompletions(sub)
	}
}

// completeFile offers files that may be a manifest as the only argument.
func completeFile(_ *cobra.Command, args []string,
	_ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	return yamlFiles, cobra.ShellCompDirectiveFilterFileExt
}

// completeLinks offers the names of this host's links, and others.
func completeLinks(others ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		names := slices.Clone(others)
		links, _ := net.Interfaces() // without them only others are offered
		for _, l := range links {
			if l.Flags&net.FlagLoopback == 0 && isPlainWord(l.Name) {
				names = append(names, l.Name)
			}
		}
		return names, noFiles
	}
}

// isPlainWord reports whether a shell takes a word literally. Names from the kernel and from a
// cluster may have other characters.
func isPlainWord(word string) bool {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@/-"
	return word != "" && strings.Trim(word, plain) == "" && word[0] != '-'
}

// completeService offers the Services that kvip serves, in the form of `kvip status service`. It
// offers nothing if the cluster does not answer within completionTimeout.
func completeService(cfg *config.Config, namespace *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) (
		[]cobra.Completion, cobra.ShellCompDirective,
	) {
		if len(args) > 0 || validateServiceStatus(*cfg) != nil || chooseCredentials(cmd, cfg) != nil {
			return nil, noFiles
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		inspected, err := inspectConfig(*cfg, "", "")
		if err != nil {
			return nil, noFiles
		}
		all, err := inspect.ServiceNames(ctx, inspected)
		if err != nil {
			return nil, noFiles
		}
		return matchingServices(all, typed, *namespace, cmd.Flags().Changed("namespace")), noFiles
	}
}

// matchingServices returns the completions of typed: Services of namespace by their names, and
// those of other namespaces as NAMESPACE/NAME, unless the user chose the namespace.
func matchingServices(all []string, typed, namespace string,
	chosen bool) (list []cobra.Completion) {
	kind := ""
	for _, k := range serviceKinds {
		if rest, ok := strings.CutPrefix(typed, k); ok {
			kind, typed = k, rest
			break
		}
	}
	for _, one := range all {
		space, name, _ := strings.Cut(one, "/")
		switch {
		case !isPlainWord(one) || chosen && space != namespace:
			continue
		case space == namespace && !strings.Contains(typed, "/"):
			one = name
		}
		if strings.HasPrefix(one, typed) {
			list = append(list, kind+one)
		}
	}
	return list
}
