package migrate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubevip"
)

// podWith is a Pod of kube-vip with these arguments and variables, in YAML's flow style.
func podWith(args, env string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: " +
		"kube-vip, args: [" + args + "], env: [" + env + "]}]}\n"
}

// controlPlane are the variables that every kube-vip of a control plane has.
const controlPlane = "{name: cp_enable, value: 'true'}, {name: vip_arp, value: 'true'}"

// TestDocumentsAreRefused that are no manifest, or not one of a single kube-vip.
func TestDocumentsAreRefused(t *testing.T) {
	good := podWith("manager", controlPlane+", {name: address, value: 192.0.2.10}")
	for _, row := range []struct {
		name, text string
		document   int
		field      string
		problem    string
	}{
		{"a list", "- a\n- b\n", 1, "", "is not a manifest: it has no apiVersion and kind"},
		{"a text", "just words\n", 1, "", "is not a manifest: it has no apiVersion and kind"},
		{"a number after a manifest", good + "---\n7\n", 2, "", "is not a manifest"},
		{"metadata that is a text", "apiVersion: v1\nkind: Pod\nmetadata: a\n", 1, "",
			"is not a manifest"},
		{"a kind that is a list", "apiVersion: v1\nkind: [Pod]\n", 1, "", "is not a manifest"},
		{"a version without a kind", "apiVersion: v1\nmetadata: {name: a}\n", 0, "",
			"there is no Pod and no DaemonSet that runs kube-vip"},
		{"only comments", "# a\n---\n# b\n", 0, "", "there is no Pod"},
		{"a Deployment", strings.Replace(good, "v1\nkind: Pod", "apps/v1\nkind: Deployment", 1), 0, "",
			"there is no Pod"},
		{"a version that is gone",
			strings.Replace(good, "v1\nkind: Pod", "extensions/v1beta1\nkind: DaemonSet", 1), 0, "",
			"there is no Pod"},
		{"a DaemonSet without a template",
			"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: a}\nspec: {}\n", 1,
			"spec.template.spec.containers", "has 0 entries, but kube-vip is one"},
		{"a DaemonSet of another shape",
			"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: a}\nspec: {template: []}\n", 1, "",
			"is not a DaemonSet"},
		{"two Pods", good + "---\n" + good, 2, "", "runs kube-vip, and document 1 does, too"},
		{"a List of one", "apiVersion: v1\nkind: List\nitems: [{}]\n", 1, "kind", "is List"},
	} {
		var refused *config.InputError
		out, notes, err := Migrate("f", []byte(row.text), image)
		if !errors.As(err, &refused) || out != nil || notes != nil {
			t.Errorf("%s: %v, output %d bytes, notes %v", row.name, err, len(out), notes)
			continue
		}
		field := refused.Field
		if refused.File != "f" || refused.Document != row.document || field != row.field ||
			!strings.Contains(refused.Problem, row.problem) {
			t.Errorf("%s: %+v", row.name, refused)
		}
	}
}

// TestArgumentsAreRefused that are not those of the manager, or have no value in the manifest.
func TestArgumentsAreRefused(t *testing.T) {
	const address = controlPlane + ", {name: address, value: 192.0.2.10}"
	const node = ", {name: NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}"
	for _, row := range []struct{ args, env, problem string }{
		{"", address, "is not kube-vip's manager: []"},
		{"/kube-vip", address, "is not kube-vip's manager: []"},
		{"start", address, `is not kube-vip's manager: ["start"]`},
		{"manager, --vip=$(HOST)", address, "refers to $(HOST), whose value is not available"},
		{"manager, --address=$(NAME)", address + node, "refers to $(NAME), whose value is not available"},
		{"manager, --invented", address, "kvip does not know kube-vip's flag --invented"},
		{"manager, --arp=perhaps", "", "perhaps"},
	} {
		_, _, err := Migrate("f", []byte(podWith(row.args, row.env)), image)
		var refused *config.InputError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), row.problem) {
			t.Errorf("%s: %v, want %q", row.args, err, row.problem)
		}
	}
}

// TestValuesAreRefused by the name of kube-vip's variable, with the document.
func TestValuesAreRefused(t *testing.T) {
	for _, row := range []struct{ name, value string }{
		{"address", "127.0.0.1"}, {"address", "0.0.0.0"}, {"address", "224.0.0.1"},
		{"address", "host.example.org"}, {"port", "0"}, {"port", "65536"}, {"port", "https"},
		{"vip_leaseduration", "soon"}, {"cp_enable", "perhaps"}, {"vip_interface", "a/b"},
	} {
		env := fmt.Sprintf("{name: %s, value: '%s'}", row.name, row.value)
		if row.name != "address" {
			env = "{name: address, value: 192.0.2.10}, " + env
		}
		_, _, err := Migrate("f", []byte(podWith("manager", controlPlane+", "+env)), image)
		var refused *config.InputError
		var setting *kubevip.Error
		if !errors.As(err, &refused) || refused.Document != 1 || !errors.As(err, &setting) {
			t.Errorf("%s=%s: %v", row.name, row.value, err)
			continue
		}
		if setting.Name != row.name || setting.Problem == "" {
			t.Errorf("%s=%s: %+v", row.name, row.value, setting)
		}
	}
}

