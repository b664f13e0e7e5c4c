package main

import (
	"context"
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
	// completeTimeout bounds what completion asks of a cluster: somebody waits at a terminal.
	completeTimeout = 2 * time.Second
	noFiles         = cobra.ShellCompDirectiveNoFileComp
)

// yamlFiles are the endings of manifests and of kubeadm's configurations.
var yamlFiles = []cobra.Completion{"yaml", "yml", "json", "conf"}

// values tells how the values of flags are completed. A flag has the same values in every command, but
// for --output: see completeFlag. Those that are not here have values that only people know.
var values = map[string]cobra.CompletionFunc{
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

// completeValues gives all flags of cmd and of the commands below it their completions. What has none
// offers no files of the directory that one happens to be in.
func completeValues(cmd *cobra.Command) {
	cmd.CompletionOptions.SetDefaultShellCompDirective(noFiles)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		complete := values[f.Name]
		if f.Name == "output" && f.DefValue != outputText { // of kubeadm's configuration
			complete = values["config"]
		}
		if complete != nil {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, complete) // fails for flags that do not exist or have one
		}
	})
	for _, sub := range cmd.Commands() {
		completeValues(sub)
	}
}

// completeFile offers the files that may be a manifest as the only argument.
func completeFile(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	return yamlFiles, cobra.ShellCompDirectiveFilterFileExt
}

// completeLinks offers the names of this host's links, and others.
func completeLinks(others ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		names := slices.Clone(others)
		links, _ := net.Interfaces() // none where they cannot be read
		for _, l := range links {
			if l.Flags&net.FlagLoopback == 0 && plainWord(l.Name) {
				names = append(names, l.Name)
			}
		}
		return names, noFiles
	}
}

// plainWord reports whether a shell takes a word as it is. The kernel and a cluster may have others.
func plainWord(word string) bool {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@/-"
	return word != "" && strings.Trim(word, plain) == "" && word[0] != '-'
}

// completeService offers the Services that kvip serves, as kvip status service takes them; nothing if the
// cluster cannot be asked in a short time.
func completeService(cfg *config.Config, namespace *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 || validateServiceStatus(*cfg) != nil || chooseCredentials(cmd, cfg) != nil {
			return nil, noFiles
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
		defer cancel()
		all, err := inspect.ServiceNames(ctx, question(*cfg, "", ""))
		if err != nil {
			return nil, noFiles
		}
		return offered(all, typed, *namespace, cmd.Flags().Changed("namespace")), noFiles
	}
}

// offered returns what typed may become: Services in namespace by their names, and those in others, unless
// namespace was chosen, as NAMESPACE/NAME.
func offered(all []string, typed, namespace string, chosen bool) (list []cobra.Completion) {
	kind := ""
	for _, k := range kinds {
		if rest, ok := strings.CutPrefix(typed, k); ok {
			kind, typed = k, rest
			break
		}
	}
	for _, one := range all {
		space, name, _ := strings.Cut(one, "/")
		switch {
		case !plainWord(one) || chosen && space != namespace:
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
