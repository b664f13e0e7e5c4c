package migrate

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubevip"
)

func TestInputErrorNamesItsPlace(t *testing.T) {
	cause := errors.New("cause")
	for want, err := range map[string]*config.InputError{
		"f: is empty":             {File: "f", Problem: "is empty"},
		"f, document 2: is empty": {File: "f", Document: 2, Problem: "is empty"},
		"f, document 2: a.b: is text": {File: "f", Document: 2, Field: "a.b", Problem: "is text",
			Cause: cause},
	} {
		if got := err.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if errors.Is(err, cause) != (err.Cause != nil) {
			t.Errorf("%q: cause %v", want, err.Cause)
		}
	}
	w := &workload{file: "f", document: 3}
	var setting *kubevip.Error
	if err := w.wrap(&kubevip.Error{Name: "address", Problem: "p"}); !errors.As(err, &setting) ||
		err.Error() != "f, document 3: kube-vip's address: p" {
		t.Errorf("wrapped: %v", err)
	}
}

func TestIsInMount(t *testing.T) {
	for _, row := range []struct {
		file, mount string
		want        bool
	}{
		{"/etc/kubernetes/admin.conf", "/etc/kubernetes/admin.conf", true},
		{"/etc/kubernetes/admin.conf", "/etc/kubernetes", true},
		{"/etc/kubernetes/admin.conf", "/etc/kubernetes/", true},
		{"/etc/kubernetes/admin.conf", "/", true},
		{"/etc/kubernetes/admin.conf", "/etc/kube", false},
		{"/etc/kubernetes/admin.conf", "/etc/kubernetes/admin", false},
		{"/etc/hosts", "/etc/kubernetes", false},
	} {
		if got := isInMount(row.file, row.mount); got != row.want {
			t.Errorf("%s in %s: %t", row.file, row.mount, got)
		}
	}
}

func TestVariablesExpand(t *testing.T) {
	known := variables{values: map[string]string{"A": "a", "B": "$(A)"}, used: map[string]bool{}}
	for value, want := range map[string][2]string{
		"":             {"", ""},
		"x":            {"x", ""},
		"$(A)x$(A)":    {"axa", ""},
		"$(B)":         {"$(A)", ""},
		"$$(A)":        {"$(A)", ""},
		"$(C)-$(D)":    {"-", "C,D"},
		"$(A":          {"$(A", ""},
		"$(A)$(C)$(A)": {"aa", "C"},
	} {
		text, missing := known.expand(value)
		if text != want[0] || strings.Join(missing, ",") != want[1] {
			t.Errorf("%q: %q, missing %q, want %q", value, text, missing, want)
		}
	}
	if got := slices.Sorted(maps.Keys(known.used)); !slices.Equal(got, []string{"A", "B", "C", "D"}) {
		t.Errorf("used: %q", got)
	}
}

func TestEnvIsReadInOrder(t *testing.T) {
	node := &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}
	other := &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}
	got := (&workload{}).variables([]corev1.EnvVar{
		{Name: "EARLY", Value: "$(LINK)"},
		{Name: "LINK", Value: "eth0"},
		{Name: "vip_interface", Value: "$(LINK)"},
		{Name: "NODE", ValueFrom: node},
		{Name: "vip_nodename", Value: "$(NODE)"},
		{Name: "vip_leasename", ValueFrom: node},
		{Name: "bgp_routerid", ValueFrom: other},
	})
	if want := map[string]string{"LINK": "eth0", "vip_interface": "eth0"}; !maps.Equal(got.values,
		want) {
		t.Errorf("values %v, want %v", got.values, want)
	}
	if want := []int{0, 5, 6}; !slices.Equal(got.unavailable, want) {
		t.Errorf("unavailable %v, want %v", got.unavailable, want)
	}
	if !got.node["NODE"] || !got.node["vip_nodename"] || got.node["bgp_routerid"] {
		t.Errorf("variables of the node's name: %v", got.node)
	}
}

func TestArguments(t *testing.T) {
	w := &workload{file: "f", document: 1, path: "spec."}
	for _, row := range []struct {
		args string
		want string
		fail string
	}{
		{"manager", "", ""},
		{"/kube-vip manager --arp", "vip_arp=true", ""},
		{"manager --address 192.0.2.10 --controlplane=true", "address=192.0.2.10 cp_enable=true", ""},
		{"", "", "is not kube-vip's manager"},
		{"/kube-vip", "", "is not kube-vip's manager"},
		{"kube-vip manager", "", "is not kube-vip's manager"},
		{"manager --invented", "", "does not know kube-vip's flag"},
	} {
		got, err := w.arguments(strings.Fields(row.args))
		if strings.Join(got, " ") != row.want || (err == nil) != (row.fail == "") ||
			err != nil && !strings.Contains(err.Error(), row.fail) {
			t.Errorf("%q: %q, %v", row.args, got, err)
		}
	}
}

