package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/config"
)

// version and commit are set by the linker, see the Makefile.
var (
	version = "dev"
	commit  = "unknown"
)

// defaultImage is the image of this very build.
func defaultImage() string { return config.ImageRepository + ":" + version }

// newVersion returns `kvip version`.
func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		Long:    "Print the version of this program, the commit it was built from, its Go and its platform.",
		Example: "  kvip version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "kvip %s (commit %s, %s, %s/%s)\n",
				version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
