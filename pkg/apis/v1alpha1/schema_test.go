package v1alpha1

import (
	"cmp"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/templates"
)

// property is the part of a JSON schema that these tests compare. hack/crd evaluates the rules as
// an API server does.
type property struct {
	Type       string              `json:"type"`
	Format     string              `json:"format"`
	Default    any                 `json:"default"`
	Enum       []string            `json:"enum"`
	MinItems   int                 `json:"minItems"`
	MaxItems   int                 `json:"maxItems"`
	MaxLength  int                 `json:"maxLength"`
	Minimum    *float64            `json:"minimum"`
	Maximum    *float64            `json:"maximum"`
	ListType   string              `json:"x-kubernetes-list-type"`
	ListKeys   []string            `json:"x-kubernetes-list-map-keys"`
	Required   []string            `json:"required"`
	Properties map[string]property `json:"properties"`
	Items      *property           `json:"items"`
	Rules      []rule              `json:"x-kubernetes-validations"`
}

type rule struct{ Rule, Message string }

// crd is a generated definition.
type crd struct {
	Metadata struct{ Name string }
	Spec     struct {
		Group, Scope string
		Names        struct {
			Kind, ListKind, Plural, Singular string
			ShortNames, Categories           []string
		}
		Versions []version
	}
}

type version struct {
	Name                     string
	Served, Storage          bool
	Subresources             map[string]any
	AdditionalPrinterColumns []struct{ Name, JSONPath, Type string }
	Schema                   struct {
		OpenAPIV3Schema property `json:"openAPIV3Schema"`
	}
}

func decode(t *testing.T, definition []byte) crd {
	t.Helper()
	var d crd
	if err := yaml.Unmarshal(definition, &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Spec.Versions) != 1 {
		t.Fatalf("%s: %d versions", d.Metadata.Name, len(d.Spec.Versions))
	}
	return d
}

// versionOf returns the only version of a kind.
func versionOf(t *testing.T, r resource) version {
	t.Helper()
	return decode(t, r.definition).Spec.Versions[0]
}

// schemaOf returns the schema of a kind below its metadata.
func schemaOf(t *testing.T, r resource) property {
	t.Helper()
	whole := versionOf(t, r).Schema.OpenAPIV3Schema
	for _, name := range []string{"apiVersion", "kind", "metadata"} {
		delete(whole.Properties, name)
	}
	return whole
}

// walk calls visit for each property and entry of a list below p, with the path of its names. An
// entry has the path of its list.
func walk(path string, p property, visit func(path string, p property)) {
	visit(path, p)
	for _, name := range slices.Sorted(maps.Keys(p.Properties)) {
		walk(strings.TrimPrefix(path+"."+name, "."), p.Properties[name], visit)
	}
	if p.Items != nil {
		walk(path, *p.Items, visit)
	}
}

// borrowed reports whether a property is inside of a type of Kubernetes.
func borrowed(path string) bool {
	return strings.Contains(path, ".conditions.") || strings.Contains(path, "electors.")
}

func TestDefinitionHasTheNamesOfThePackage(t *testing.T) {
	for _, r := range resources {
		d := decode(t, r.definition)
		spec, version := d.Spec, d.Spec.Versions[0]
		for what, pair := range map[string][2]string{
			"name":       {d.Metadata.Name, r.plural + "." + Group},
			"group":      {spec.Group, GroupVersion().Group},
			"version":    {version.Name, GroupVersion().Version},
			"kind":       {spec.Names.Kind, r.kind},
			"list kind":  {spec.Names.ListKind, r.kind + "List"},
			"plural":     {spec.Names.Plural, r.plural},
			"singular":   {spec.Names.Singular, strings.ToLower(r.kind)},
			"short name": {strings.Join(spec.Names.ShortNames, " "), r.shortName},
			"category":   {strings.Join(spec.Names.Categories, " "), "kvip"},
			"scope":      {spec.Scope, "Cluster"},
			"type":       {reflect.TypeOf(r.object()).Elem().Name(), r.kind},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s: %s: the definition has %q, the package %q", r.kind, what, pair[0], pair[1])
			}
		}
		if !version.Served || !version.Storage {
			t.Errorf("%s: served %v, stored %v", r.kind, version.Served, version.Storage)
		}
		// Without it, writes of the status would change the generation.
		if _, found := version.Subresources["status"]; found != (r.status != nil) {
			t.Errorf("%s: status subresource: %v", r.kind, found)
		}
	}
}