// mounted returns a workload whose container has the host's directory at a path.
func mounted(host, path string) *workload {
	w := &workload{}
	w.spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
		HostPath: &corev1.HostPathVolumeSource{Path: host},
	}}}
	w.spec.Containers = []corev1.Container{{VolumeMounts: []corev1.VolumeMount{{Name: "v",
		MountPath: path}}}}
	return w
}

func TestHostKubeconfig(t *testing.T) {
	for _, row := range []struct{ host, path, file, want string }{
		{"/etc/kubernetes/admin.conf", "/etc/kubernetes/admin.conf", "", ""},
		{"/etc/kubernetes/super-admin.conf", "/etc/kubernetes/admin.conf", "", ""},
		{"/etc/rancher/k3s/k3s.yaml", "/etc/kubernetes/admin.conf", "", "/etc/rancher/k3s/k3s.yaml"},
		{"/root/.kube", "/kube", "/kube/config", "/root/.kube/config"},
		{"/root/.kube", "/other", "/kube/config", "/kube/config"},
	} {
		w := mounted(row.host, row.path)
		if got := w.hostKubeconfig(row.file); got != row.want {
			t.Errorf("%+v: %q", row, got)
		}
	}
}

func TestUsesServiceAccount(t *testing.T) {
	for _, row := range []struct {
		name, account, path, kubeconfig string
		want                            bool
	}{
		{"a static pod", "", "/etc/kubernetes/admin.conf", "", false},
		{"an account alone", "kube-vip", "/etc/hosts", "", true},
		{"the default account", "default", "/etc/hosts", "", false},
		{"an account and a kubeconfig", "kube-vip", "/etc/kubernetes", "", false},
		{"an account and a kubeconfig's variable", "kube-vip", "/etc/hosts", "/x", false},
	} {
		w := mounted("/x", row.path)
		w.spec.ServiceAccountName = row.account
		if got := w.usesServiceAccount(row.kubeconfig); got != row.want {
			t.Errorf("%s: %t", row.name, got)
		}
	}
}

