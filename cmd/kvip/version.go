package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/config"
)

// The linker sets version and commit, see the Makefile. A plain `go build` sets neither; the
// commit is then the one that Go wrote into the program.
var (
	version = "dev"
	commit  = ""
)

// defaultImage is the image of this build.
func defaultImage() string { return config.ImageRepository + ":" + version }

// releaseVersion matches the versions of releases.
var releaseVersion = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-(alpha|beta|rc)[.0-9]*)?$`)

// imageNote returns a warning that nodes cannot pull the image of a manifest, or "" if a registry
// may have it: the image of a release, and one that the user chose.
func imageNote(cmd *cobra.Command, image string) string {
	published := releaseVersion.MatchString(version) &&
		!strings.HasPrefix(image, config.ImageRepository+":")
	if cmd.Flags().Changed("image") || published {
		return ""
	}
	return fmt.Sprintf("no public registry has the image %s of the manifest: load it on every node "+
		"(make image; see docs/operations.md), or choose another one with --image", image)
}

// printImageNote prints the note to stderr: stdout is the manifest.
func printImageNote(cmd *cobra.Command, image string) {
	if note := imageNote(cmd, image); note != "" {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "note: %s\n", note)
	}
}

// builtFrom returns the commit of this build, or "unknown".
func builtFrom() string {
	if commit != "" {
		return commit
	}
	info, _ := debug.ReadBuildInfo()
	return commitOf(info)
}

// commitOf returns the first 12 digits of the commit in info, with "-dirty" if the tree had
// changes, or "unknown" if info is nil or has none.
func commitOf(info *debug.BuildInfo) string {
	if info == nil {
		return "unknown"
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	revision := settings["vcs.revision"]
	if revision == "" {
		return "unknown"
	}
	revision = revision[:min(len(revision), 12)]
	if settings["vcs.modified"] == "true" {
		revision += "-dirty"
	}
	return revision
}

// build is what `kvip version -o json` prints.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	return build{version, builtFrom(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
}

// String is the line that `kvip version` and `kvip --version` print.
func (b build) String() string {
	return fmt.Sprintf("kvip %s (commit %s, %s, %s)", b.Version, b.Commit, b.Go, b.Platform)
}

// newVersion returns `kvip version`.
func newVersion() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Long:  "Print the version of this program, its commit, the version of Go and the platform.",
		Example: `  kvip version
  kvip version -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := validateOutput(output); err != nil {
				return err
			}
			b := thisBuild()
			if output == outputJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(b)
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), b)
			return err
		},
	}
	addOutput(cmd, &output)
	return cmd
}
