package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/kvip/kvip/pkg/printable"
)

// asProgram makes the test binary behave as kvip itself, so that the tests run the real process
// without building a second binary.
const asProgram = "KVIP_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// result is what one run of the program left behind.
type result struct {
	code           int
	stdout, stderr string
}

// kvip runs the program with the arguments, in the network namespace of the calling thread. The
// limit only ends a run that should have refused its arguments and did not.
func kvip(t *testing.T, args ...string) result {
	t.Helper()
	return kvipIn(t, "", "", args...)
}

// kvipIn is kvip in a directory and with a text on stdin.
func kvipIn(t *testing.T, dir, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("run kvip %q: %v", args, err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func TestExitCodesAndStreams(t *testing.T) {
	for _, row := range []struct {
		name   string
		args   string
		code   int
		stdout string // a part of it; empty: nothing at all
		stderr string
	}{
		{"version", "version", exitOK, "kvip dev", ""},
		{"help", "--help", exitOK, "Commands:", ""},
		{"help of a command", "manifest pod --help", exitOK, "Examples:", ""},
		{"completion", "completion bash", exitOK, "bash completion", ""},
		{"pod", "manifest pod --vip 192.0.2.10", exitOK, "kind: Pod",
			"note: no public registry has the image localhost/kvip:dev "},
		{"daemonset", "manifest daemonset --vip 192.0.2.10,2001:db8::10", exitOK,
			"--vip=192.0.2.10,2001:db8::10", "note: no public registry has the image localhost/kvip:dev "},
		{"workers", "manifest daemonset --vip 192.0.2.10 --workers", exitOK, "kind: DaemonSet",
			"choose another one with --image"},
		{"an image of its own",
			"manifest daemonset --vip 192.0.2.10 --image registry.example/kvip:1", exitOK,
			"image: registry.example/kvip:1", ""},
		{"rbac", "manifest rbac --lease-name vip-a", exitOK, "- vip-a", ""},
		{"image of this build", "manifest pod --vip 192.0.2.10", exitOK, "image: localhost/kvip:dev",
			"make image"},
		{"nothing", "", exitUsage, "", "name a command: cleanup, completion"},
		{"half a command", "manifest", exitUsage, "", "name a command: crd, daemonset, pod, rbac"},
		{"half of kubeadm", "kubeadm", exitUsage, "", "name a command: init, join"},
		{"unknown command", "serve", exitUsage, "", `unknown command "serve"`},
		{"unknown manifest", "manifest job", exitUsage, "", `unknown command "job"`},
		{"unknown command with flags", "check --vip 192.0.2.10", exitUsage, "",
			"unknown command \"check\"; the commands are: cleanup, "},
		{"unknown manifest with flags", "manifest job --vip 192.0.2.10", exitUsage, "",
			`unknown command "job"; the commands are: crd, `},
		{"unknown flag", "--vip 192.0.2.10", exitUsage, "", "unknown flag: --vip"},
		{"check", "check", exitUsage, "", "'kvip status' reports problems"},
		{"drain", "drain cp1", exitUsage, "", "'kvip move' moves the address"},
		{"move twice", "move cp1 cp2", exitUsage, "", `"cp2" is an argument too many`},
		{"move without credentials", "move cp1", exitFailure, "", "give --kubeconfig"},
		{"logs", "logs -f", exitUsage, "", "kubectl -n kube-system logs -l app.kubernetes.io/name=kvip"},
		{"log", "log", exitUsage, "", "/var/log/pods/kube-system_kvip-"},
		{"explain", "explain FenceExpired", exitUsage, "", "docs/troubleshooting.md"},
		{"a Service", "service web", exitUsage, "", "'kvip status service NAME'"},
		{"help of all", "logs", exitUsage, "", "Run 'kvip --help'"},
		{"misspelt", "statsu", exitUsage, "", "Did you mean this?\n\tstatus\n"},
		{"misspelt manifest", "manifest rabc", exitUsage, "", "Did you mean this?\n\trbac\n"},
		{"argument of status", "status web", exitUsage, "", "kvip status service NAME"},
		{"argument too many", "version now", exitUsage, "", `"now"`},
		{"unknown shell", "completion tcsh", exitUsage, "", "tcsh"},
		{"unknown output", "status -o xml", exitUsage, "", "--output"},
		{"status of a bad lease", "status --lease-name A", exitUsage, "", "--lease-name"},
		{"cleanup of no address", "cleanup --vip 127.0.0.1", exitUsage, "", "--vip"},
		{"pod with a relative file", "manifest pod --vip 192.0.2.10 --kubeconfig admin.conf", exitUsage,
			"", "--kubeconfig"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := kvip(t, strings.Fields(row.args)...)
			if got.code != row.code {
				t.Errorf("exit code %d, want %d; stderr: %s", got.code, row.code, got.stderr)
			}
			if !strings.Contains(got.stdout, row.stdout) || (row.stdout == "") != (got.stdout == "") {
				t.Errorf("stdout %q, want %q", got.stdout, row.stdout)
			}
			if !strings.Contains(got.stderr, row.stderr) || (row.stderr == "") != (got.stderr == "") {
				t.Errorf("stderr %q, want %q", got.stderr, row.stderr)
			}
		})
	}
}

func TestAFullDiskIsAFailure(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, args := range [][]string{{"manifest", "pod", "--vip", "192.0.2.10"}, {"manifest", "rbac"},
		{"version"},
		{"kubeadm", "join", "--vip", "192.0.2.10", "--dry-run", "--skip-host-checks", "--manifest-dir",
			t.TempDir()}} {
		var stderr bytes.Buffer
		if code := run(args, full, &stderr); code != exitFailure {
			t.Errorf("%q: exit code %d, stderr %s", args, code, &stderr)
		}
	}
}

func TestLogFormatAndVerbosity(t *testing.T) {
	for _, row := range []struct {
		args []string
		want string
		not  string
	}{
		{[]string{"--log-format", "text"}, "msg=shown vip=192.0.2.10", "hidden"},
		{[]string{"--log-format", "json"}, `"msg":"shown","vip":"192.0.2.10"`, "hidden"},
		{[]string{"-v", "1"}, "msg=hidden", "\x00"},
	} {
		cfg, err := parseManager(row.args)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		log := newLogger(cfg, &out)
		log.Info("shown", "vip", "192.0.2.10")
		log.Debug("hidden")
		if text := out.String(); !strings.Contains(text, row.want) || strings.Contains(text, row.not) {
			t.Errorf("%q: got %q", row.args, text)
		}
	}
}

// TestLogIsSafeForATerminal: what an API server, a Lease or a Service says reaches the terminal of
// who reads the log, and must not move its cursor or fill its disk.
func TestLogIsSafeForATerminal(t *testing.T) {
	hostile := "\x1b[2J\u009b2J\x7f\u202e\u2066\U000e0041\r" + strings.Repeat("x", 1<<20)
	for _, format := range []string{"text", "json"} {
		cfg, err := parseManager([]string{"--log-format", format})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		newLogger(cfg,
			&out).Warn("hostile "+hostile, "text", hostile, "reason", errors.New(hostile), "list",
			[]string{hostile})
		line, more, _ := strings.Cut(out.String(), "\n")
		if more != "" || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%s: %.300q", format, &out)
		}
		if out.Len() > 6*printable.MaxLogged || !strings.Contains(line, "hostile") {
			t.Errorf("%s: a line of %d bytes", format, out.Len())
		}
	}
}
