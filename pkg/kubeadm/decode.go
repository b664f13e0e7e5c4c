package kubeadm

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	kubeproxy "k8s.io/kube-proxy/config/v1alpha1"
	kubelet "k8s.io/kubelet/config/v1beta1"
	"k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm/v1beta3"
	"k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm/v1beta4"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

const group = "kubeadm.k8s.io/"

// The kinds whose values this package uses.
const (
	clusterKind = "ClusterConfiguration"
	initKind    = "InitConfiguration"
	joinKind    = "JoinConfiguration"
)

// newestVersion is the version of documents that this package makes.
const newestVersion = group + "v1beta4"

// kinds has a constructor for every kind that kubeadm accepts: its own, and those of the components
// that it configures. `kubeadm config validate` refuses all others.
var kinds = map[string]map[string]func() any{
	group + "v1beta3": {
		clusterKind: func() any { return new(v1beta3.ClusterConfiguration) },
		initKind:    func() any { return new(v1beta3.InitConfiguration) },
		joinKind:    func() any { return new(v1beta3.JoinConfiguration) },
	},
	group + "v1beta4": {
		clusterKind:            func() any { return new(v1beta4.ClusterConfiguration) },
		initKind:               func() any { return new(v1beta4.InitConfiguration) },
		joinKind:               func() any { return new(v1beta4.JoinConfiguration) },
		"ResetConfiguration":   func() any { return new(v1beta4.ResetConfiguration) },
		"UpgradeConfiguration": func() any { return new(v1beta4.UpgradeConfiguration) },
	},
	kubelet.SchemeGroupVersion.String(): {
		"KubeletConfiguration": func() any { return new(kubelet.KubeletConfiguration) },
	},
	kubeproxy.SchemeGroupVersion.String(): {
		"KubeProxyConfiguration": func() any { return new(kubeproxy.KubeProxyConfiguration) },
	},
}

// fields are the values that this package uses. They have the same names in all supported versions.
type fields struct {
	ControlPlaneEndpoint string `json:"controlPlaneEndpoint"`
	APIServer            struct {
		CertSANs  []string  `json:"certSANs"`
		ExtraArgs arguments `json:"extraArgs"`
	} `json:"apiServer"`
	Networking struct {
		PodSubnet     string `json:"podSubnet"`
		ServiceSubnet string `json:"serviceSubnet"`
	} `json:"networking"`
	ImageRepository  string        `json:"imageRepository"`
	LocalAPIEndpoint localEndpoint `json:"localAPIEndpoint"`
	NodeRegistration struct {
		KubeletExtraArgs arguments `json:"kubeletExtraArgs"`
	} `json:"nodeRegistration"`
	Patches struct {
		Directory string `json:"directory"`
	} `json:"patches"`
	Discovery struct {
		BootstrapToken *struct {
			APIServerEndpoint string `json:"apiServerEndpoint"`
		} `json:"bootstrapToken"`
		File *struct {
			KubeConfigPath string `json:"kubeConfigPath"`
		} `json:"file"`
	} `json:"discovery"`
	ControlPlane *struct {
		LocalAPIEndpoint localEndpoint `json:"localAPIEndpoint"`
	} `json:"controlPlane"`
}

type localEndpoint struct {
	AdvertiseAddress string `json:"advertiseAddress"`
	BindPort         int    `json:"bindPort"`
}

// arguments are the flags of a program: a map in v1beta3, a list of names and values in v1beta4.
type arguments []struct{ Name, Value string }

// UnmarshalJSON accepts both forms.
func (a *arguments) UnmarshalJSON(data []byte) error {
	type list arguments
	if json.Unmarshal(data, (*list)(a)) == nil {
		return nil
	}
	var byName map[string]string
	if err := json.Unmarshal(data, &byName); err != nil {
		return err
	}
	*a = nil
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		*a = append(*a, struct{ Name, Value string }{name, byName[name]})
	}
	return nil
}

// decode decodes a document into the real type. kubeadm's own kinds are decoded strictly, and into
// d. Unknown fields of a component's kind are valid: kubeadm only prints a warning, and a kubelet
// may be newer than this package.
func (f *File) decode(d *document) error {
	object, err := f.newObject(d)
	if err != nil {
		return err
	}
	text, err := yaml.YAMLToJSONStrict(f.data[d.start:d.end])
	if err != nil {
		return f.syntaxError(d, err)
	}
	unknown, err := kjson.UnmarshalStrict(text, object)
	if err != nil {
		return f.typeError(d, text, err)
	}
	if !strings.HasPrefix(d.version, group) {
		return nil
	}
	if len(unknown) > 0 {
		return f.unknownField(d, unknown[0])
	}
	err = errors.Join(json.Unmarshal(text, &d.values), json.Unmarshal(text, &d.fields))
	if err != nil {
		return f.typeError(d, text, err)
	}
	return nil
}

