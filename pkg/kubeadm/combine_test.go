package kubeadm

import (
	"bytes"
	"strings"
	"testing"
)

// The parts from which TestEveryCombination makes files.
var (
	endpointForms = []string{
		"",
		"controlPlaneEndpoint: ''\n",
		"controlPlaneEndpoint: \"\" # c\n",
		"controlPlaneEndpoint:\n",
		"controlPlaneEndpoint: ~\n",
		"controlPlaneEndpoint: null # c\n",
		"controlPlaneEndpoint: '192.0.2.10:6443'\n",
		"# c\n\"controlPlaneEndpoint\" :   \"192.0.2.10\"\n",
	}
	serverForms = []string{
		"",
		"apiServer:\n",
		"apiServer: {}\n",
		"apiServer: { }\n",
		"apiServer: ~\n",
		"apiServer: # c\n",
		"apiServer:\n  certSANs:\n",
		"apiServer:\n  certSANs: []\n",
		"apiServer:\n  certSANs: [ ] # c\n",
		"apiServer:\n  certSANs: null\n",
		"apiServer: {certSANs: [a, b]}\n",
		"apiServer: {extraArgs: [], certSANs: [ 'a' , \"b\" ]}\n",
		"apiServer:\n  certSANs:\n  - a\n  - b\n",
		"apiServer:\n   certSANs:\n\n   # c\n      - a # d\n",
		"apiServer:\n  extraArgs:\n  - name: a\n    value: |\n      certSANs:\n      - x\n  certSANs: " +
			"&s\n  - 'a\n    b'\n",
		"apiServer:\n  certSANs: [192.0.2.10]\n",
		"apiServer:\n  # c\n\n  extraVolumes: []\n",
		"apiServer: {\n  # c\n  certSANs: [\n    a,\n  ],\n}\n",
		"\"apiServer\":\n  \"certSANs\":\n    - \"2001:DB8::10\"\n    - ä\n",
		"apiServer:\n  certSANs: [\"{\", '}', '[', \"]\"]\n",
		"apiServer:\n  certSANs:\n  -\n    a\n",
		"apiServer: &a {certSANs: &b []}\n",
	}
	restForms = []string{
		"",
		"clusterName: a",
		"networking: {podSubnet: 10.1.0.0/16}\nscheduler: &x\n  extraArgs: []\ncontrollerManager: " +
			"*x\n# end\n",
		"imageRepository: |-\n  apiServer\n---\nkind: KubeletConfiguration\napiVersion: " +
			"kubelet.config.k8s.io/v1beta1\ncontrolPlaneEndpoint: ''\n",
		"...\n--- # c\n" + initHead + "localAPIEndpoint:\n",
	}
	fileForms = []func(string) string{
		func(s string) string { return s },
		func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
		func(s string) string { return "---\n# c\n" + s },
		func(s string) string {
			return "kind: KubeProxyConfiguration\napiVersion: kubeproxy.config.k8s.io/v1alpha1\n---\n" + s
		},
	}
)

// TestEveryCombination edits files made of all parts, in a form and an order that take turns: only
// bytes are added (but for an empty text or null that gets a value), other values and documents
// stay, and a second run changes nothing. What cannot be edited is refused, and none of these is.
func TestEveryCombination(t *testing.T) {
	n := 0
	for _, e := range endpointForms {
		for _, s := range serverForms {
			for _, rest := range restForms {
				parts := [2]string{e, s}
				text := parts[n/len(fileForms)%2] + parts[1-n/len(fileForms)%2] + rest
				combination(t, fileForms[n%len(fileForms)](clusterHead+text))
				n++
			}
		}
	}
	t.Logf("%d files", n)
}

func combination(t *testing.T, text string) {
	t.Helper()
	r := Request{VIPs: vips("192.0.2.10,2001:db8::10")}
	before := parse(t, text)
	plan, err := before.PlanInit(r)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	checkEdit(t, before, plan.Data, clusterKind)
	after := mustParse(t, plan.Data)
	if d := after.document(clusterKind); d.fields.ControlPlaneEndpoint == "" ||
		len(missing(r.VIPs, d.fields.APIServer.CertSANs)) > 0 {
		t.Fatalf("not set in\n%s", plan.Data)
	}
	if again, err := after.PlanInit(r); err != nil || !bytes.Equal(again.Data, plan.Data) {
		t.Fatalf("a second init: %v\n%s\nbecame\n%s", err, plan.Data, again.Data)
	}
	kept := text
	for _, token := range []string{"''", `""`, "~", "null"} {
		kept = strings.ReplaceAll(kept, token, "")
	}
	if !isSubsequence(kept, string(plan.Data)) {
		t.Fatalf("bytes of\n%s\nare missing in\n%s", text, plan.Data)
	}
}

// isSubsequence reports whether all without some bytes is part.
func isSubsequence(part, all string) bool {
	for i := range len(all) {
		if part != "" && part[0] == all[i] {
			part = part[1:]
		}
	}
	return part == ""
}
