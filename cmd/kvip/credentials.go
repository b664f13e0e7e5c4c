package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/config"
)

// kubeconfigEnv names kubeconfig files, as for kubectl.
const kubeconfigEnv = "KUBECONFIG"

// chooseCredentials fills in with which files a command asks the API: those of --kubeconfig, else those of
// KUBECONFIG, else in a pod its ServiceAccount, else this node's own and the user's. Files that were named
// are for the cluster that they are of: then this node's own token is not used.
func chooseCredentials(cmd *cobra.Command, cfg *config.Config) error {
	named := cmd.Flags().Changed("kubeconfig")
	if files := fromEnvironment(); !named && len(files) > 0 {
		cfg.Kubeconfigs, named = files, true
	}
	if named {
		if !cmd.Flags().Changed("state-dir") { // false as well where the command has no such flag
			cfg.StateDir = ""
		}
		return readable(cfg.Kubeconfigs)
	}
	if _, err := os.Stat(tokenFile); err == nil {
		cfg.Kubeconfigs = nil
		return nil
	}
	if home, err := os.UserHomeDir(); err == nil {
		cfg.Kubeconfigs = append(slices.Clone(cfg.Kubeconfigs), filepath.Join(home, ".kube", "config"))
	}
	return nil
}

// fromEnvironment returns the files of KUBECONFIG.
func fromEnvironment() []string {
	return slices.DeleteFunc(filepath.SplitList(os.Getenv(kubeconfigEnv)), func(file string) bool { return file == "" })
}

// readable refuses files of which none is there, and those that cannot be used.
func readable(files []string) error {
	present := slices.DeleteFunc(slices.Clone(files), func(file string) bool {
		_, err := os.Stat(file)
		return errors.Is(err, fs.ErrNotExist)
	})
	if len(present) == 0 {
		return fmt.Errorf("read kubeconfig: none of %q is there", files)
	}
	return apiclient.CheckKubeconfigs(present)
}
