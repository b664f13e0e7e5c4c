package metallb

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/pkg/config"
)

// group is the API group of MetalLB.
const group = "metallb.io"

// maxObjects limits the objects of an input: far more than a cluster has.
const maxObjects = 5000

// object is one object of the input.
type object struct {
	document   int
	apiVersion string
	kind       string
	namespace  string
	name       string
	labels     map[string]string
	spec       map[string]any
	pools      *poolSelection // of an advertisement, else nil
}

// head is what all objects have.
type head struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   metav1.ObjectMeta `json:"metadata"`
	Items      []json.RawMessage `json:"items"`
	Spec       json.RawMessage   `json:"spec"`
}

func (m *migration) invalid(document int, format string, args ...any) error {
	return &config.InputError{File: m.file, Document: document, Problem: fmt.Sprintf(format, args...)}
}

// readAll reads the documents of a text. An error means that the text as a whole is not usable.
func (m *migration) readAll(text []byte) error {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for number := 1; ; number++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return m.checkNames()
		}
		if err != nil {
			return m.invalid(number, "%v", err)
		}
		raw, err := yaml.YAMLToJSON(document)
		if err != nil {
			return m.invalid(number, "is not YAML: %v", err)
		}
		if string(raw) == "null" { // only comments
			continue
		}
		if err := m.readObject(number, raw, true); err != nil {
			return err
		}
	}
}

// readObject reads one object, or the items of a List.
func (m *migration) readObject(number int, raw []byte, lists bool) error {
	var h head
	if err := json.Unmarshal(raw, &h); err != nil {
		return m.invalid(number, "is not an object of Kubernetes: %v", err)
	}
	if h.APIVersion == "" || h.Kind == "" {
		return m.invalid(number, "is not an object of Kubernetes: it has no apiVersion and kind")
	}
	if strings.HasSuffix(h.Kind, "List") {
		if !lists {
			return m.invalid(number, "%s is an item of a List", h.Kind)
		}
		for _, item := range h.Items {
			if err := m.readObject(number, item, false); err != nil {
				return err
			}
		}
		return nil
	}
	o := object{
		document: number, apiVersion: h.APIVersion, kind: h.Kind, namespace: h.Metadata.Namespace,
		name: h.Metadata.Name, labels: h.Metadata.Labels,
	}
	if m.read++; m.read > maxObjects {
		return m.invalid(number, "there are more than %d objects", maxObjects)
	}
	if !m.isTranslated(o, h.Metadata.Annotations) {
		return nil
	}
	if len(h.Spec) > 0 && string(h.Spec) != "null" && json.Unmarshal(h.Spec, &o.spec) != nil {
		m.refuse(o, "spec", "is not an object")
		return nil
	}
	if o.kind == kindL2 || o.kind == kindBGP {
		o.pools = selectedPools(o.spec)
	}
	m.objects = append(m.objects, o)
	return nil
}

// kinds are the kinds that are translated, with the versions of their API.
var kinds = map[string][]string{
	kindPool: {"v1beta1"}, kindL2: {"v1beta1"}, kindBGP: {"v1beta1"},
	kindPeer: {"v1beta1", "v1beta2"}, kindBFDProfile: {"v1beta1"}, kindCommunity: {"v1beta1"},
}

// statusKinds are kinds that MetalLB itself writes.
var statusKinds = []string{"ServiceL2Status", "ServiceBGPStatus", "BGPSessionStatus",
	"ConfigurationState"}

// isTranslated reports whether an object has a kind that is translated. It records a note about
// each other one, and refuses kinds of MetalLB that would be lost.
func (m *migration) isTranslated(o object, annotations map[string]string) bool {
	ofGroup, version, _ := strings.Cut(o.apiVersion, "/")
	versions, known := kinds[o.kind]
	switch {
	case o.apiVersion == "v1" && o.kind == "Service":
		m.noteService(o, annotations)
	case ofGroup != group:
		m.note(o, "", "is left out")
	case o.kind == "AddressPool":
		m.refuse(o, "kind", "is of MetalLB before 0.13; write an IPAddressPool, and a BGPAdvertisement "+
			"or an L2Advertisement")
	case slices.Contains(statusKinds, o.kind):
		m.note(o, "", "is left out; `kvip status` shows the state")
	case !known:
		m.refuse(o, "kind", "kvip does not know this kind of MetalLB; remove the object")
	case !slices.Contains(versions, version):
		m.refuse(o, "apiVersion", "%q is unknown; write %s/%s", o.apiVersion, group,
			versions[len(versions)-1])
	default:
		return true
	}
	return false
}

// noteService names the annotations of a Service that are to be written for kvip.
func (m *migration) noteService(o object, annotations map[string]string) {
	for _, prefix := range prefixes {
		for _, a := range Annotations() {
			if _, found := annotations[prefix+a.Name]; found {
				m.note(o, "", "in namespace %s: add the annotation %s with the value of %s", o.namespace,
					a.Instead, prefix+a.Name)
			}
		}
	}
}

// checkNames refuses objects without a name that kvip's objects can have, and two of one name:
// MetalLB's objects have a namespace, and those of kvip have none.
func (m *migration) checkNames() error {
	seen := map[[2]string]bool{}
	for _, o := range m.objects {
		if !isObjectName(o.name) {
			m.refuse(object{document: o.document, kind: o.kind}, "metadata.name",
				"is missing or cannot name an object")
		}
		key := [2]string{o.kind, o.name}
		if seen[key] {
			m.refuse(o, "metadata.name", "is there twice, and objects of kvip have no namespace; "+
				"remove or rename one of them")
		}
		seen[key] = true
	}
	return nil
}

// decode checks the fields of an object's spec against the table, and decodes it strictly. It
// reports whether the spec is usable.
func (m *migration) decode(o object, into any) bool {
	before := len(m.errs)
	m.checkFields(o, "", o.spec)
	if len(m.errs) > before || len(m.errs) >= maxProblems {
		return false
	}
	raw, err := json.Marshal(o.spec)
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields()
		err = decoder.Decode(into)
	}
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		m.refuse(o, "spec."+wrong.Field, "has a value of another type: %s, want %s", wrong.Value,
			wrong.Type)
	case err != nil:
		m.refuse(o, "spec", "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return err == nil
}

// checkFields refuses fields without counterpart and those that are not in the table, and removes
// those that are empty.
func (m *migration) checkFields(o object, path string, values map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		name := strings.TrimPrefix(path+"."+key, ".")
		row, found, below := fieldOf(o.kind, name)
		inner, isObject := values[key].(map[string]any)
		switch {
		case isEmpty(values[key]) && (row.Refused || !found):
			delete(values, key)
		case found && row.Refused:
			m.refuse(o, "spec."+name, "%s", row.Meaning)
		case below && isObject:
			m.checkFields(o, name, inner)
		case !found && !below:
			m.refuse(o, "spec."+name, "kvip does not know this field; remove it")
		}
	}
}

// isEmpty reports whether a value is that of a field that is not set.
func isEmpty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case float64:
		return v == 0
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}
