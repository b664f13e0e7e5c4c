package main

import (
	"bytes"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kvip/kvip/test/fakeapi"
)

// completed returns the completions of the last word, as a shell receives them.
func completed(t *testing.T,
	words ...string) (flagCompletions []string, directive cobra.ShellCompDirective) {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(append([]string{cobra.ShellCompNoDescRequestCmd}, words...), &out,
		&errs); code != exitOK {
		t.Fatalf("%q: exit code %d: %s", words, code, &errs)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	last, ok := strings.CutPrefix(lines[len(lines)-1], ":")
	number, err := strconv.Atoi(last)
	if !ok || err != nil {
		t.Fatalf("%q: no directive in %q", words, &out)
	}
	return lines[:len(lines)-1], cobra.ShellCompDirective(number)
}

// fileFlags take files or directories.
var fileFlags = map[string]cobra.ShellCompDirective{
	"kubeconfig": cobra.ShellCompDirectiveDefault, "k8sConfigPath": cobra.ShellCompDirectiveDefault,
	"config":         cobra.ShellCompDirectiveFilterFileExt,
	"kubeadm-config": cobra.ShellCompDirectiveFilterFileExt,
	"manifest-dir":   cobra.ShellCompDirectiveFilterDirs,
	"state-dir":      cobra.ShellCompDirectiveFilterDirs,
}

// TestNoFilesWhereNoFileIsMeant completes each flag and the argument of each command.
func TestNoFilesWhereNoFileIsMeant(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	root, _ := newRoot()
	for _, cmd := range commands(root) {
		words := strings.Fields(cmd.CommandPath())[1:]
		switch _, directive := completed(t, append(slices.Clone(words), "")...); {
		case cmd.Name() == "migrate" && directive == cobra.ShellCompDirectiveFilterFileExt:
		case directive != cobra.ShellCompDirectiveNoFileComp:
			t.Errorf("%s: directive %d", cmd.CommandPath(), directive)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.NoOptDefVal != "" {
				return
			}
			want, file := fileFlags[f.Name]
			switch {
			case cmd.Parent() != nil && cmd.Parent().Name() == "kubeadm" && f.Name == "output":
				want = cobra.ShellCompDirectiveFilterFileExt
			case !file:
				want = cobra.ShellCompDirectiveNoFileComp
			}
			if _, got := completed(t, append(slices.Clone(words), "--"+f.Name, "")...); got != want {
				t.Errorf("%s --%s: directive %d, want %d", cmd.CommandPath(), f.Name, got, want)
			}
		})
	}
	for _, words := range []string{"no-such-command x", "migrate a.yaml x", "status x",
		"completion bash x"} {
		if flagCompletions, directive := completed(t,
			strings.Fields(words)...); directive != cobra.ShellCompDirectiveNoFileComp ||
			len(flagCompletions) > 0 {
			t.Errorf("%s: directive %d, %q", words, directive, flagCompletions)
		}
	}
}

func TestCompletionKnowsValues(t *testing.T) {
	links := []string{}
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if l.Flags&net.FlagLoopback == 0 {
			links = append(links, l.Name)
		}
	}
	yaml := []string{"yaml", "yml", "json", "conf"}
	for words, want := range map[string][]string{
		"status -o":                               {"text", "json"},
		"status service --output":                 {"text", "json"},
		"version -o":                              {"text", "json"},
		"manager --log-format":                    {"text", "json"},
		"manager -v":                              {"0", "1"},
		"manager --interface":                     links,
		"manifest pod --interface":                links,
		"manifest daemonset --services-interface": links,
		"manager --services-fallback":             append([]string{"default-route"}, links...),
		"kubeadm init --config":                   yaml,
		"kubeadm init --output":                   yaml,
		"manifest pod --kubeadm-config":           yaml,
		"migrate":                                 yaml,
		"completion":                              shells,
		"manager --vip":                           {},
		"manager --port":                          {},
	} {
		if got, _ := completed(t, append(strings.Fields(words), "")...); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", words, got, want)
		}
	}
}

func TestCompletionOfServices(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	reach, e := shop(t)
	e.PutService("shop/$(reboot)")
	for typed, want := range map[string][]string{
		"":                     {"web", "shop/web"},
		"w":                    {"web"},
		"s":                    {"shop/web"},
		"default/":             {"default/web"},
		"svc/":                 {"svc/web", "svc/shop/web"},
		"svc/s":                {"svc/shop/web"},
		"services/w":           {"services/web"},
		"x":                    {},
		"-n shop ":             {"web"},
		"-n shop shop/":        {"shop/web"},
		"-n none ":             {},
		"web ":                 {},
		"--port 1 ":            {},
		"--port 70000 ":        {},
		"--lease-namespace A ": {},
	} {
		words := append([]string{"status", "service"}, reach...)
		got, directive := completed(t, append(words, strings.Split(typed, " ")...)...)
		if !slices.Equal(got, want) || directive != cobra.ShellCompDirectiveNoFileComp {
			t.Errorf("%q: %q with directive %d, want %q", typed, got, directive, want)
		}
	}
	// Without a usable answer there are no completions, and the command ends in time.
	for _, mode := range []fakeapi.Mode{fakeapi.Forbidden, fakeapi.Unauthorized, fakeapi.Hang} {
		e.Server.SetMode(mode)
		args := append(append([]string{"status", "service"}, reach...), "")
		if got, _ := completed(t, args...); len(got) > 0 {
			t.Errorf("mode %d: %q", mode, got)
		}
	}
	if got, _ := completed(t, "status", "service", "--kubeconfig", "/none", ""); len(got) > 0 {
		t.Errorf("without credentials: %q", got)
	}
}
