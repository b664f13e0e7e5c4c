package migrate

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubevip"
)

const image = "registry.example/kvip:1"

var update = flag.Bool("update", false,
	"rewrite the golden files; commit them only if you understand the difference")

func sample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestGolden compares the manifest and the notes (S9: each setting without counterpart is named)
// for each sample.
func TestGolden(t *testing.T) {
	for _, name := range []string{"pod", "daemonset", "services", "everything",
		"carried", "bgp-pod", "bgp-nexthops", "bgp-daemonset"} {
		out, notes, err := Migrate(name+".yaml", []byte(sample(t, name+".yaml")), image)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		for _, n := range notes {
			got.WriteString("# " + n.String() + "\n")
		}
		got.Write(workloadOnly(out))
		golden := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want := sample(t, name+".golden"); got.String() != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got.String(), want)
		}
	}
}

// workloadOnly drops rights and CRD, which are pkg/manifest's and compared there: the workload is
// the last document.
func workloadOnly(out []byte) []byte {
	return out[bytes.LastIndex(out, []byte("\n---\n"))+1:]
}

func documents(t *testing.T, out []byte) (kinds []string) {
	t.Helper()
	for document := range bytes.SplitSeq(out, []byte("\n---\n")) {
		var head struct{ Kind string }
		if err := yaml.Unmarshal(document, &head); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, head.Kind)
	}
	return kinds
}

func TestWhatIsBesideTheWorkload(t *testing.T) {
	out, _, err := Migrate("f", []byte(sample(t, "pod.yaml")), image)
	if kinds := documents(t, out); err != nil || !slices.Equal(kinds, []string{"Pod"}) {
		t.Errorf("pod: %v, %v", kinds, err)
	}
	for _, name := range []string{"daemonset.yaml", "services.yaml"} {
		out, _, err := Migrate("f", []byte(sample(t, name)), image)
		kinds := documents(t, out)
		if err != nil || kinds[0] != "CustomResourceDefinition" || !slices.Contains(kinds,
			"ServiceAccount") || kinds[len(kinds)-1] != "DaemonSet" {
			t.Errorf("%s: %v, %v", name, kinds, err)
		}
	}
}

// TestTheArgumentsMeanTheSame compares the arguments of the new manifest with the variables of the
// old one.
func TestTheArgumentsMeanTheSame(t *testing.T) {
	out, _, err := Migrate("f", []byte(sample(t, "pod.yaml")), image)
	if err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict(out, &pod); err != nil {
		t.Fatal(err)
	}
	s, _, err := kubevip.ParseEnvironment([]string{"vip_arp=true", "cp_enable=true",
		"vip_interface=eth0", "address=192.0.2.10"})
	if err != nil {
		t.Fatal(err)
	}
	want := config.StaticPod()
	s.Apply(&want)
	if c := pod.Spec.Containers[0]; c.Image != image ||
		!slices.Equal(c.Args, append([]string{"manager"}, want.Args()...)) {
		t.Errorf("%s with %q", c.Image, c.Args)
	}
}

func TestKubeconfigIsTheOneOfTheNode(t *testing.T) {
	for _, row := range []struct{ name, from, to, want string }{
		{"kubeadm's, mounted under the other name", "", "",
			"--kubeconfig=/etc/kubernetes/super-admin.conf,/etc/kubernetes/admin.conf"},
		{"k3s's, mounted as kubeadm's", "/etc/kubernetes/super-admin.conf", "/etc/rancher/k3s/k3s.yaml",
			"--kubeconfig=/etc/rancher/k3s/k3s.yaml"},
		{"one of another place, mounted as kubeadm's", "path: /etc/kubernetes/super-admin.conf",
			"path: /opt/kubernetes.conf", "--kubeconfig=/opt/kubernetes.conf"},
	} {
		text := strings.ReplaceAll(sample(t, "pod.yaml"), row.from, row.to)
		if row.from == "" {
			text = sample(t, "pod.yaml")
		}
		out, _, err := Migrate("f", []byte(text), image)
		if err != nil || !strings.Contains(string(out), row.want) {
			t.Errorf("%s: %v in\n%s", row.name, err, out)
		}
	}
}

