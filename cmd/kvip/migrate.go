package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubevip/migrate"
	"github.com/kvip/kvip/pkg/metallb"
	"github.com/kvip/kvip/pkg/printable"
)

// maxManifest limits the size of the file: an object in a cluster is smaller.
const maxManifest = 4 << 20

// The programs whose files are translated.
const (
	fromKubeVIP = "kube-vip"
	fromMetalLB = "metallb"
	fromFlag    = "from"
)

// newMigrate returns `kvip migrate`.
func newMigrate() *cobra.Command {
	cfg := config.Config{Image: defaultImage()}
	from := fromKubeVIP
	cmd := &cobra.Command{
		Use:   "migrate FILE",
		Short: "Translate a manifest of kube-vip or objects of MetalLB into those of kvip",
		Long: `
Translate a manifest of kube-vip into one of kvip: a static pod into a static pod, a DaemonSet into
a DaemonSet on the same nodes with its RBAC. FILE may contain other documents too, and - is stdin.
With --from=metallb, translate objects of MetalLB: pools, peers, advertisements and timers of BFD,
as documents or in a List. The command needs no cluster and applies nothing.

Notes on stderr name each setting that has no counterpart, with what happens instead, and each
document that is left out. The exit code is 2 for a setting whose loss would change the purpose of
the manifest, such as an election with BGP, and for a value that only a cluster knows. No output has
a password: the notes name the file or the Secret for it.`,
		Example: `  kvip migrate /etc/kubernetes/manifests/kube-vip.yaml > kvip.yaml
  kubectl -n kube-system get daemonset kube-vip-ds -o yaml | kvip migrate - > kvip.yaml
  kvip migrate --from=metallb metallb.yaml > kvip.yaml`,
		Args: oneArg("a file with a manifest of kube-vip, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runMigrateCommand(cmd, cfg, from, args[0])
		},
	}
	cmd.ValidArgsFunction = completeFile
	cmd.Flags().StringVar(&from, fromFlag, from,
		"`program` of the file: "+fromKubeVIP+" or "+fromMetalLB)
	cfg.AddFlags(cmd.Flags(), config.Image)
	return cmd
}

func runMigrateCommand(cmd *cobra.Command, cfg config.Config, from, path string) error {
	switch {
	case from != fromKubeVIP && from != fromMetalLB:
		return usageError(fmt.Sprintf("--%s: %q is unknown; give %s or %s", fromFlag, from, fromKubeVIP,
			fromMetalLB))
	case from == fromMetalLB && cmd.Flags().Changed("image"):
		return usageError("--image: objects of MetalLB have no image; remove the flag")
	}
	if err := cfg.Validate(config.Image); err != nil {
		return err
	}
	name, text, err := readManifest(path, cmd.InOrStdin())
	if err != nil {
		return err
	}
	var out []byte
	var notes []string
	if from == fromMetalLB {
		out, notes, err = translated(metallb.Migrate(name, text))
	} else {
		out, notes, err = translated(migrate.Migrate(name, text, cfg.Image))
	}
	switch {
	case err != nil && from == fromKubeVIP && bytes.Contains(text, []byte("metallb.io/v1")):
		return fmt.Errorf("%w; give --%s=%s for objects of MetalLB", err, fromFlag, fromMetalLB)
	case err != nil:
		return err
	}
	for _, note := range notes {
		fmt.Fprintf(cmd.ErrOrStderr(), "note: %s\n", printable.Lines(note))
	}
	if from == fromKubeVIP {
		printImageNote(cmd, cfg.Image)
	}
	_, err = cmd.OutOrStdout().Write(out)
	return err
}

// translated returns the notes of a translation as lines.
func translated[N fmt.Stringer](out []byte, notes []N, err error) ([]byte, []string, error) {
	var lines []string
	for _, note := range notes {
		lines = append(lines, note.String())
	}
	return out, lines, err
}

// readManifest reads a file, or stdin for "-". name is for messages.
func readManifest(path string, stdin io.Reader) (name string, text []byte, err error) {
	name, text, err = readInput(path, stdin, maxManifest+1)
	if err != nil {
		return name, nil, usageError(fmt.Sprintf("read manifest: %v", err))
	}
	if len(text) > maxManifest {
		return name, nil, usageError(fmt.Sprintf(
			"%s: is too large for a manifest: it has more than %d bytes", name, maxManifest))
	}
	return name, text, nil
}
