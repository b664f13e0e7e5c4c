package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubevip/migrate"
	"github.com/kvip/kvip/pkg/printable"
)

// newMigrate returns `kvip migrate`.
func newMigrate() *cobra.Command {
	cfg := config.Config{Image: defaultImage()}
	cmd := &cobra.Command{
		Use:   "migrate FILE",
		Short: "Print kvip's manifest for one of kube-vip's",
		Long: `Print kvip's manifest for one of kube-vip's: for a static pod a static pod, for a DaemonSet a DaemonSet
on the same nodes with the rights that it needs. FILE may hold other documents too, and - is stdin.
Nothing is applied and no cluster is asked.

On stderr is named each setting that has no counterpart, with what happens instead, and each document
that is left out. Refused with exit code 2 is a setting without which kube-vip would do something else
altogether, such as BGP alone, and a value that only a cluster knows.`,
		Example: `  kvip migrate /etc/kubernetes/manifests/kube-vip.yaml > kvip.yaml
  kubectl -n kube-system get daemonset kube-vip-ds -o yaml | kvip migrate - > kvip.yaml`,
		Args: oneArg("a file with kube-vip's manifest, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cfg.Validate(config.Image); err != nil {
				return err
			}
			text, name, err := readFile(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			out, notes, err := migrate.Migrate(name, text, cfg.Image)
			var refused *migrate.InputError
			if errors.As(err, &refused) {
				return usageError(refused.Error())
			}
			if err != nil {
				return err
			}
			for _, note := range notes {
				fmt.Fprintf(cmd.ErrOrStderr(), "note: %s\n", printable.Lines(note.String()))
			}
			noteImage(cmd, cfg.Image)
			_, err = cmd.OutOrStdout().Write(out)
			return err
		},
	}
	cmd.ValidArgsFunction = completeFile
	cfg.AddFlags(cmd.Flags(), config.Image)
	return cmd
}

// maxManifest bounds the file: what a cluster stores of one object is less.
const maxManifest = 4 << 20

// readFile reads a file, or stdin, and returns its name for messages.
func readFile(path string, stdin io.Reader) (text []byte, name string, err error) {
	name, from := path, stdin
	if path == stream {
		name = "stdin"
	} else {
		file, err := os.Open(path)
		if err != nil {
			return nil, path, fmt.Errorf("read manifest: %w", err)
		}
		defer file.Close()
		from = file
	}
	text, err = io.ReadAll(io.LimitReader(from, maxManifest+1))
	if err != nil {
		return nil, name, fmt.Errorf("read manifest: %w", err)
	}
	if len(text) > maxManifest {
		return nil, name, usageError(fmt.Sprintf("%s: is too large for a manifest: it has more than %d bytes", name, maxManifest))
	}
	return text, name, nil
}
