package kubeadm

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/config"
)

// TestBadFilesAreRefused: the error names file, document, line and field as far as there are any.
func TestBadFilesAreRefused(t *testing.T) {
	const five = 5 * 1024
	for _, row := range []struct {
		name, text string
		document   int
		line       int
		field      string
		problem    string
	}{
		{"empty", "", 0, 0, "", "is empty"},
		{"blank", " \n\n", 0, 0, "", "is empty"},
		{"binary", "\x7fELF\x00\x00", 0, 0, "", "not text"},
		{"Latin-1", clusterHead + "clusterName: caf\xe9\n", 0, 0, "", "not text"},
		{"1 MiB", clusterHead + strings.Repeat("# "+strings.Repeat("x", five)+"\n", MaxSize/five+1), 0, 0,
			"", "too large"},
		{"comments alone", "# nothing\n", 1, 1, "", "is empty"},
		{"text", "kubeadm\n", 1, 1, "", "mapping"},
		{"list", "- a\n", 1, 1, "", "mapping"},
		{"syntax", clusterHead + "---\napiVersion: x/y\nkind: [\n", 2, 5, "", "is not YAML"},
		{"tab", clusterHead + "apiServer:\n\tcertSANs: []\n", 1, 4, "", "is not YAML"},
		{"two documents in one", clusterHead + "...\n" + initHead, 1, 0, "", "separate"},
		{"comment before the separator", "# licence\n---\n" + clusterHead, 1, 1, "", "remove it"},
		{"empty between", clusterHead + "---\n# nothing\n---\n" + initHead, 2, 4, "", "remove it"},
		{"three separators", clusterHead + "---\n---\n---\n" + initHead, 2, 4, "", "remove it"},
		{"content on the separator", clusterHead + "--- {kind: A}\n", 0, 3, "", "line of its own"},
		{"no kind", "apiVersion: kubeadm.k8s.io/v1beta4\n", 1, 1, "kind", "missing"},
		{"no apiVersion", "kind: ClusterConfiguration\n", 1, 1, "apiVersion", "missing"},
		{"kind is a list", "kind: [a]\napiVersion: b\n", 1, 1, "kind", "missing"},
		{"older version", strings.Replace(clusterHead, "beta4", "beta2", 1), 1, 1, "apiVersion",
			"v1beta3 and kubeadm.k8s.io/v1beta4"},
		{"newer version", clusterHead +
			"---\nkind: InitConfiguration\napiVersion: kubeadm.k8s.io/v1beta5\n", 2, 5, "apiVersion",
			"v1beta3 and kubeadm.k8s.io/v1beta4"},
		{"unknown kind", "apiVersion: kubeadm.k8s.io/v1beta4\nkind: Cluster\n", 1, 2, "kind",
			`"Cluster"`},
		{"ConfigMap around one", "apiVersion: v1\nkind: ConfigMap\ndata: {ClusterConfiguration: " +
			"\"kind: ClusterConfiguration\"}\n", 1, 1, "apiVersion", "\"v1\" is not a group"},
		{"kubeconfig", "apiVersion: v1\nkind: Config\nclusters: []\n", 1, 1, "apiVersion",
			"is not a group"},
		{"Pod beside one", clusterHead + "---\napiVersion: v1\nkind: Pod\n", 2, 4, "apiVersion",
			"is not a group"},
		{"kind's", "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n", 1, 2, "apiVersion",
			"not an API version of kubeadm"},
		{"of another program beside one", clusterHead + "---\napiVersion: b/c\nkind: A\n", 2, 4,
			"apiVersion", "\"b/c\" is not an API version of kubeadm"},
		{"kubeadm's kind in another group", strings.Replace(clusterHead, "kubeadm.k8s.io",
			"kubeadm.example", 1), 1, 1, "apiVersion", "not an API version of kubeadm"},
		{"three parts", strings.Replace(clusterHead, "/v1beta4", "/v1/beta4", 1), 1, 1, "apiVersion",
			"is not a group"},
		{"no version", strings.Replace(clusterHead, "v1beta4", "", 1), 1, 1, "apiVersion",
			"is not a group"},
		{"kubelet's kind of another version", clusterHead +
			"---\napiVersion: kubelet.config.k8s.io/v1alpha1\nkind: KubeletConfiguration\n", 2, 4,
			"apiVersion", "kubelet.config.k8s.io/v1beta1 is"},
		{"another kind of the kubelet's", clusterHead +
			"---\napiVersion: kubelet.config.k8s.io/v1beta1\nkind: CredentialProviderConfig\n", 2, 5,
			"kind", "CredentialProviderConfig"},
		{"number for text of the kubelet's", clusterHead +
			"---\napiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncgroupDriver: " +
			"5\n", 2, 6,
			"cgroupDriver", "number"},
		{"text for a list of kube-proxy's", "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: " +
			"KubeProxyConfiguration\nnodePortAddresses: all\n", 1, 3, "nodePortAddresses", "string"},
		{"twice a kind", clusterHead + "---\n" + clusterHead, 2, 4, "kind", "document 1 already"},
		{"twice a foreign kind",
			"kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\n---\n" + clusterHead +
				"---\nkind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\n", 3, 7, "kind",
			"document 1 already"},
		{"twice a key", clusterHead +
			"apiServer:\n  certSANs: []\n  extraArgs: []\n  certSANs: []\n", 1, 6,
			"apiServer.certSANs", "first in line 4"},
		{"twice a key elsewhere", clusterHead + "---\nkind: KubeletConfiguration\napiVersion: " +
			"kubelet.config.k8s.io/v1beta1\nx: [{y: 1, y: 2}]\n", 2, 6, "x[0].y", "twice"},
		{"key is a list", clusterHead + "? [a]\n: b\n", 1, 3, "", "key that is not text"},
		{"unknown field", clusterHead + "networking:\n  podSubnt: 10.0.0.0/8\n", 1, 4,
			"networking.podSubnt", "unknown to ClusterConfiguration"},
		{"field of a newer version", "apiVersion: kubeadm.k8s.io/v1beta3\nkind: " +
			"ClusterConfiguration\n# c\nencryptionAlgorithm: RSA-2048\n", 1, 4, "encryptionAlgorithm",
			"unknown"},
		{"other case", clusterHead + "controlplaneEndpoint: 192.0.2.10\n", 1, 3, "controlplaneEndpoint",
			"unknown"},
		{"field in a list", clusterHead + "apiServer:\n  extraArgs:\n  - name: a\n    valu: b\n", 1, 6,
			"apiServer.extraArgs[0].valu", "unknown"},
		{"number for text", clusterHead + "networking:\n  podSubnet: 10\n", 1, 4, "networking.podSubnet",
			"number"},
		{"text for a number", initHead + "localAPIEndpoint:\n  bindPort: \"6443\"\n", 1, 4,
			"localAPIEndpoint.bindPort", "string"},
		{"text for a list", clusterHead + "apiServer:\n  certSANs: a\n", 1, 4, "apiServer.certSANs",
			"string"},
		{"map for a list", clusterHead + "apiServer:\n  extraArgs: {a: b}\n", 1, 4,
			"apiServer.extraArgs", "object"},
		{"bad duration", clusterHead + "certificateValidityPeriod: long\n", 1, 3,
			"certificateValidityPeriod", "duration"},
		{"bad duration further in", initHead +
			"dryRun: true\ntimeouts:\n  etcdAPICall: 1m\n  tlsBootstrap: 1\n", 1, 6,
			"timeouts.tlsBootstrap", "type number"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Parse("kubeadm.yaml", []byte(row.text))
			var e *config.InputError
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			if e.File != "kubeadm.yaml" || e.Document != row.document || e.Line != row.line ||
				e.Field != row.field ||
				!strings.Contains(err.Error(), row.problem) {
				t.Errorf("document %d line %d field %q: %v", e.Document, e.Line, e.Field, err)
			}
		})
	}
}

