package kubeadm

import (
	"strings"
	"testing"

	"github.com/aymanbagabas/go-udiff"
)

// changes returns the added and removed lines of a difference, without its heads.
func changes(before, after string) string {
	var all strings.Builder
	for line := range strings.Lines(udiff.Unified("a", "b", before, after)) {
		if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "@@") &&
			!strings.HasPrefix(line, "---") &&
			!strings.HasPrefix(line, "+++") {
			all.WriteString(line)
		}
	}
	return all.String()
}

// TestFiveDocumentsChangeInTheIntendedLinesOnly: comments, order, spaces, flow style, numbers of
// other kinds and the missing last newline stay.
func TestFiveDocumentsChangeInTheIntendedLinesOnly(t *testing.T) {
	before := readFile(t, "testdata/five.yaml")
	r := Request{VIPs: vips("192.0.2.10,2001:db8::10")}
	after := initText(t, before, r)
	if got, want := changes(before, after),
		"+controlPlaneEndpoint: 192.0.2.10:6443\n+  - 192.0.2.10\n+  - \"2001:db8::10\"\n"; got != want {
		t.Errorf("init changed\n%s\nwant\n%s", got, want)
	}
	plan, err := parse(t, after).PlanJoin(r)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := changes(after, string(plan.Data)),
		"+    apiServerEndpoint: 192.0.2.10:6443\n"; got != want {
		t.Errorf("join changed\n%s\nwant\n%s", got, want)
	}
	if again := initText(t, string(plan.Data), r); again != string(plan.Data) {
		t.Error("a second init changed something")
	}
	crlf := func(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }
	if initText(t, crlf(before), r) != crlf(after) {
		t.Error("with CRLF line ends, the edit is not the same one")
	}
}

