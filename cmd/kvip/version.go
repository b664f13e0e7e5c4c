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

// version and commit are set by the linker, see the Makefile. A plain `go build` sets neither: then
// the commit is what Go itself wrote into the program.
var (
	version = "dev"
	commit  = ""
)

// defaultImage is the image of this very build.
func defaultImage() string { return config.ImageRepository + ":" + version }

// release is what the versions of releases look like.
var release = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-(alpha|beta|rc)[.0-9]*)?$`)

// imageNote says of the image that a manifest names that nodes have to get it, or "" where a registry
// may have it: that of a release, and one that was chosen.
func imageNote(cmd *cobra.Command, image string) string {
	published := release.MatchString(version) && !strings.HasPrefix(image, config.ImageRepository+":")
	if cmd.Flags().Changed("image") || published {
		return ""
	}
	return fmt.Sprintf("the manifest names the image %s, which no public registry has: "+
		"load it on every node (make image; docs/operations.md says how), or name another one with --image", image)
}

// noteImage prints the note on stderr: stdout is the manifest.
func noteImage(cmd *cobra.Command, image string) {
	if note := imageNote(cmd, image); note != "" {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "note: %s\n", note)
	}
}

// builtFrom returns the commit that this program was built from, "unknown" if nobody noted it.
func builtFrom() string {
	if commit != "" {
		return commit
	}
	info, _ := debug.ReadBuildInfo()
	return commitOf(info)
}

// commitOf returns the commit in info, shortened to 12 digits, with "-dirty" where the tree had
// changes. It is "unknown" where info is nil or has none.
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
		Long:  "Print the version of this program, the commit it was built from, its Go and its platform.",
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
