package migrate

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

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
	file      string
	document  int
	daemonSet bool
	object    map[string]any       // all of it
	set       appsv1.DaemonSetSpec // empty for a Pod
	selector  map[string]string    // labels by which the DaemonSet knows its pods
	meta      metav1.ObjectMeta    // of the pod
	path      string               // of the pod's spec, with a dot at its end
	spec      corev1.PodSpec

	account    bool           // kvip's pod uses a ServiceAccount
	kubeconfig string         // where the container has it
	lost       []kubevip.Note // fields that are not carried over
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
	if fields := new(map[string]any); err != nil && json.Unmarshal(text, fields) != nil && len(text) > 0 {
		return nil, nil, w.refuse("", "is not a manifest: it has no apiVersion and kind")
	}
	if err != nil {
		return nil, nil, w.refuse("", "is not a manifest: %v", err)
	}
	if string(text) == "null" { // comments alone
		return nil, nil, nil
	}
	other := beside{kind: head.Kind, ObjectMeta: head.ObjectMeta, text: text}
	name := head.APIVersion + " " + head.Kind
	switch provider := isCloudProvider(other.podSpec()); {
	case name == " ":
		return nil, nil, w.refuse("kind", "is missing")
	case name == "v1 Pod" && !provider:
		err = w.readPod(text)
	case name == "apps/v1 DaemonSet" && !provider:
		err = w.readSet(text)
	case name == "v1 List":
		return nil, nil, w.refuse("kind", "is List; write its items as documents of their own")
	default:
		return nil, []kubevip.Note{{Name: fmt.Sprintf("document %d: %s %s", number, head.Kind, head.Name), Text: other.fate()}}, nil
	}
	if err != nil {
		return nil, nil, w.refuse("", "is not a %s: %v", head.Kind, err)
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