// TestWaysToWriteIt has the two fields in every form in which people and programs write them.
func TestWaysToWriteIt(t *testing.T) {
	const h, endpoint = clusterHead, "controlPlaneEndpoint: 192.0.2.10:6443\n"
	for _, row := range []struct{ name, before, after string }{
		{"nothing there", h, h + endpoint + "apiServer:\n  certSANs:\n    - 192.0.2.10\n"},
		{"no last newline", h + "clusterName: a",
			h + endpoint + "apiServer:\n  certSANs:\n    - 192.0.2.10\nclusterName: a"},
		{"last line is the list's key", h + "controlPlaneEndpoint: 192.0.2.10\napiServer:\n  certSANs:",
			h + "controlPlaneEndpoint: 192.0.2.10\napiServer:\n  certSANs:\n    - 192.0.2.10"},
		{"complete", h + endpoint + "apiServer: {certSANs: ['192.0.2.10']}\n",
			h + endpoint + "apiServer: {certSANs: ['192.0.2.10']}\n"},
		{"empty texts", h + "controlPlaneEndpoint: \"\" # here\napiServer: {certSANs: []}\n",
			h + "controlPlaneEndpoint: 192.0.2.10:6443 # here\napiServer: {certSANs: [192.0.2.10]}\n"},
		{"single quotes, null", h + "controlPlaneEndpoint: ''\napiServer: {certSANs: ~}\n",
			h + endpoint + "apiServer: {certSANs: [192.0.2.10]}\n"},
		{"no values", h + "controlPlaneEndpoint: # which?\napiServer: # later\nclusterName: a\n",
			h + "controlPlaneEndpoint: 192.0.2.10:6443 # which?\napiServer: # later\n  certSANs:\n" +
				"    - 192.0.2.10\nclusterName: a\n"},
		{"written nulls", h + "controlPlaneEndpoint: null\napiServer: ~\n",
			h + endpoint + "apiServer: {certSANs: [192.0.2.10]}\n"},
		{"empty mapping", h + "apiServer: {}\n", h + endpoint + "apiServer: {certSANs: [192.0.2.10]}\n"},
		{"flow list", h + "apiServer:\n  certSANs: [ a.example, 'ä' ] # names\n",
			h + endpoint + "apiServer:\n  certSANs: [ 192.0.2.10, a.example, 'ä' ] # names\n"},
		{"flow list on lines", h + "apiServer:\n  certSANs: [\n    # first\n    a.example,\n  ]\n",
			h + endpoint + "apiServer:\n  certSANs: [\n    # first\n    192.0.2.10, a.example,\n  ]\n"},
		{"flow mapping", h + "apiServer: {extraArgs: []}\n",
			h + endpoint + "apiServer: {certSANs: [192.0.2.10], extraArgs: []}\n"},
		{"flow without value", h + "apiServer: {certSANs: , extraArgs: []}\n",
			h + endpoint + "apiServer: {certSANs: [192.0.2.10] , extraArgs: []}\n"},
		{"list below its key", h + "apiServer:\n  certSANs:\n  - a\n",
			h + endpoint + "apiServer:\n  certSANs:\n  - 192.0.2.10\n  - a\n"},
		{"list further in", h + "apiServer:\n    certSANs:\n        -   a\n",
			h + endpoint + "apiServer:\n    certSANs:\n        - 192.0.2.10\n        -   a\n"},
		{"item on lines", h + "apiServer:\n  certSANs:\n  - >-\n    a.example\n",
			h + endpoint + "apiServer:\n  certSANs:\n  - 192.0.2.10\n  - >-\n    a.example\n"},
		{"anchored list", h + "apiServer:\n  certSANs: &names\n  - &one a\n",
			h + endpoint + "apiServer:\n  certSANs: &names\n  - 192.0.2.10\n  - &one a\n"},
		{"anchored mapping", h + "apiServer: &server\n  extraArgs: []\n",
			h + endpoint + "apiServer: &server\n  certSANs:\n    - 192.0.2.10\n  extraArgs: []\n"},
		{"anchors elsewhere",
			h + "networking: &n {podSubnet: &p 10.1.0.0/16}\nscheduler: &s\n  extraArgs: &e []\n" +
				"controllerManager: *s\n",
			h + endpoint + "apiServer:\n  certSANs:\n    - 192.0.2.10\n" +
				"networking: &n {podSubnet: &p 10.1.0.0/16}\nscheduler: &s\n  extraArgs: &e []\n" +
				"controllerManager: *s\n"},
		{"comment before a key",
			h + "\n# about the server\napiServer:\n  # about args\n  extraArgs: []\n",
			h + endpoint + "\n# about the server\napiServer:\n  certSANs:\n    - 192.0.2.10\n" +
				"  # about args\n  extraArgs: []\n"},
		{"quoted keys",
			"\"apiVersion\": 'kubeadm.k8s.io/v1beta3'\n'kind': \"ClusterConfiguration\"\n'apiServer':\n",
			"\"apiVersion\": 'kubeadm.k8s.io/v1beta3'\n'kind': \"ClusterConfiguration\"\n" +
				"controlPlaneEndpoint: 192.0.2.10:6443\n'apiServer':\n  certSANs:\n    - 192.0.2.10\n"},
		{"head at the end",
			"clusterName: a\nkind: ClusterConfiguration\n# v\napiVersion: kubeadm.k8s.io/v1beta4 # 4",
			"clusterName: a\nkind: ClusterConfiguration\n# v\napiVersion: kubeadm.k8s.io/v1beta4 # 4\n" +
				"controlPlaneEndpoint: 192.0.2.10:6443\napiServer:\n  certSANs:\n    - 192.0.2.10"},
		{"all indented", "  apiVersion: kubeadm.k8s.io/v1beta4\n  kind: ClusterConfiguration\n",
			"  apiVersion: kubeadm.k8s.io/v1beta4\n  kind: ClusterConfiguration\n" +
				"  controlPlaneEndpoint: 192.0.2.10:6443\n  apiServer:\n    certSANs:\n      - 192.0.2.10\n"},
		{"flow document", "{kind: ClusterConfiguration, apiVersion: kubeadm.k8s.io/v1beta4}\n",
			"{controlPlaneEndpoint: 192.0.2.10:6443, apiServer: {certSANs: [192.0.2.10]}, " +
				"kind: ClusterConfiguration, apiVersion: kubeadm.k8s.io/v1beta4}\n"},
		{"JSON stays JSON",
			"{\n  \"kind\": \"ClusterConfiguration\", \"apiVersion\": \"kubeadm.k8s.io/v1beta4\", " +
				"\"apiServer\": {\"certSANs\": [\"a\"]}}",
			"{\n  \"controlPlaneEndpoint\": \"192.0.2.10:6443\", \"kind\": \"ClusterConfiguration\", " +
				"\"apiVersion\": \"kubeadm.k8s.io/v1beta4\", " +
				"\"apiServer\": {\"certSANs\": [\"192.0.2.10\", \"a\"]}}"},
		{"byte order mark",
			"\ufeff{kind: ClusterConfiguration, apiVersion: kubeadm.k8s.io/v1beta4, " +
				"controlPlaneEndpoint: 192.0.2.10}",
			"\ufeff{apiServer: {certSANs: [192.0.2.10]}, kind: ClusterConfiguration, " +
				"apiVersion: kubeadm.k8s.io/v1beta4, controlPlaneEndpoint: 192.0.2.10}"},
		{"separators",
			"---\n" + h + "...\n--- # next\n" + initHead + "---\n---\nkind: KubeletConfiguration\n" +
				"apiVersion: kubelet.config.k8s.io/v1beta1\n---\n",
			"---\n" + h + endpoint + "apiServer:\n  certSANs:\n    - 192.0.2.10\n...\n--- # next\n" +
				initHead + "---\n---\nkind: KubeletConfiguration\n" +
				"apiVersion: kubelet.config.k8s.io/v1beta1\n---\n"},
		{"added document", "kind: InitConfiguration\napiVersion: kubeadm.k8s.io/v1beta3",
			"kind: InitConfiguration\napiVersion: kubeadm.k8s.io/v1beta3\n---\n" +
				"apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\n" +
				"controlPlaneEndpoint: 192.0.2.10:6443\napiServer:\n  certSANs:\n    - 192.0.2.10\n"},
		{"other line breaks in comments", h + "# a\u2028# b\u0085# c\napiServer:\n  certSANs:\n  - a\n",
			h + endpoint + "# a\u2028# b\u0085# c\napiServer:\n  certSANs:\n  - 192.0.2.10\n  - a\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := Request{VIPs: vips("192.0.2.10")}
			got := initText(t, row.before, r)
			if got != row.after {
				t.Errorf("got\n%s\nwant\n%s", got, row.after)
			}
			if again := initText(t, got, r); again != got {
				t.Errorf("a second run made it\n%s", again)
			}
		})
	}
}

