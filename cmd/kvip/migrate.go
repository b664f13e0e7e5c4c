package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubevip/migrate"
	"github.com/kvip/kvip/pkg/printable"
)

// maxManifest limits the size of the file: an object in a cluster is smaller.
const maxManifest = 4 << 20

// newMigrate returns `kvip migrate`.
func newMigrate() *cobra.Command {
	cfg := config.Config{Image: defaultImage()}
	cmd := &cobra.Command{
		Use:   "migrate FILE",
		Short: "Translate a manifest of kube-vip into one of kvip",
		Long: `
Translate a manifest of kube-vip into one of kvip: a static pod into a static pod, a DaemonSet into
a DaemonSet on the same nodes with its RBAC. FILE may contain other documents too, and - is stdin.
The command needs no cluster and applies nothing.

Notes on stderr name each setting that has no counterpart, with what happens instead, and each
document that is left out. The exit code is 2 for a setting whose loss would change the purpose of
the manifest, such as BGP without ARP, and for a value that only a cluster knows.`,
		Example: `  kvip migrate /etc/kubernetes/manifests/kube-vip.yaml > kvip.yaml
  kubectl -n kube-system get daemonset kube-vip-ds -o yaml | kvip migrate - > kvip.yaml`,
		Args: oneArg("a file with a manifest of kube-vip, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runMigrateCommand(cmd, cfg, args[0])
		},
	}
	cmd.ValidArgsFunction = completeFile
	cfg.AddFlags(cmd.Flags(), config.Image)
	return cmd
}

func runMigrateCommand(cmd *cobra.Command, cfg config.Config, path string) error {
	if err := cfg.Validate(config.Image); err != nil {
		return err
	}
	name, text, err := readManifest(path, cmd.InOrStdin())
	if err != nil {
		return err
	}
	out, notes, err := migrate.Migrate(name, text, cfg.Image)
	if err != nil {
		return err
	}
	for _, note := range notes {
		fmt.Fprintf(cmd.ErrOrStderr(), "note: %s\n", printable.Lines(note.String()))
	}
	printImageNote(cmd, cfg.Image)
	_, err = cmd.OutOrStdout().Write(out)
	return err
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
