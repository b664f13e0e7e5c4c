package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/kvip/kvip/templates"
)

func TestManifestsForServices(t *testing.T) {
	for _, row := range []struct{ args, has, hasNot string }{
		{"daemonset --services", "name: kvip-services\n", "--vip"},
		{"daemonset --services", "--daemonset=kvip-services", "\x00"},
		{"daemonset --services", "port: 2115\n", "port: 2114\n"},
		{"daemonset --services", "--metrics-address=:2116\n", "\x00"},
		{"daemonset --services", "operator: DoesNotExist", "\x00"},
		{"daemonset --services --control-planes", "operator: Exists", "nodeAffinity"},
		{"daemonset --services --metrics-address=:1 --health-address=127.0.0.1:2",
			"--metrics-address=:1\n", "211"},
		{"daemonset --services --metrics-address=", "--metrics-address=\n", "2116"},
		{"daemonset --services --vip 192.0.2.10", "name: kvip\n", "kvip-services"},
		{"daemonset --services --vip 192.0.2.10", "port: 2114\n", "nodeAffinity"},
		{"daemonset --services --service-class=a.example/b --service-class-only",
			"--service-class=a.example/b\n", "\x00"},
		{"daemonset --vip 192.0.2.10", "operator: Exists", "--daemonset"},
		{"rbac --services", "name: kvip-services\n", "kvip-endpoints"},
		{"rbac --services --vip 192.0.2.10", "name: kvip-with-services\n", "kvip-services"},
		{"rbac --vip 192.0.2.10", "name: kvip-endpoints\n", "services\n"},
		{"pod --services --vip 192.0.2.10", "port: 2113\n", "kvip-services"},
		{"pod --services", "port: 2115\n", "--vip"},
		{"rbac --services", "bgppeers\n", "secrets\n"},
		{"rbac --services --bgp-secret b,a --bgp-secret=a",
			"  resourceNames:\n  - a\n  - b\n  resources:\n  - secrets\n", "\x00"},
		{"rbac --services --bgp-secret a", "name: kvip-services-bgp-secrets\n", "\x00"},
		{"rbac --services --vip 192.0.2.10 --bgp-secret a", "name: kvip-with-services-bgp-secrets\n",
			"kvip-services"},
	} {
		got := kvip(t, append([]string{"manifest"}, strings.Fields(row.args)...)...)
		if got.code != exitOK || !strings.Contains(got.stdout, row.has) ||
			strings.Contains(got.stdout, row.hasNot) {
			t.Errorf("manifest %s: want %q and not %q; exit code %d, %s\n%s", row.args, row.has, row.hasNot,
				got.code, got.stderr, got.stdout)
		}
	}
	for _, args := range []string{"daemonset", "daemonset --services --daemonset=other",
		"pod --services --daemonset=kvip", "daemonset --services --service-class=/",
		"daemonset --control-planes",
		"daemonset --services --workers", "daemonset --vip 192.0.2.10 --control-planes",
		"daemonset --services --vip 192.0.2.10 --workers",
		"daemonset --services --lease-duration=6s", "daemonset --vip 192.0.2.10 --service-class=a/b",
		"pod --vip 192.0.2.10 --services-interface eth1",
		"pod --services --interface eth0", "rbac --vip 192.0.2.10 --kube-vip",
		"rbac --services --lease-name a", "rbac --bgp-secret a", "rbac --services --bgp-secret A",
		"rbac --services --services-name=A"} {
		if got := kvip(t, append([]string{"manifest"},
			strings.Fields(args)...)...); got.code != exitUsage ||
			got.stdout != "" {
			t.Errorf("manifest %s: exit code %d, stdout %q, stderr %q", args, got.code, got.stdout,
				got.stderr)
		}
	}
}

func TestTheDefinitionsArePrintedAsTheyAre(t *testing.T) {
	got := kvip(t, "manifest", "crd")
	documents := strings.Split(got.stdout, "---\n")
	if got.code != exitOK || len(documents) != len(templates.CRDs()) {
		t.Fatalf("exit code %d, stderr %q, %d documents", got.code, got.stderr, len(documents))
	}
	for i, want := range templates.CRDs() {
		if documents[i] != string(want) {
			t.Errorf("document %d is\n%s", i, documents[i])
		}
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	var stderr bytes.Buffer
	if code := run([]string{"manifest", "crd"}, full, &stderr); code != exitFailure ||
		!strings.Contains(stderr.String(), "write definitions: ") {
		t.Errorf("on a full disk: exit code %d, %s", code, &stderr)
	}
}
