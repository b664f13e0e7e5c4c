package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const kubeVIPPod = "../../pkg/kubevip/migrate/testdata/pod.yaml"

const metalLBObjects = "../../pkg/metallb/testdata/bgp.yaml"

// runMigrate is the command with a text on stdin.
func runMigrate(stdin string, args ...string) (stdout, stderr string, err error) {
	cmd := newMigrate()
	var out, notes bytes.Buffer
	cmd.SetArgs(append([]string{}, args...)) // nil would mean those of the test
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&notes)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err = cmd.Execute()
	return out.String(), notes.String(), err
}

func TestMigrateReadsAFileOrStdin(t *testing.T) {
	text, err := os.ReadFile(kubeVIPPod)
	if err != nil {
		t.Fatal(err)
	}
	fromFile, notes, err := runMigrate("", kubeVIPPod, "--image=registry.example/kvip:1")
	if err != nil || !strings.Contains(fromFile, "image: registry.example/kvip:1") ||
		!strings.Contains(notes, "note: vip_renewdeadline: ") {
		t.Errorf("%v, %q and\n%s", err, notes, fromFile)
	}
	fromStdin, _, err := runMigrate(string(text), "-", "--image=registry.example/kvip:1")
	if err != nil || fromStdin != fromFile {
		t.Errorf("%v and\n%s", err, fromStdin)
	}
	if ofBuild, _, err := runMigrate("", kubeVIPPod); err != nil ||
		!strings.Contains(ofBuild, "image: "+defaultImage()) {
		t.Errorf("%v and\n%s", err, ofBuild)
	}
}

// TestMigrateIsSafeForATerminal: notes name what the manifest says, which may be from a cluster.
func TestMigrateIsSafeForATerminal(t *testing.T) {
	text, err := os.ReadFile(kubeVIPPod)
	if err != nil {
		t.Fatal(err)
	}
	hostile :=
		"apiVersion: v1\nkind: Secret\nmetadata: {name: \"\\e[2J\\u009b2J\", namespace: shop}\n---\n"
	if _, notes, err := runMigrate(hostile+string(text), "-"); err != nil ||
		!strings.Contains(notes, "u009b") ||
		strings.ContainsAny(notes, "\x1b\u009b") {
		t.Errorf("%v, %q", err, notes)
	}
}

// TestMigrateFromMetalLB prints the objects of kvip, and the notes without any password.
func TestMigrateFromMetalLB(t *testing.T) {
	out, notes, err := runMigrate("", metalLBObjects, "--from=metallb")
	if err != nil || !strings.Contains(out, "kind: IPPool") ||
		!strings.Contains(notes, "note: BGPPeer old: spec.password: create the Secret bgp-old") ||
		strings.Contains(out+notes, "s3cret") || strings.Contains(notes, "image") {
		t.Errorf("%v, %q and\n%s", err, notes, out)
	}
}

// TestMigrateHidesPasswordsOfBGP in the notes of kube-vip's manifests.
func TestMigrateHidesPasswordsOfBGP(t *testing.T) {
	out, notes, err := runMigrate("", "../../pkg/kubevip/migrate/testdata/bgp-pod.yaml")
	if err != nil || !strings.Contains(notes, "note: bgp_peers: write the password of 192.0.2.1:1179 "+
		"to /etc/kvip/bgp/192.0.2.1.password") || strings.Contains(out+notes, "s3cret") {
		t.Errorf("%v, %q and\n%s", err, notes, out)
	}
}

func TestMigrateRefusesInTheUsersTerms(t *testing.T) {
	for _, row := range []struct {
		stdin string
		args  []string
		says  string
		usage bool
	}{
		{"", nil, "name a file with a manifest of kube-vip", true},
		{"", []string{"a", "b"}, `"b" is one argument too many`, true},
		{"", []string{"-"}, "stdin: there is no Pod", true},
		{strings.Repeat("# long\n", 1<<20), []string{"-"}, "stdin: is too large for a manifest", true},
		{"text", []string{"-"},
			"stdin, document 1: is not a manifest: it has no apiVersion and kind", true},
		{"- a", []string{"-"},
			"stdin, document 1: is not a manifest: it has no apiVersion and kind", true},
		{"a: [", []string{"-"}, "stdin, document 1: is not a manifest", true},
		{"", []string{filepath.Join(t.TempDir(), "none")}, "read manifest: ", true},
		{"", []string{kubeVIPPod, "--image="}, "--image: ", true},
		{"", []string{kubeVIPPod, "--from=keepalived"}, `--from: "keepalived" is unknown`, true},
		{"", []string{metalLBObjects, "--from=metallb", "--image=a"}, "--image: objects of MetalLB",
			true},
		{"", []string{metalLBObjects}, "give --from=metallb for objects of MetalLB", true},
		{"a: [", []string{"-", "--from=metallb"}, "stdin, document 1: is not YAML", true},
		{"apiVersion: metallb.io/v1beta2\nkind: BGPPeer\nmetadata: {name: a}\nspec: {vrf: red}\n",
			[]string{"-", "--from=metallb"}, "BGPPeer a: spec.vrf: ", true},
	} {
		stdout, _, err := runMigrate(row.stdin, row.args...)
		if err == nil || !strings.Contains(err.Error(), row.says) ||
			isUsageError(err) != row.usage || stdout != "" {
			t.Errorf("%v: got %v and %q", row.args, err, stdout)
		}
	}
}
