package migrate

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubevip"
)

// workload is the pod, or the template of pods, that runs kube-vip.
type workload struct {
	file      string
	document  int
	daemonSet bool
	object    map[string]any       // all of it
	set       appsv1.DaemonSetSpec // empty for a Pod
	selector  map[string]string    // labels of the DaemonSet's selector
	meta      metav1.ObjectMeta    // of the pod
	path      string               // of the pod's spec, with a dot at the end
	spec      corev1.PodSpec

	account    bool           // kvip's pod uses a ServiceAccount
	kubeconfig string         // its path in the container
	dropped    []kubevip.Note // fields that are not copied
}

func (w *workload) field(name string) string {
	return fmt.Sprintf("document %d: %s", w.document, name)
}

func (w *workload) invalid(field, format string, args ...any) error {
	return &config.InputError{
		File:     w.file,
		Document: w.document,
		Field:    field,
		Problem:  fmt.Sprintf(format, args...),
	}
}

// wrap adds the place of an invalid setting.
func (w *workload) wrap(err error) error {
	return &config.InputError{File: w.file, Document: w.document, Problem: err.Error(), Cause: err}
}

// findWorkload returns the only workload of the file, and a note for every other document.
func findWorkload(file string, text []byte) (*workload, []kubevip.Note, error) {
	var found *workload
	var notes []kubevip.Note
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for number := 1; ; number++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, &config.InputError{File: file, Document: number, Problem: err.Error(),
				Cause: err}
		}
		w, note, err := readDocument(file, number, document)
		if err != nil {
			return nil, nil, err
		}
		if w != nil && found != nil {
			return nil, nil, w.invalid("", "runs kube-vip, and document %d does, too; give a file for each",
				found.document)
		}
		if w != nil {
			found = w
		}
		notes = append(notes, note...)
	}
	if found == nil {
		return nil, nil, &config.InputError{
			File:    file,
			Problem: "there is no Pod and no DaemonSet that runs kube-vip",
		}
	}
	return found, notes, found.check()
}

// readDocument returns the workload of a document if it runs kube-vip, else a note about the
// document.
func readDocument(file string, number int, document []byte) (*workload, []kubevip.Note, error) {
	w := &workload{file: file, document: number}
	var head struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
	}
	text, err := yaml.YAMLToJSON(document)
	if err == nil {
		err = json.Unmarshal(text, &head)
	}
	if fields := new(map[string]any); err != nil && json.Unmarshal(text, fields) != nil &&
		len(text) > 0 {
		return nil, nil, w.invalid("", "is not a manifest: it has no apiVersion and kind")
	}
	if err != nil {
		return nil, nil, w.invalid("", "is not a manifest: %v", err)
	}
	if string(text) == "null" { // only comments
		return nil, nil, nil
	}
	other := otherObject{kind: head.Kind, ObjectMeta: head.ObjectMeta, text: text}
	name := head.APIVersion + " " + head.Kind
	switch provider := isCloudProvider(other.podSpec()); {
	case name == " ":
		return nil, nil, w.invalid("kind", "is missing")
	case name == "v1 Pod" && !provider:
		err = w.readPod(text)
	case name == "apps/v1 DaemonSet" && !provider:
		err = w.readSet(text)
	case name == "v1 List":
		return nil, nil, w.invalid("kind", "is List; write its items as separate documents")
	default:
		return nil, []kubevip.Note{
			{
				Name: fmt.Sprintf("document %d: %s %s", number, head.Kind, head.Name),
				Text: other.disposition(),
			},
		}, nil
	}
	if err != nil {
		return nil, nil, w.invalid("", "is not a %s: %v", head.Kind, err)
	}
	return w, nil, nil
}

func (w *workload) readPod(text []byte) error {
	var pod corev1.Pod
	err := errors.Join(json.Unmarshal(text, &pod), json.Unmarshal(text, &w.object))
	w.path, w.meta, w.spec = "spec.", pod.ObjectMeta, pod.Spec
	return err
}

