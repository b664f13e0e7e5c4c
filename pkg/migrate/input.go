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

	"github.com/kvip/kvip/pkg/kubevip"
)

// InputError is a file in which kube-vip's settings cannot be found with certainty.
type InputError struct {
	// File is the name that Migrate was given.
	File string
	// Document counts from 1; 0: the file as a whole.
	Document int
	// Field is the path of the field; empty: the document as a whole.
	Field string
	// Problem says what is wrong and what to do.
	Problem string
	// Cause is the error behind the problem, or nil.
	Cause error
}

// Error names file, document and field, as far as they are known, and the problem.
func (e *InputError) Error() string {
	text := e.File
	if e.Document > 0 {
		text += fmt.Sprintf(", document %d", e.Document)
	}
	if e.Field != "" {
		text += ": " + e.Field
	}
	return text + ": " + e.Problem
}

// Unwrap returns the cause.
func (e *InputError) Unwrap() error { return e.Cause }

// workload is the pod, or the template of pods, that runs kube-vip.
type workload struct {
	file       string
	document   int
	daemonSet  bool
	namespace  string
	path       string // of the pod's spec, with a dot at its end
	spec       corev1.PodSpec
	kubeconfig string // where the container has it
}

func (w *workload) field(name string) string { return fmt.Sprintf("document %d: %s", w.document, name) }

func (w *workload) refuse(field, format string, args ...any) error {
	return &InputError{File: w.file, Document: w.document, Field: field, Problem: fmt.Sprintf(format, args...)}
}

// wrap says where a setting stands that was refused.
func (w *workload) wrap(err error) error {
	return &InputError{File: w.file, Document: w.document, Problem: err.Error(), Cause: err}
}

// find returns the one workload of the file, and a note for every other document.
func find(file string, text []byte) (*workload, []kubevip.Note, error) {
	var found *workload
	var notes []kubevip.Note
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for number := 1; ; number++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, &InputError{File: file, Document: number, Problem: err.Error(), Cause: err}
		}
		w, note, err := read(file, number, document)
		if err != nil {
			return nil, nil, err
		}
		if w != nil && found != nil {
			return nil, nil, w.refuse("", "runs kube-vip, and so does document %d; give a file for each", found.document)
		}
		if w != nil {
			found = w
		}
		notes = append(notes, note...)
	}
	if found == nil {
		return nil, nil, &InputError{File: file, Problem: "there is no Pod and no DaemonSet that runs kube-vip in it"}
	}
	return found, notes, found.check()
}

// read returns the workload of a document, if it is one of kube-vip's, or what becomes of the document.
func read(file string, number int, document []byte) (*workload, []kubevip.Note, error) {
	w := &workload{file: file, document: number}
	var head struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
	}
	text, err := yaml.YAMLToJSON(document)
	if err == nil {
		err = json.Unmarshal(text, &head)
	}
	if err != nil {
		return nil, nil, w.refuse("", "is not a manifest: %v", err)
	}
	if string(text) == "null" { // comments alone
		return nil, nil, nil
	}
	switch head.APIVersion + " " + head.Kind {
	case " ":
		return nil, nil, w.refuse("kind", "is missing")
	case "v1 Pod":
		var pod corev1.Pod
		err = json.Unmarshal(text, &pod)
		w.path, w.spec = "spec.", pod.Spec
	case "apps/v1 DaemonSet":
		var set appsv1.DaemonSet
		err = json.Unmarshal(text, &set)
		w.daemonSet, w.path, w.spec = true, "spec.template.spec.", set.Spec.Template.Spec
	case "v1 List":
		return nil, nil, w.refuse("kind", "is List; write its items as documents of their own")
	default:
		return nil, []kubevip.Note{{Name: fmt.Sprintf("document %d: %s %s", number, head.Kind, head.Name), Text: fateOf(head.Kind, head.Name)}}, nil
	}
	if err != nil {
		return nil, nil, w.refuse("", "is not a %s: %v", head.Kind, err)
	}
	w.namespace = head.Namespace
	return w, nil, nil
}

// fateOf says what becomes of an object beside kube-vip.
func fateOf(kind, name string) string {
	switch {
	case kind == "ServiceAccount" || kind == "Role" || kind == "ClusterRole" || kind == "RoleBinding" || kind == "ClusterRoleBinding":
		return "is left out; kvip has a ServiceAccount and rights of its own"
	case kind == "ConfigMap" && name == kubevip.PoolsConfigMap:
		return "stays as it is in the cluster; kvip reads it"
	case strings.Contains(name, "cloud-provider") || strings.Contains(name, "cloud-controller"):
		return "is left out; kvip gives out addresses by itself"
	}
	return "is left out"
}