func TestCopiedLabels(t *testing.T) {
	w := &workload{selector: map[string]string{"tier": "edge"}}
	for name, want := range map[string]bool{
		"example.com/team": true, "team": true, "topology.kubernetes.io/zone": true,
		"app": false, "tier": false, "app.kubernetes.io/name": false, "helm.sh/chart": false,
		"pod-template-hash": false,
	} {
		if got := w.copiesLabel(name); got != want {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
}

func TestCopiedPorts(t *testing.T) {
	for _, row := range []struct {
		port    corev1.ContainerPort
		address string
		want    bool
	}{
		{corev1.ContainerPort{ContainerPort: 2112}, ":2112", true},
		{corev1.ContainerPort{ContainerPort: 2112, Protocol: "TCP"}, "192.0.2.1:2112", true},
		{corev1.ContainerPort{ContainerPort: 2112, Protocol: "UDP"}, ":2112", false},
		{corev1.ContainerPort{ContainerPort: 112}, ":2112", false},
		{corev1.ContainerPort{ContainerPort: 2112}, "", false},
	} {
		if got := copiesPort(row.port, row.address); got != row.want {
			t.Errorf("%+v: %t", row, got)
		}
	}
}

func TestAPIServerAlias(t *testing.T) {
	for _, row := range []struct {
		ip    string
		names string
		want  bool
	}{
		{"127.0.0.1", "kubernetes", true},
		{"::1", "kubernetes", true},
		{"192.0.2.1", "kubernetes", false},
		{"127.0.0.1", "kubernetes other", false},
		{"x", "kubernetes", false},
	} {
		alias := corev1.HostAlias{IP: row.ip, Hostnames: strings.Fields(row.names)}
		if got := isAPIServerAlias(alias); got != row.want {
			t.Errorf("%+v: %t", row, got)
		}
	}
}

func TestIsEmpty(t *testing.T) {
	for _, value := range []any{nil, false, "", []any{}, map[string]any{},
		map[string]any{"a": map[string]any{"b": nil}}} {
		if !isEmpty(value) {
			t.Errorf("%#v is not empty", value)
		}
	}
	for _, value := range []any{true, "a", float64(0), []any{nil}, map[string]any{"a": "b"}} {
		if isEmpty(value) {
			t.Errorf("%#v is empty", value)
		}
	}
}

// TestDispositions has a note for each kind of document beside the workload.
func TestDispositions(t *testing.T) {
	const provider = `{"spec":{"template":{"spec":{"containers":[` +
		`{"image":"kube-vip-cloud-provider","env":[ENV]}]}}}}`
	for _, row := range []struct{ kind, name, namespace, text, want string }{
		{"ServiceAccount", "kube-vip", "kube-system", "{}", "its own ServiceAccount and RBAC"},
		{"ClusterRoleBinding", "kube-vip", "", "{}", "its own ServiceAccount and RBAC"},
		{"Service", "web", "default", "{}", leftOut},
		{"ConfigMap", "kubevip", "kube-system", "{}", "kvip reads it in the cluster"},
		{"ConfigMap", "kubevip", "other", "{}", "kvip reads no pools from it"},
		{"ConfigMap", "pools", "other", `{"data":{"cidr-global":"192.0.2.0/24"}}`,
			"kvip reads no pools from it"},
		{"ConfigMap", "other", "other", `{"data":{"a":"b"}}`, leftOut},
		{"ConfigMap", "other", "other", `{"data":"a"}`, leftOut},
		{"Deployment", "x", "kube-system", strings.Replace(provider, "ENV", "", 1),
			"kvip assigns addresses itself"},
		{"StatefulSet", "kube-vip-cloud-provider", "kube-system", "{}", "kvip assigns addresses itself"},
		{"Deployment", "x", "ns", strings.Replace(provider, "ENV",
			`{"name":"KUBEVIP_CONFIG_MAP","value":"p"}`, 1),
			"from the ConfigMap kube-system/p"},
		{"Deployment", "x", "ns", strings.Replace(provider, "ENV",
			`{"name":"KUBEVIP_NAMESPACE","valueFrom":{"fieldRef":{"fieldPath":"metadata.namespace"}}}`, 1),
			"from the ConfigMap ns/kubevip"},
		{"Deployment", "x", "ns", strings.Replace(provider, "ENV",
			`{"name":"KUBEVIP_NAMESPACE","valueFrom":{"secretKeyRef":{"name":"a","key":"b"}}}`, 1),
			"from the ConfigMap (valueFrom)/kubevip"},
	} {
		o := otherObject{kind: row.kind, text: []byte(row.text),
			ObjectMeta: metav1.ObjectMeta{Name: row.name, Namespace: row.namespace}}
		if got := o.disposition(); !strings.Contains(got, row.want) {
			t.Errorf("%s %s/%s: %q, want %q", row.kind, row.namespace, row.name, got, row.want)
		}
	}
}

// TestNotesForFields has the rules that depend on the value.
func TestNotesForFields(t *testing.T) {
	static := &workload{}
	set := &workload{daemonSet: true}
	account := &workload{account: true}
	for _, row := range []struct{ name, got, want string }{
		{"DNS of the node", static.dnsPolicyRule("Default"), ""},
		{"DNS of the cluster in the host's network", static.dnsPolicyRule("ClusterFirst"), ""},
		{"DNS of the cluster", static.dnsPolicyRule("ClusterFirstWithHostNet"), "as its node does"},
		{"an account of a DaemonSet", set.accountRule("kube-vip"), ""},
		{"an account that is used", account.accountRule("kube-vip"), "is replaced by kvip"},
		{"an account that is not used", static.accountRule("kube-vip"), "a static pod has none"},
		{"capabilities of kvip", static.capabilitiesRule([]any{"NET_ADMIN", "NET_RAW"}), ""},
		{"more capabilities", static.capabilitiesRule([]any{"NET_ADMIN", "SYS_TIME"}),
			"SYS_TIME is left out"},
		{"no capabilities", static.capabilitiesRule(nil), ""},
		{"annotations of tools",
			static.annotationsRule(map[string]any{"kubernetes.io/config.hash": "a"}), ""},
		{"annotations of the user", static.annotationsRule(map[string]any{"b": "c", "a": "d"}),
			"a, b is left out"},
		{"labels of the user", static.labelsRule(map[string]any{"team": "a"}), ""},
		{"labels of the program", static.labelsRule(map[string]any{"app": "kube-vip"}),
			"app is left out"},
	} {
		if (row.want == "") != (row.got == "") || !strings.Contains(row.got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, row.got, row.want)
		}
	}
}

// FuzzMigrateOutput: a manifest is refused, or becomes one whose documents are valid for kvip.
func FuzzMigrateOutput(f *testing.F) {
	for _, text := range []string{
		"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{image: kube-vip, args: " +
			"[manager], env: " +
			"[{name: cp_enable, value: 'true'}, {name: vip_arp, value: 'true'}, {name: address, value: " +
			"192.0.2.10}]}]}\n",
		"apiVersion: v1\nkind: Pod\nspec: {containers: [{image: kube-vip, args: [manager, --arp]}]}\n",
		"a: b\n---\n", "[]", "\x00",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		out, notes, err := Migrate("f", []byte(text), image)
		if err != nil {
			var input *config.InputError
			var usage *config.UsageError
			if !errors.As(err, &input) && !errors.As(err, &usage) || len(out) > 0 {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if !strings.Contains(string(out), "image: "+image) {
			t.Errorf("%q gives\n%s", text, out)
		}
		for _, note := range notes {
			if note.Name == "" || note.Text == "" {
				t.Errorf("%q: note %q", text, note)
			}
		}
	})
}