func (w *workload) readSet(text []byte) error {
	var set appsv1.DaemonSet
	err := errors.Join(json.Unmarshal(text, &set), json.Unmarshal(text, &w.object))
	w.daemonSet, w.set, w.path = true, set.Spec, "spec.template.spec."
	w.meta, w.spec = set.Spec.Template.ObjectMeta, set.Spec.Template.Spec
	if set.Spec.Selector != nil {
		w.selector = set.Spec.Selector.MatchLabels
	}
	return err
}

// otherObject is an object of the file that does not run kube-vip.
type otherObject struct {
	kind string
	metav1.ObjectMeta
	text []byte // as JSON
}

// disposition returns what happens to the object.
func (o otherObject) disposition() string {
	switch o.kind {
	case "ServiceAccount", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding":
		return "is left out; kvip has its own ServiceAccount and RBAC"
	case "ConfigMap":
		return o.configMapDisposition()
	}
	spec := o.podSpec()
	if !strings.Contains(o.Name, "cloud-provider") && !strings.Contains(o.Name, "cloud-controller") &&
		!isCloudProvider(spec) {
		return leftOut
	}
	text := "is left out; kvip assigns addresses itself"
	if pools := o.pools(spec); pools != kubevip.PoolsNamespace+"/"+kubevip.PoolsConfigMap {
		text += ", and " + unreadPools("from the ConfigMap "+pools)
	}
	return text
}

func (o otherObject) configMapDisposition() string {
	var object corev1.ConfigMap
	_ = json.Unmarshal(o.text, &object) // another object has no keys
	switch {
	case o.Name == kubevip.PoolsConfigMap && o.Namespace == kubevip.PoolsNamespace:
		return "is left out; kvip reads it in the cluster"
	case o.Name == kubevip.PoolsConfigMap || kubevip.HasPoolKeys(object.Data):
		return unreadPools("from it")
	}
	return leftOut
}

// unreadPools returns the text about pools that kvip does not read.
func unreadPools(where string) string {
	return fmt.Sprintf(
		"kvip reads no pools %s: it reads the ConfigMap %s in %s only; copy them there, or write IPPools",
		where, kubevip.PoolsConfigMap, kubevip.PoolsNamespace)
}

// podSpec returns the spec of the pod that the object is or creates, or an empty one.
func (o otherObject) podSpec() corev1.PodSpec {
	var pod corev1.Pod
	var maker appsv1.Deployment // StatefulSet and DaemonSet have their template at the same path
	if json.Unmarshal(o.text, &maker) == nil && len(maker.Spec.Template.Spec.Containers) > 0 {
		return maker.Spec.Template.Spec
	}
	_ = json.Unmarshal(o.text, &pod) // another object has no containers
	return pod.Spec
}

// isCloudProvider reports whether a pod runs kube-vip's cloud provider.
func isCloudProvider(spec corev1.PodSpec) bool {
	for _, c := range spec.Containers {
		if strings.Contains(c.Image, "kube-vip-cloud-provider") {
			return true
		}
	}
	return false
}

// pools returns namespace and name of the ConfigMap that the cloud provider reads. An unknown part
// is "(valueFrom)".
func (o otherObject) pools(spec corev1.PodSpec) string {
	namespace, name := kubevip.PoolsNamespace, kubevip.PoolsConfigMap
	for _, c := range spec.Containers {
		for _, v := range c.Env {
			value := v.Value
			switch {
			case v.ValueFrom != nil && v.ValueFrom.FieldRef != nil && v.ValueFrom.FieldRef.FieldPath ==
				"metadata.namespace":
				value = o.Namespace
			case v.ValueFrom != nil:
				value = "(valueFrom)"
			}
			switch {
			case value == "":
			case v.Name == "KUBEVIP_NAMESPACE":
				namespace = value
			case v.Name == "KUBEVIP_CONFIG_MAP":
				name = value
			}
		}
	}
	return namespace + "/" + name
}
