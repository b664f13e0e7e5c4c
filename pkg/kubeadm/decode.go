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

// The kinds that this package looks into.
const (
	clusterKind = "ClusterConfiguration"
	initKind    = "InitConfiguration"
	joinKind    = "JoinConfiguration"
)

// newest is the version of documents that this package makes by itself.
const newest = group + "v1beta4"

// kinds makes an empty object of every kind that kubeadm takes: its own, and those of the
// components that it configures. `kubeadm config validate` refuses all others.
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

// fields are the values that matter here. They have the same names in all supported versions.
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

// arguments are a program's flags: a map in v1beta3, a list of name and value in v1beta4.
type arguments []struct{ Name, Value string }

// UnmarshalJSON reads either form.
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

// decode reads a document into the real type, and one of kubeadm's own kinds strictly and into d.
// Unknown fields of a component's kind are left alone: kubeadm itself only warns of them, and a
// kubelet may be newer than this package.
func (f *File) decode(d *document) error {
	object, err := f.object(d)
	if err != nil {
		return err
	}
	text, err := yaml.YAMLToJSONStrict(f.data[d.start:d.end])
	if err != nil {
		return f.syntax(d, err)
	}
	unknown, err := kjson.UnmarshalStrict(text, object)
	if err != nil {
		return f.mistyped(d, text, err)
	}
	if !strings.HasPrefix(d.version, group) {
		return nil
	}
	if len(unknown) > 0 {
		return f.unknown(d, unknown[0])
	}
	if err := errors.Join(json.Unmarshal(text, &d.values), json.Unmarshal(text, &d.fields)); err != nil {
		return f.mistyped(d, text, err)
	}
	return nil
}

// object returns an empty object of the document's kind, or says why kubeadm takes no such document.
func (f *File) object(d *document) (any, error) {
	gv, err := schema.ParseGroupVersion(d.version)
	if err != nil || gv.Group == "" || gv.Version == "" {
		return nil, f.refuse(d, d.find("apiVersion"), "apiVersion", fmt.Sprintf(
			"%q is not a group and a version, and kubeadm refuses a file with such a document; give kubeadm's own configuration", d.version))
	}
	if versions, known := kinds[d.version]; known {
		if object, known := versions[d.kind]; known {
			return object(), nil
		}
		return nil, f.refuse(d, d.find("kind"), "kind", fmt.Sprintf("%s has no %q that kubeadm takes", d.version, d.kind))
	}
	var supported []string
	for _, version := range slices.Sorted(maps.Keys(kinds)) {
		if strings.HasPrefix(version, gv.Group+"/") {
			supported = append(supported, version)
		}
	}
	switch {
	case supported == nil:
		return nil, f.refuse(d, d.find("apiVersion"), "apiVersion", fmt.Sprintf(
			"%q is none of kubeadm's; remove the document, or give another file", d.version))
	case gv.Group+"/" != group:
		return nil, f.refuse(d, d.find("apiVersion"), "apiVersion", fmt.Sprintf(
			"%q is not supported, %s is", d.version, supported[0]))
	}
	return nil, f.refuse(d, d.find("apiVersion"), "apiVersion", fmt.Sprintf(
		"%q is not supported, %s are; kubeadm config migrate turns one into another", d.version, strings.Join(supported, " and ")))
}

// mistyped says which field has a value that the real type cannot have.
func (f *File) mistyped(d *document, text []byte, err error) error {
	var typed *json.UnmarshalTypeError
	if errors.As(err, &typed) {
		field := exportedName.ReplaceAllString(typed.Field, "")
		return f.refuse(d, d.find(field), field, fmt.Sprintf("is of type %s, and %s needs type %s", typed.Value, d.kind, typed.Type))
	}
	var values map[string]any
	if bad := json.Unmarshal(text, &values); bad != nil {
		return f.refuse(d, d.line, "", fmt.Sprintf("cannot be decoded as %s: %v", d.kind, bad))
	}
	field := strings.Join(culprit(values, func(part map[string]any) bool {
		text, bad := json.Marshal(part)
		return bad == nil && json.Unmarshal(text, kinds[d.version][d.kind]()) == nil
	}), ".")
	return f.refuse(d, d.find(field), field, fmt.Sprintf("cannot be decoded as %s: %v", d.kind, err))
}

// exportedName is an embedded Go type in the path of a field: names of fields begin in lower case.
var exportedName = regexp.MustCompile(`\b[A-Z]\w*\.`)

// culprit returns the path of the value that cannot be decoded even when it is alone: values that
// decode themselves, such as durations, do not say where they stand.
func culprit(values map[string]any, decodes func(map[string]any) bool) []string {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if decodes(map[string]any{name: values[name]}) {
			continue
		}
		child, _ := values[name].(map[string]any)
		below := culprit(child, func(part map[string]any) bool { return decodes(map[string]any{name: part}) })
		return append([]string{name}, below...)
	}
	return nil
}

// unknown says which field does not exist.
func (f *File) unknown(d *document, err error) error {
	var field kjson.FieldError
	if !errors.As(err, &field) {
		return f.refuse(d, d.line, "", err.Error())
	}
	return f.refuse(d, d.find(field.FieldPath()), field.FieldPath(), fmt.Sprintf("is unknown to %s of %s", d.kind, d.version))
}

// of returns kubeadm's own document of a kind, or nil.
func (f *File) of(kind string) *document {
	i := slices.IndexFunc(f.docs, func(d *document) bool { return d.kind == kind && strings.HasPrefix(d.version, group) })
	if i < 0 {
		return nil
	}
	return f.docs[i]
}