func TestTheDaemonSetRunsWhereItDid(t *testing.T) {
	out, _, err := Migrate("f", []byte(sample(t, "services.yaml")), image)
	if err != nil {
		t.Fatal(err)
	}
	var set appsv1.DaemonSet
	if err := yaml.UnmarshalStrict(workloadOnly(out), &set); err != nil {
		t.Fatal(err)
	}
	spec := set.Spec.Template.Spec
	if spec.NodeSelector["example.com/edge"] != "true" ||
		spec.NodeSelector["kubernetes.io/os"] != "linux" ||
		spec.Affinity != nil ||
		len(spec.Tolerations) > 0 {
		t.Errorf("selector %v, affinity %v, tolerations %v", spec.NodeSelector, spec.Affinity,
			spec.Tolerations)
	}
}

func TestMigrateRefuses(t *testing.T) {
	pod, set := sample(t, "pod.yaml"), sample(t, "daemonset.yaml")
	replace := func(text, from, to string) string {
		if !strings.Contains(text, from) {
			t.Fatalf("the sample has no %q", from)
		}
		return strings.Replace(text, from, to, 1)
	}
	node := "valueFrom:\n        fieldRef:\n          fieldPath: spec.nodeName"
	for _, row := range []struct{ name, text, says string }{
		{"nothing", "", "there is no Pod"},
		{"other objects", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n", "there is no Pod"},
		{"no YAML", "a: [", "f, document 1: is not a manifest"},
		{"another type", replace(pod, "hostNetwork: true", "hostNetwork: perhaps"),
			"f, document 1: is not a Pod"},
		{"no kind", "# a\n---\na: b\n", "document 2: kind: is missing"},
		{"a List", "apiVersion: v1\nkind: List\nitems: []\n", "f, document 1: kind: is List"},
		{"two of them", pod + "---\n" + set, "document 5: runs kube-vip, and document 1 does, too"},
		{"another program", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: " +
			"[{name: a, image: nginx, args: [manager]}]}\n", "is not kube-vip, judging by its image nginx"},
		{"no containers", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {}\n",
			"spec.containers: has 0 entries"},
		{"two containers", replace(set, "      hostNetwork",
			"      - {name: b, image: b}\n      hostNetwork"),
			"document 4: spec.template.spec.containers: has 2 entries"},
		{"an init container", replace(pod, "  hostNetwork",
			"  initContainers: [{name: b, image: b}]\n  hostNetwork"), "spec.initContainers: has 1 entries"},
		{"no image", replace(pod, "image: ghcr.io/kube-vip/kube-vip:v1.0.0", ""),
			"spec.containers[0].image: is missing"},
		{"another command", replace(pod, "- manager", "- service"),
			`spec.containers[0].args: is not kube-vip's manager: ["service"]`},
		{"an unknown flag", replace(pod, "- manager", "- manager\n    - --etcdEndpoints=x"),
			"spec.containers[0].args: kvip does not know kube-vip's flag --etcdEndpoints"},
		{"variables of an object", replace(pod, "    env:",
			"    envFrom: [{configMapRef: {name: a}}]\n    env:"), "spec.containers[0].envFrom: refers to"},
		{"a variable of an object", replace(pod, node, "valueFrom: {configMapKeyRef: {name: a, key: b}}"),
			"spec.containers[0].env[2].valueFrom: of vip_nodename is known in the cluster only"},
		{"a reference", replace(pod, "value: eth0", "value: $(LINK)"),
			"spec.containers[0].env[3].value: of vip_interface refers"},
		{"a setting", replace(pod, "value: 192.0.2.10", "value: k8s.example.com"),
			"f, document 1: kube-vip's address: "},
		{"a leader with BGP", replace(replace(pod, "vip_arp", "bgp_enable"), "eth0", "lo"),
			"kube-vip's vip_leaderelection: BGP has no leader"},
		{"a node's name for all", replace(set,
			"valueFrom:\n            fieldRef:\n              fieldPath: spec.nodeName", "value: n1"),
			"kube-vip's vip_nodename: all pods of a DaemonSet"},
	} {
		out, notes, err := Migrate("f", []byte(row.text), image)
		var refused *config.InputError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), row.says) || out != nil ||
			notes != nil {
			t.Errorf("%s: got %v, want an error that says %q", row.name, err, row.says)
		}
	}
}

func FuzzMigrate(f *testing.F) {
	for _, name := range []string{"pod.yaml", "daemonset.yaml", "services.yaml"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		out, _, err := Migrate("f", text, image)
		if err != nil {
			return
		}
		for document := range bytes.SplitSeq(out, []byte("\n---\n")) {
			var object map[string]any
			if err := yaml.Unmarshal(document, &object); err != nil || object["kind"] == nil {
				t.Fatalf("%v in\n%s", err, document)
			}
		}
	})
}
