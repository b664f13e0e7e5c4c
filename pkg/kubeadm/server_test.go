package kubeadm

import (
	"errors"
	"strings"
	"testing"
)

func TestPatchesOfTheAPIServer(t *testing.T) {
	plan := Plan{VIPs: vips("192.0.2.10,2001:db8::10"), Port: 6443}
	for _, row := range []struct {
		text   string
		reason Reason // empty: none
		line   int
	}{
		{"- op: add\n  path: /spec/containers/0/command/-\n  value: --bind-address=192.0.2.11\n",
			BindAddressMismatch, 3},
		{`[{"op": "add", "path": "/spec/containers/0/command/-", "value": "--bind-address=127.0.0.1"}]`,
			BindAddressMismatch, 1},
		{"spec:\n  containers:\n  - name: kube-apiserver\n    command: [kube-apiserver, " +
			"'--bind-address=::1']\n", BindAddressMismatch, 4},
		{"- value: --secure-port=8443\n", PortMismatch, 1},
		{"- value: --advertise-address=2001:db8::10\n", VIPIsAdvertised, 1},
		{"- value: --bind-address=0.0.0.0\n- value: --bind-address=::\n- value: --secure-port=6443\n- " +
			"value: --advertise-address=192.0.2.11\n", "", 0},
		{"- value: --tls-min-version=VersionTLS13\n", "", 0},
		{"", "", 0},
	} {
		err := plan.CheckPatch("patches/kube-apiserver0+json.yaml", []byte(row.text))
		var c *Conflict
		if row.reason == "" && err == nil {
			continue
		}
		if !errors.As(err, &c) || c.Reason != row.reason || c.Line != row.line ||
			!strings.Contains(err.Error(), "patches/kube-apiserver0+json.yaml, line") {
			t.Errorf("%q: got %v, want %q in line %d", row.text, err, row.reason, row.line)
		}
	}
	for name, want := range map[string]bool{
		"kube-apiserver.yaml": true, "kube-apiserver1+strategic.yaml": true,
		"kube-apiserver+json.json": true,
		"kube-scheduler.yaml":      false, "kube-apiserver.txt": false, "README": false,
	} {
		if IsServerPatch(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func TestWhoHasPatches(t *testing.T) {
	const patches = "patches: {directory: /etc/patches}\n"
	r := Request{VIPs: vips("192.0.2.10")}
	for name, row := range map[string]struct {
		run  func() (Plan, error)
		want string
	}{
		"init": {func() (Plan, error) { return parse(t, initHead+patches).PlanInit(r) },
			"/etc/patches"},
		"init without": {func() (Plan, error) { return parse(t, clusterHead).PlanInit(r) }, ""},
		"join": {func() (Plan, error) { return parse(t, tokenHead+patches).PlanJoin(r) },
			"/etc/patches"},
		"join, a worker": {func() (Plan, error) {
			return parse(t, strings.Replace(tokenHead, "controlPlane: {}\n", patches, 1)).PlanJoin(r)
		}, ""},
	} {
		if plan, err := row.run(); err != nil || plan.Patches != row.want {
			t.Errorf("%s: %q, %v", name, plan.Patches, err)
		}
	}
}
