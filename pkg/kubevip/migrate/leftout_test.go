package migrate

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// something returns a value of the type that asks for something, as far as its fields can.
func something(t reflect.Type, depth int) reflect.Value {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("x")
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Pointer:
		if depth > 0 {
			v.Set(reflect.New(t.Elem()))
			v.Elem().Set(something(t.Elem(), depth-1))
		}
	case reflect.Slice:
		v.Set(reflect.Append(v, something(t.Elem(), depth)))
	case reflect.Map:
		v.Set(reflect.MakeMap(t))
		v.SetMapIndex(something(t.Key(), depth), something(t.Elem(), depth))
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && f.Type.Kind() != reflect.Struct {
				v.Field(i).Set(something(f.Type, depth))
			}
		}
	}
	return v
}

// jsonName returns the JSON name of a field.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// noticed reports whether Migrate says something of a field, or makes another pod with it.
func noticed(t *testing.T, field string, plain, changed any) bool {
	t.Helper()
	text := func(object any) []byte {
		text, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	before, _, err := Migrate("f", text(plain), image)
	if err != nil {
		t.Fatal(err)
	}
	after, notes, err := Migrate("f", text(changed), image)
	if err != nil {
		return strings.Contains(err.Error(), field[strings.LastIndex(field, ".")+1:])
	}
	for _, n := range notes {
		if strings.HasPrefix(n.Name, "document 1: "+field) {
			return true
		}
	}
	return string(before) != string(after)
}

// TestEveryFieldIsCarriedOverOrNamed (S9) sets each field of a pod and its container in turn.
func TestEveryFieldIsCarriedOverOrNamed(t *testing.T) {
	// What the manifest is made of, what it has in any case, and what a server fills in.
	quiet := []string{"spec.containers", "spec.hostNetwork", "spec.volumes", "spec.serviceAccount",
		"spec.automountServiceAccountToken",
		"spec.enableServiceLinks", "spec.priority", "spec.containers[0].name",
		"spec.containers[0].image", "spec.containers[0].command",
		"spec.containers[0].args", "spec.containers[0].env", // which TestVariablesThatAClusterKnows has
		"spec.containers[0].securityContext.readOnlyRootFilesystem"}
	var plain corev1.Pod
	if err := yaml.Unmarshal([]byte(sample(t, "pod.yaml")), &plain); err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct {
		path string
		of   func(*corev1.Pod) any
	}{
		{"spec.", func(p *corev1.Pod) any { return &p.Spec }},
		{"spec.containers[0].", func(p *corev1.Pod) any { return &p.Spec.Containers[0] }},
		{"spec.securityContext.", func(p *corev1.Pod) any {
			p.Spec.SecurityContext = new(corev1.PodSecurityContext)
			return p.Spec.SecurityContext
		}},
		{"spec.containers[0].securityContext.",
			func(p *corev1.Pod) any { return p.Spec.Containers[0].SecurityContext }},
	} {
		fields := reflect.TypeOf(part.of(plain.DeepCopy())).Elem()
		for i := range fields.NumField() {
			field := part.path + jsonName(fields.Field(i))
			if slices.Contains(quiet, field) {
				continue
			}
			changed := plain.DeepCopy()
			reflect.ValueOf(part.of(changed)).Elem().Field(i).Set(something(fields.Field(i).Type, 3))
			changed.APIVersion, changed.Kind = "v1", "Pod"
			if !noticed(t, field, plain.DeepCopy(), changed) {
				t.Errorf("%s is dropped without a note", field)
			}
		}
	}
}

func TestEveryFieldOfADaemonSetIsCarriedOverOrNamed(t *testing.T) {
	var plain appsv1.DaemonSet
	_, rest, _ := strings.Cut(sample(t, "services.yaml"), "apiVersion")
	first, _, _ := strings.Cut("apiVersion"+rest, "---")
	if err := yaml.Unmarshal([]byte(first), &plain); err != nil {
		t.Fatal(err)
	}
	fields := reflect.TypeFor[appsv1.DaemonSetSpec]()
	for i := range fields.NumField() {
		name := jsonName(fields.Field(i))
		if name == "selector" || name == "template" {
			continue
		}
		changed := plain.DeepCopy()
		reflect.ValueOf(&changed.Spec).Elem().Field(i).Set(something(fields.Field(i).Type, 3))
		if name == "updateStrategy" {
			changed.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{
				Type: appsv1.OnDeleteDaemonSetStrategyType,
			}
		}
		if !noticed(t, "spec."+name, plain.DeepCopy(), changed) {
			t.Errorf("spec.%s is dropped without a note", name)
		}
	}
}

// TestUnknownFieldsAreNamed: of a later release of Kubernetes, or misspelt.
func TestUnknownFieldsAreNamed(t *testing.T) {
	text := strings.Replace(sample(t, "pod.yaml"), "  hostNetwork: true",
		"  hostNetwork: true\n  ofTheFuture: {a: [1]}", 1)
	_, notes, err := Migrate("f", []byte(text), image)
	if err != nil || !strings.Contains(fmt.Sprint(notes),
		"document 1: spec.ofTheFuture: is left out") {
		t.Errorf("%v, %v", notes, err)
	}
}

// TestVariablesThatAClusterKnows are refused only where kvip needs their values.
func TestVariablesThatAClusterKnows(t *testing.T) {
	const field = "valueFrom: {fieldRef: {fieldPath: status.podIP}}"
	const node = "valueFrom: {fieldRef: {fieldPath: spec.nodeName}}"
	for _, row := range []struct {
		env, note, refused string
	}{
		{"{name: NODE_NAME, " + node + "}", "", ""},
		{"{name: KUBERNETES_NODE_NAME, " + node + "}", "", ""},
		{"{name: HOST_IP, " + field + "}", "HOST_IP: kvip does not read it", ""},
		{"{name: vip_ofthefuture, " + field + "}", "vip_ofthefuture: has a prefix of kube-vip", ""},
		{"{name: bgp_routerid, " + field + "}", "", ""},
		{"{name: bgp_routerid, " + field + "}, {name: bgp_enable, value: 'true'}",
			"bgp_enable: vip_arp is on, too", ""},
		{"{name: svc_leasename, " + field + "}", "", ""},
		{"{name: svc_leasename, " + field + "}, {name: svc_enable, value: 'true'}", "",
			"of svc_leasename is known in the cluster only"},
		{"{name: svc_election, " + field + "}, {name: svc_enable, value: 'true'}", "",
			"of svc_election is known in the cluster only"},
		{"{name: vip_leasename, " + field + "}", "", "of vip_leasename is known in the cluster only"},
		{"{name: vip_leasename, " + node + "}", "", "of vip_leasename is known in the cluster only"},
		{"{name: lb_port, " + field + "}, {name: lb_enable, value: 'true'}", "",
			"of lb_port is known in the cluster only"},
		{"{name: lb_port, " + field + "}, {name: lb_enable, value: 'false'}", "", ""},
		{"{name: M, " + node + "}, {name: vip_nodename, value: $(M)}", "", ""},
		{"{name: M, " + node + "}, {name: vip_nodename, value: $(M)-a}", "",
			"of vip_nodename refers to another variable"},
		{"{name: L, value: plndr}, {name: vip_leasename, value: $(L)-lock}", "", ""},
		{"{name: vip_leasename, value: $(L)-lock}, {name: L, value: plndr}", "L: kvip does not read it",
			"of vip_leasename refers to another variable"},
		{"{name: OTHER, value: $(L)}", "OTHER: kvip does not read it", ""},
		{"{name: vip_leasename, value: a$$(L)}", "", "a$(L)"},
	} {
		text := strings.Replace(sample(t, "pod.yaml"), "    env:\n",
			"    env: [{name: vip_arp, value: 'true'}, {name: cp_enable, value: 'true'}, {name: address, "+
				"value: 192.0.2.10}, "+row.env+"]\n    x:\n", 1)
		_, notes, err := Migrate("f", []byte(text), image)
		var said strings.Builder
		for _, n := range notes {
			if !strings.HasSuffix(n.Name, "[0].x") {
				said.WriteString(n.String() + "\n")
			}
		}
		switch {
		case row.refused != "":
			if err == nil || !strings.Contains(err.Error(), row.refused) {
				t.Errorf("%s: %v, want %q", row.env, err, row.refused)
			}
		case err != nil, row.note == "" && said.Len() > 0, !strings.Contains(said.String(), row.note):
			t.Errorf("%s: %v, notes %s, want %q", row.env, err, said.String(), row.note)
		}
	}
}

// TestAStaticPodRunsWhereItDid, and stays a static pod: its ServiceAccount means nothing to the
// kubelet.
func TestAStaticPodRunsWhereItDid(t *testing.T) {
	text := strings.Replace(sample(t, "pod.yaml"), "  hostNetwork: true", `  hostNetwork: true
  serviceAccountName: kube-vip
  nodeSelector: {a: b}
  tolerations: [{operator: Exists}]
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: c, operator: Exists}]}]}}}`, 1)
	out, notes, err := Migrate("f", []byte(text), image)
	var pod corev1.Pod
	if err != nil || yaml.UnmarshalStrict(out, &pod) != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if pod.Spec.NodeSelector["a"] != "b" || len(pod.Spec.NodeSelector) != 1 ||
		len(pod.Spec.Tolerations) != 1 ||
		pod.Spec.Affinity == nil ||
		pod.Spec.ServiceAccountName != "" {
		t.Errorf("%s", out)
	}
	if !strings.Contains(fmt.Sprint(notes),
		"document 1: spec.serviceAccountName: is left out; a static pod has none") {
		t.Errorf("notes %v", notes)
	}
}

// TestAPodOfAnAPIServer keeps its credentials: a ServiceAccount, with the rights before it.
func TestAPodOfAnAPIServer(t *testing.T) {
	text := strings.Replace(sample(t, "everything.yaml"), "{name: svc_election",
		"{name: svc_enable, value: 'true'}, {name: svc_election", 1)
	text = strings.Replace(text, "    - {name: svc_enable, value: 'true'}, ",
		"    - {name: svc_enable, value: 'true'}\n    - ", 1)
	out, _, err := Migrate("f", []byte(text), image)
	if err != nil {
		t.Fatal(err)
	}
	kinds := documents(t, out)
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict(workloadOnly(out), &pod); err != nil {
		t.Fatal(err)
	}
	if kinds[0] != "CustomResourceDefinition" || !slices.Contains(kinds, "ServiceAccount") ||
		kinds[len(kinds)-1] != "Pod" {
		t.Errorf("%v", kinds)
	}
	args := strings.Join(pod.Spec.Containers[0].Args, " ")
	if strings.Contains(args, "--daemonset") || strings.Contains(args, "--kubeconfig") ||
		strings.Contains(args,
			"--state-dir") ||
		pod.Spec.ServiceAccountName != "kvip" {
		t.Errorf("%s as %s", args, pod.Spec.ServiceAccountName)
	}
}

// TestACloudProviderIsNoKubeVIP, whatever makes its pods.
func TestACloudProviderIsNoKubeVIP(t *testing.T) {
	for _, provider := range []string{
		"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: c}\nspec: {template: {spec: " +
			"{containers: [{name: c, image: kube-vip-cloud-provider, env: [{name: KUBEVIP_CONFIG_MAP, " +
			"value: p}]}]}}}\n",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: c}\nspec: {containers: [{name: c, image: " +
			"kube-vip-cloud-provider, env: [{name: KUBEVIP_CONFIG_MAP, value: p}]}]}\n",
	} {
		_, notes, err := Migrate("f", []byte(sample(t, "pod.yaml")+"---\n"+provider), image)
		if err != nil || !strings.Contains(fmt.Sprint(notes),
			"kvip reads no pools from the ConfigMap kube-system/p") {
			t.Errorf("%v, %v", notes, err)
		}
	}
}