// TestWhatCannotBeEditedIsRefused: where a change would reach further than it should.
func TestWhatCannotBeEditedIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"alias":           clusterHead + "scheduler: &s {extraArgs: []}\napiServer: *s\n",
		"anchor used":     clusterHead + "apiServer: &s\n  extraArgs: []\nscheduler: *s\n",
		"merged list":     clusterHead + "apiServer:\n  <<: {certSANs: [a]}\n  extraArgs: []\n",
		"anchored nil":    clusterHead + "controlPlaneEndpoint: &e\nclusterName: a\n",
		"tagged text":     clusterHead + "controlPlaneEndpoint: !!str \"\"\n",
		"complex key":     clusterHead + "? apiServer\n: extraArgs: []\n  timeoutForControlPlane: 1s\n",
		"flow bare key":   clusterHead + "apiServer: {certSANs}\n",
		"head in a block": "apiVersion: kubeadm.k8s.io/v1beta4\nkind: >-\n  ClusterConfiguration\n",
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Parse("kubeadm.yaml", []byte(text))
			if err == nil {
				_, err = f.PlanInit(Request{VIPs: vips("192.0.2.10")})
			}
			if err == nil || !strings.Contains(err.Error(), "kubeadm.yaml, document 1") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestMinimal(t *testing.T) {
	for _, row := range []struct {
		vips, want string
		port       int
	}{
		{"192.0.2.10", clusterHead +
			"controlPlaneEndpoint: 192.0.2.10:6443\napiServer:\n  certSANs:\n    - 192.0.2.10\n", 0},
		{"2001:db8::10,192.0.2.10", clusterHead + "controlPlaneEndpoint: " +
			"\"[2001:db8::10]:8443\"\napiServer:\n  certSANs:\n    - \"2001:db8::10\"\n    - 192.0.2.10\n" +
			"---\n" + initHead + "localAPIEndpoint:\n  bindPort: 8443\n", 8443},
	} {
		r := Request{VIPs: vips(row.vips), Port: row.port}
		got, err := MinimalConfig(r)
		if err != nil || string(got) != row.want {
			t.Errorf("%s: got %v\n%s", row.vips, err, got)
		}
		if again := initText(t, string(got), r); again != row.want {
			t.Errorf("%s: init made of it\n%s", row.vips, again)
		}
	}
	if _, err := MinimalConfig(Request{}); err == nil {
		t.Error("made a configuration without a VIP")
	}
}