// TestOwnManifestsAreRefused: kvip's output is not input. A second run must not drop its settings.
func TestOwnManifestsAreRefused(t *testing.T) {
	for _, name := range []string{"pod.yaml", "daemonset.yaml", "services.yaml"} {
		out, _, err := Migrate("f", []byte(sample(t, name)), image)
		if err != nil {
			t.Fatal(err)
		}
		if again, _, err := Migrate("f", out, image); err == nil {
			t.Errorf("%s: migrated twice:\n%s", name, again)
		}
	}
}

// TestOutputIsStable: the notes and the manifest do not depend on the order of a Go map.
func TestOutputIsStable(t *testing.T) {
	for _, name := range []string{"everything.yaml", "services.yaml", "carried.yaml"} {
		text := []byte(sample(t, name))
		first, notes, err := Migrate("f", text, image)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			again, same, err := Migrate("f", text, image)
			if err != nil || string(again) != string(first) || !slices.Equal(same, notes) {
				t.Fatalf("%s: another result for the same input: %v, %v", name, err, same)
			}
		}
	}
}

// TestJSONIsAManifestToo: kubectl get -o json gives the same as YAML.
func TestJSONIsAManifestToo(t *testing.T) {
	text := sample(t, "everything.yaml")
	converted, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want, wantNotes, err := Migrate("f", []byte(text), image)
	if err != nil {
		t.Fatal(err)
	}
	got, notes, err := Migrate("f", converted, image)
	if err != nil || string(got) != string(want) || !slices.Equal(notes, wantNotes) {
		t.Errorf("%v, notes %v, output\n%s", err, notes, got)
	}
}

// TestPlaceOfTheWorkloadDoesNotMatter among comments, empty documents and other objects. Only the
// document's number in the notes differs.
func TestPlaceOfTheWorkloadDoesNotMatter(t *testing.T) {
	work := sample(t, "everything.yaml")
	want, wantNotes, err := Migrate("f", []byte(work), image)
	if err != nil {
		t.Fatal(err)
	}
	account := "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: kube-vip}\n"
	const note = "ServiceAccount kube-vip: is left out; kvip has its own ServiceAccount and RBAC"
	for _, documents := range [][]string{
		{work, account}, {account, work}, {"# a comment\n", work, account},
		{account, "\n", work, "# the end\n"},
	} {
		got, notes, err := Migrate("f", []byte(strings.Join(documents, "---\n")), image)
		if err != nil || string(got) != string(want) {
			t.Errorf("%v, output\n%s", err, got)
		}
		if len(notes) != len(wantNotes)+1 || !strings.Contains(fmt.Sprint(notes), note) {
			t.Errorf("notes %v, want %d and one of the account", notes, len(wantNotes))
		}
	}
}

// TestVariablesPrecedeFlags, the last of two variables counts, and flags may refer to variables.
func TestVariablesPrecedeFlags(t *testing.T) {
	const mode = "manager, --arp, --controlplane, "
	for _, row := range []struct{ args, env, want string }{
		{mode + "--address, 192.0.2.10", "", "--vip=192.0.2.10"},
		{mode + "--address, 192.0.2.10", "{name: address, value: 192.0.2.11}", "--vip=192.0.2.11"},
		{mode + "--address, 192.0.2.10", "{name: address, value: ''}", "--vip=192.0.2.10"},
		{mode, "{name: address, value: 192.0.2.12}, {name: address, value: 192.0.2.13}",
			"--vip=192.0.2.13"},
		{mode + "--address=$(VIP)", "{name: VIP, value: 192.0.2.14}", "--vip=192.0.2.14"},
		{mode, "{name: NAME, value: 192.0.2}, {name: address, value: $(NAME).15}", "--vip=192.0.2.15"},
	} {
		out, _, err := Migrate("f", []byte(podWith(row.args, row.env)), image)
		if err != nil || !strings.Contains(string(out), "- "+row.want+"\n") {
			t.Errorf("%s with %s: %v, want %s in\n%s", row.args, row.env, err, row.want, out)
		}
	}
}

// TestServicesOfAStaticPodNeedTheCRD, which a kubelet cannot apply.
func TestServicesOfAStaticPodNeedTheCRD(t *testing.T) {
	env := controlPlane + ", {name: address, value: 192.0.2.10}, {name: svc_enable, value: 'true'}"
	out, notes, err := Migrate("f", []byte(podWith("manager", env)), image)
	if err != nil || !strings.Contains(string(out), "--services") ||
		strings.Contains(string(out), "CustomResourceDefinition") {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.Contains(fmt.Sprint(notes), "apply the output of `kvip manifest crd`") {
		t.Errorf("notes %v", notes)
	}
}

// TestKubeconfigOfADaemonSetIsReplaced by its ServiceAccount, with a note.
func TestKubeconfigOfADaemonSetIsReplaced(t *testing.T) {
	text := strings.Replace(sample(t, "daemonset.yaml"), "        env:\n",
		"        env:\n        - name: k8s_config_file\n          value: /etc/kube.conf\n", 1)
	out, notes, err := Migrate("f", []byte(text), image)
	if err != nil || strings.Contains(string(out), "/etc/kube.conf") {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.Contains(fmt.Sprint(notes), "k8s_config_file: a DaemonSet uses its ServiceAccount") {
		t.Errorf("notes %v", notes)
	}
}