// newObject returns an empty object of the document's kind, or why kubeadm refuses that kind.
func (f *File) newObject(d *document) (any, error) {
	gv, err := schema.ParseGroupVersion(d.version)
	if err != nil || gv.Group == "" || gv.Version == "" {
		return nil, f.invalid(d, d.find("apiVersion"), "apiVersion", fmt.Sprintf(
			"%q is not a group and a version, and kubeadm refuses a file with such a document; give "+
				"kubeadm's own configuration",
			d.version,
		))
	}
	if versions, known := kinds[d.version]; known {
		if object, known := versions[d.kind]; known {
			return object(), nil
		}
		return nil, f.invalid(d, d.find("kind"), "kind",
			fmt.Sprintf("%s has no kind %q for kubeadm", d.version, d.kind))
	}
	var supported []string
	for _, version := range slices.Sorted(maps.Keys(kinds)) {
		if strings.HasPrefix(version, gv.Group+"/") {
			supported = append(supported, version)
		}
	}
	switch {
	case supported == nil:
		return nil, f.invalid(d, d.find("apiVersion"), "apiVersion", fmt.Sprintf(
			"%q is not an API version of kubeadm; remove the document, or give another file", d.version))
	case gv.Group+"/" != group:
		return nil, f.invalid(d, d.find("apiVersion"), "apiVersion", fmt.Sprintf(
			"%q is not supported, %s is", d.version, supported[0]))
	}
	return nil, f.invalid(d, d.find("apiVersion"), "apiVersion", fmt.Sprintf(
		"%q is not supported, %s are; 'kubeadm config migrate' converts it", d.version,
		strings.Join(supported, " and ")))
}

// typeError names the field whose value does not fit the real type.
func (f *File) typeError(d *document, text []byte, err error) error {
	var typed *json.UnmarshalTypeError
	if errors.As(err, &typed) {
		field := exportedName.ReplaceAllString(typed.Field, "")
		return f.invalid(d, d.find(field), field,
			fmt.Sprintf("is of type %s, and %s needs type %s", typed.Value, d.kind, typed.Type))
	}
	var values map[string]any
	if bad := json.Unmarshal(text, &values); bad != nil {
		return f.invalid(d, d.line, "", fmt.Sprintf("cannot be decoded as %s: %v", d.kind, bad))
	}
	field := strings.Join(undecodable(values, func(part map[string]any) bool {
		text, bad := json.Marshal(part)
		return bad == nil && json.Unmarshal(text, kinds[d.version][d.kind]()) == nil
	}), ".")
	return f.invalid(d, d.find(field), field, fmt.Sprintf("cannot be decoded as %s: %v", d.kind, err))
}

// exportedName matches an embedded Go type in the path of a field: field names are in lower case.
var exportedName = regexp.MustCompile(`\b[A-Z]\w*\.`)

// undecodable returns the path of the value that cannot be decoded alone: errors of values that
// decode themselves, such as durations, have no path.
func undecodable(values map[string]any, decodes func(map[string]any) bool) []string {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if decodes(map[string]any{name: values[name]}) {
			continue
		}
		child, _ := values[name].(map[string]any)
		below := undecodable(
			child,
			func(part map[string]any) bool { return decodes(map[string]any{name: part}) },
		)
		return append([]string{name}, below...)
	}
	return nil
}

// unknownField names the field that does not exist.
func (f *File) unknownField(d *document, err error) error {
	var field kjson.FieldError
	if !errors.As(err, &field) {
		return f.invalid(d, d.line, "", err.Error())
	}
	return f.invalid(d, d.find(field.FieldPath()), field.FieldPath(),
		fmt.Sprintf("is unknown to %s of %s", d.kind, d.version))
}

// document returns kubeadm's own document of a kind, or nil.
func (f *File) document(kind string) *document {
	i := slices.IndexFunc(
		f.docs,
		func(d *document) bool { return d.kind == kind && strings.HasPrefix(d.version, group) },
	)
	if i < 0 {
		return nil
	}
	return f.docs[i]
}