// TestCRDsAreAllKinds compares the embedded definitions with the scheme.
func TestCRDsAreAllKinds(t *testing.T) {
	have := templates.CRDs()
	if len(have) != len(resources) {
		t.Fatalf("%d definitions, %d kinds", len(have), len(resources))
	}
	for i, r := range resources {
		if kind := decode(t, have[i]).Spec.Names.Kind; kind != r.kind {
			t.Errorf("definition %d is of %s, want %s", i, kind, r.kind)
		}
	}
}

// jsonFields returns the JSON names of a struct's fields, and which of them may be missing.
func jsonFields(of reflect.Type) (names, optional []string) {
	for i := range of.NumField() {
		name, options, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
		if strings.Contains(options, "omitempty") {
			optional = append(optional, name)
		}
	}
	slices.Sort(names)
	return names, optional
}

// compareFields compares the fields of a type of this package with a schema, and so on below.
func compareFields(t *testing.T, path string, p property, of reflect.Type) {
	t.Helper()
	names, optional := jsonFields(of)
	if have := slices.Sorted(maps.Keys(p.Properties)); !slices.Equal(have, names) {
		t.Errorf("%s: the schema has %q, the type %q", path, have, names)
	}
	for _, name := range p.Required {
		if slices.Contains(optional, name) {
			t.Errorf("%s.%s is required and left out if empty", path, name)
		}
	}
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		below, child := of.Field(i).Type, p.Properties[name]
		if below.Kind() == reflect.Slice && child.Items != nil {
			child = *child.Items
		}
		if below.Kind() == reflect.Slice || below.Kind() == reflect.Pointer {
			below = below.Elem()
		}
		if declared(below) {
			compareFields(t, path+"."+name, child, below)
		}
	}
}

// TestSchemaHasEveryField: an API server removes fields that the schema does not have.
func TestSchemaHasEveryField(t *testing.T) {
	for _, r := range resources {
		whole, parts := schemaOf(t, r), 0
		for part, of := range map[string]reflect.Type{"spec": r.spec, "status": r.status} {
			if of != nil {
				parts++
				compareFields(t, r.kind+"."+part, whole.Properties[part], of)
			}
		}
		if len(whole.Properties) != parts {
			t.Errorf("%s has %q", r.kind, slices.Sorted(maps.Keys(whole.Properties)))
		}
		var required []string
		walk("", whole, func(path string, p property) {
			for _, name := range p.Required {
				if !borrowed(path + ".") {
					required = append(required, strings.TrimPrefix(path+"."+name, "."))
				}
			}
		})
		slices.Sort(required)
		if !slices.Equal(required, r.required) {
			t.Errorf("%s: required are %q, want %q", r.kind, required, r.required)
		}
	}
}

// TestColumnsShowFieldsThatExist: kubectl shows an empty column for a path without a field.
func TestColumnsShowFieldsThatExist(t *testing.T) {
	first := regexp.MustCompile(`^\.(spec|status)\.(\w+)`)
	for _, r := range resources {
		columns := versionOf(t, r).AdditionalPrinterColumns
		for _, column := range columns {
			if column.JSONPath == ".metadata.creationTimestamp" {
				continue
			}
			match := first.FindStringSubmatch(column.JSONPath)
			if match == nil {
				t.Errorf("%s: column %s shows %s", r.kind, column.Name, column.JSONPath)
				continue
			}
			p, found := schemaOf(t, r).Properties[match[1]].Properties[match[2]]
			if !found {
				t.Errorf("%s: column %s shows %s, which does not exist", r.kind, column.Name,
					column.JSONPath)
			}
			if column.Type != cmp.Or(map[string]string{"array": "string"}[p.Type], p.Type) {
				t.Errorf("%s: column %s is of type %s, the field of type %s", r.kind, column.Name,
					column.Type, p.Type)
			}
			if strings.Contains(column.JSONPath, "@.type") &&
				!strings.Contains(column.JSONPath, `"`+ConditionReady+`"`) {
				t.Errorf("%s: column %s shows another condition: %s", r.kind, column.Name,
					column.JSONPath)
			}
		}
		if len(columns) < 4 {
			t.Errorf("%s: %d columns", r.kind, len(columns))
		}
	}
}
