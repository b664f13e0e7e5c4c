package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kvip/kvip/pkg/config"
)

var update = flag.Bool("update", false, "rewrite docs/cli.md")

const cliDoc = "../../docs/cli.md"

// commands returns every command a user can type, parents first.
func commands(from *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{from}
	for _, sub := range from.Commands() {
		if sub.IsAvailableCommand() {
			all = append(all, commands(sub)...)
		}
	}
	return all
}

// TestCommandReference keeps docs/cli.md, which documents every command and flag, equal to the
// help.
func TestCommandReference(t *testing.T) {
	root, _ := newRoot()
	var doc bytes.Buffer
	doc.WriteString("# Commands\n\n" +
		"The help of every command, written by `go test ./cmd/kvip -update`.\n")
	for _, cmd := range commands(root) {
		var help, errs bytes.Buffer
		if code := run(append(strings.Fields(cmd.CommandPath())[1:], "--help"), &help,
			&errs); code != exitOK {
			t.Fatalf("%s --help: code %d, %s", cmd.CommandPath(), code, errs.String())
		}
		fmt.Fprintf(&doc, "\n## %s\n\n```text\n%s```\n", cmd.CommandPath(), help.String())
	}
	if *update {
		if err := os.WriteFile(cliDoc, doc.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(cliDoc)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(doc.Bytes(), want) {
		t.Errorf("%s is not what the commands say; run go test ./cmd/kvip -update", cliDoc)
	}
}

func TestEveryCommandAndFlagIsDocumented(t *testing.T) {
	doc, err := os.ReadFile(cliDoc)
	if err != nil {
		t.Fatal(err)
	}
	root, _ := newRoot()
	for _, cmd := range commands(root) {
		if cmd.Short == "" || cmd.Long == "" || !strings.Contains(cmd.Example, "kvip ") {
			t.Errorf("%s: its help needs a summary, a text and an example to copy", cmd.CommandPath())
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Annotations[kubeVIPAnnotation] != nil {
				return // docs/migrate-from-kube-vip.md has a table of them
			}
			if len(f.Usage) < 15 || !bytes.Contains(doc, []byte("--"+f.Name+" ")) {
				t.Errorf("%s --%s is not explained in its help and %s", cmd.CommandPath(), f.Name, cliDoc)
			}
		})
	}
}

// TestHelpLayout checks the width of every help text, and that flags stand in their sections.
func TestHelpLayout(t *testing.T) {
	root, _ := newRoot()
	for _, cmd := range commands(root) {
		var help bytes.Buffer
		writeHelp(&help, cmd)
		for line := range strings.Lines(help.String()) {
			if line = strings.TrimSuffix(line, "\n"); len(line) > helpWidth || strings.HasSuffix(line, " ") {
				t.Errorf("%s: line of %d characters, or with a space at its end: %q", cmd.CommandPath(),
					len(line), line)
			}
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			_, below, found := strings.Cut(help.String(), "\n"+cmp.Or(config.Section(f), "Flags")+":\n")
			section, _, _ := strings.Cut(below, "\n\n")
			if listed := found && strings.Contains(section, "--"+f.Name+" "); listed == f.Hidden {
				t.Errorf("%s: --%s is in section %q: %t, hidden: %t", cmd.CommandPath(), f.Name,
					config.Section(f), listed, f.Hidden)
			}
		})
	}
}

// TestHelpHasThreeWays compares `kvip help X`, `kvip X --help` and writeHelp.
func TestHelpHasThreeWays(t *testing.T) {
	for _, path := range []string{"manager", "manifest pod", "status service", "kubeadm"} {
		asFlag := kvip(t, append(strings.Fields(path), "--help")...)
		asCommand := kvip(t, append([]string{"help"}, strings.Fields(path)...)...)
		if asFlag.code != exitOK || asFlag != asCommand ||
			!strings.Contains(asFlag.stdout, "\nUsage:\n  kvip "+path) {
			t.Errorf("%s: --help prints\n%s\nand help prints\n%s", path, asFlag.stdout, asCommand.stdout)
		}
	}
}

// TestExamplesCanBeTyped parses each line of every example as the shell would hand it over.
func TestExamplesCanBeTyped(t *testing.T) {
	root, _ := newRoot()
	for _, owner := range commands(root) {
		for line := range strings.Lines(owner.Example) {
			_, typed, found := strings.Cut(line, "kvip ")
			if !found || strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			line, _, _ = strings.Cut(strings.Map(stopAtShell, typed), "\x00")
			fresh, _ := newRoot()
			cmd, rest, err := fresh.Find(strings.Fields(line))
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err == nil {
				err = cmd.ValidateArgs(cmd.Flags().Args())
			}
			if err != nil || !cmd.Runnable() {
				t.Errorf("%s: example %q: %v", owner.CommandPath(), line, err)
			}
		}
	}
}

// stopAtShell marks what ends a command in a shell line.
func stopAtShell(r rune) rune {
	if strings.ContainsRune("|>)\n", r) {
		return 0
	}
	return r
}
