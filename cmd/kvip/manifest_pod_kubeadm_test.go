package main

import (
	"os"
	"strings"
	"testing"
)

func TestManifestPodFromKubeadm(t *testing.T) {
	name := clusterText + "controlPlaneEndpoint: vip.example:6443\n"
	full := clusterText + "controlPlaneEndpoint: 192.0.2.10:8443\nimageRepository: " +
		"registry.example/k8s/\n---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: " +
		"InitConfiguration\nlocalAPIEndpoint: {bindPort: 8443}\n"
	d := newDesk(
		t,
		map[string]string{
			"full.yaml":    full,
			"name.yaml":    name,
			"none.yaml":    clusterText,
			"bad.yaml":     "a: [",
			"foreign.yaml": "kind: A\napiVersion: b/c\n",
			"bind.yaml": clusterText +
				"apiServer: {extraArgs: [{name: bind-address, value: 192.0.2.11}]}\n",
			"join.yaml":  joinText + "    apiServerEndpoint: '[2001:db8::10]:6443'\n",
			"ports.yaml": clusterText + "controlPlaneEndpoint: 192.0.2.10:443\n",
		},
	)
	for _, row := range []struct{ line, same string }{
		{"full.yaml", "--vip 192.0.2.10 --port 8443 --image registry.example/k8s/kvip:dev"},
		{"full.yaml --image a/b:c --vip 192.0.2.10,2001:db8::10 --port 8443",
			"--vip 192.0.2.10,2001:db8::10 --port 8443 --image a/b:c"},
		{"full.yaml --interface eth0",
			"--vip 192.0.2.10 --port 8443 --image registry.example/k8s/kvip:dev --interface eth0"},
		{"name.yaml --vip 192.0.2.10", "--vip 192.0.2.10"},
		{"none.yaml --vip 192.0.2.10", "--vip 192.0.2.10"},
		{"join.yaml", "--vip 2001:db8::10"},
	} {
		got, want := d.run("manifest pod --kubeadm-config "+row.line), d.run("manifest pod "+row.same)
		expect(t, got, exitOK, "kind: Pod")
		if got.stdout != want.stdout {
			t.Errorf("%s gave\n%s\nnot the manifest of %s", row.line, got.stdout, row.same)
		}
	}
	for _, row := range []struct{ line, want string }{
		{"full.yaml --vip 192.0.2.11",
			`full.yaml: --vip: "192.0.2.11" is not the value of the configuration, which is 192.0.2.10`},
		{"full.yaml --vip 192.0.2.10 --port 6443",
			`full.yaml: --port: "6443" is not the value of the configuration, which is 8443`},
		{"none.yaml --vip 192.0.2.10 --port 8443", "(FlagMismatch)"},
		{"name.yaml", "(NoEndpoint)"},
		{"none.yaml", "(NoEndpoint)"},
		{"foreign.yaml --vip 192.0.2.10",
			"foreign.yaml, document 1, line 2: apiVersion: \"b/c\" is not an API version of kubeadm"},
		{"bind.yaml --vip 192.0.2.10", "(BindAddressMismatch)"},
		{"ports.yaml", "(PortMismatch)"},
		{"bad.yaml", "bad.yaml, document 1, line 1: is not YAML"},
		{"nosuch.yaml", "--kubeadm-config: open nosuch.yaml"},
		{"-", "stdin: is empty"},
	} {
		got := d.run("manifest pod --kubeadm-config " + row.line)
		if got.code != exitUsage || got.stdout != "" || !strings.Contains(got.stderr, row.want) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", row.line, got.code, got.stdout, got.stderr)
		}
	}
	if got := d.stdin(full, "manifest pod --kubeadm-config -"); !strings.Contains(got.stdout,
		"--vip=192.0.2.10") {
		t.Errorf("from stdin: %+v", got)
	}
}

// TestKubeadmPage runs the commands of docs/kubeadm.md that need no cluster; test/e2e/kubeadm runs
// the others. The kubeadm line below one must be the one that it prints.
func TestKubeadmPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/kubeadm.md")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, block := range strings.Split(string(page), "<!-- run: kvip -->\n```sh\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		d := newDesk(t, map[string]string{"cluster.yaml": clusterText, "join.yaml": joinText})
		var said string
		for line := range strings.Lines(block) {
			line = strings.TrimSpace(line)
			switch {
			case strings.HasPrefix(line, "kubeadm ") && !strings.Contains(said, "\n  "+line+"\n"):
				t.Errorf("the page goes on with %q, and kvip says\n%s", line, said)
			case strings.HasPrefix(line, "kvip "):
				line = strings.TrimPrefix(line, "kvip ")
				if line == "manifest pod --kubeadm-config cluster.yaml" {
					expect(t, d.run("kubeadm init --vip 192.0.2.10 --config cluster.yaml"), exitOK)
				}
				got := d.run(line)
				expect(t, got, exitOK)
				said = got.stdout
				ran++
			}
		}
	}
	if ran < 5 {
		t.Errorf("found only %d commands", ran)
	}
}