func TestUnknownFieldsOfComponentsAreLeftAlone(t *testing.T) {
	f := parse(
		t,
		clusterHead+"---\napiVersion: kubelet.config.k8s.io/v1beta1\nkind: "+
			"KubeletConfiguration\nnoSuchField: {a: [1, 2]}\n",
	)
	if len(f.docs) != 2 || f.docs[1].kind != "KubeletConfiguration" {
		t.Errorf("got %d documents", len(f.docs))
	}
}

// TestEveryKindOfEveryVersion is known.
func TestEveryKindOfEveryVersion(t *testing.T) {
	for version, all := range kinds {
		for kind := range all {
			text := "apiVersion: " + version + "\nkind: " + kind + "\n"
			if kind == joinKind {
				text += "discovery: {}\n"
			}
			parse(t, text)
		}
	}
}

func TestFilesOfTheOtherCommand(t *testing.T) {
	r := Request{VIPs: vips("192.0.2.10")}
	for name, run := range map[string]func() error{
		"init of a kubelet's": func() error {
			_, err := parse(t,
				"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n").PlanInit(r)
			return named(err, "ClusterConfiguration nor InitConfiguration")
		},
		"init of a ResetConfiguration": func() error {
			_, err := parse(t, strings.Replace(clusterHead, "Cluster", "Reset", 1)).PlanInit(r)
			return named(err, "ClusterConfiguration nor InitConfiguration")
		},
		"settings of a ResetConfiguration": func() error {
			_, _, _, err := parse(t, strings.Replace(clusterHead, "Cluster", "Reset", 1)).Settings()
			return named(err, "JoinConfiguration")
		},
		"init of a JoinConfiguration": func() error {
			_, err := parse(t,
				tokenHead).PlanInit(r)
			return err
		},
		"join without one": func() error {
			_, err := parse(t,
				clusterHead).PlanJoin(r)
			return err
		},
	} {
		if e := (*config.InputError)(nil); !errors.As(run(), &e) ||
			!strings.Contains(e.Error(), "Configuration") {
			t.Errorf("%s: got %v", name, run())
		}
	}
}

// named returns an error only if its text has the words.
func named(err error, words string) error {
	if err != nil && strings.Contains(err.Error(), words) {
		return err
	}
	return fmt.Errorf("got %v, want an error with %q", err, words)
}
