package v1alpha1

import (
	"maps"
	"os"
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
	Default    any                 `json:"default"`
	Enum       []string            `json:"enum"`
	MinItems   int                 `json:"minItems"`
	MaxItems   int                 `json:"maxItems"`
	MaxLength  int                 `json:"maxLength"`
	ListType   string              `json:"x-kubernetes-list-type"`
	ListKeys   []string            `json:"x-kubernetes-list-map-keys"`
	Required   []string            `json:"required"`
	Properties map[string]property `json:"properties"`
	Items      *property           `json:"items"`
	Rules      []struct {
		Rule, Message string
	} `json:"x-kubernetes-validations"`
}

// crd is the generated definition.
type crd struct {
	Metadata struct{ Name string }
	Spec     struct {
		Group, Scope string
		Names        struct {
			Kind, ListKind, Plural, Singular string
			ShortNames                       []string
		}
		Versions []struct {
			Name                     string
			Served, Storage          bool
			Subresources             map[string]any
			AdditionalPrinterColumns []struct{ Name, JSONPath, Type string }
			Schema                   struct {
				OpenAPIV3Schema property `json:"openAPIV3Schema"`
			}
		}
	}
}

func definition(t *testing.T) crd {
	t.Helper()
	var d crd
	if err := yaml.Unmarshal(templates.CRD, &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Spec.Versions) != 1 {
		t.Fatalf("%d versions", len(d.Spec.Versions))
	}
	return d
}

// schemaOf returns the schema of the spec or of the status.
func schemaOf(t *testing.T, part string) property {
	t.Helper()
	return definition(t).Spec.Versions[0].Schema.OpenAPIV3Schema.Properties[part]
}

func TestDefinitionHasTheNamesOfThePackage(t *testing.T) {
	d := definition(t)
	spec, version := d.Spec, d.Spec.Versions[0]
	for what, pair := range map[string][2]string{
		"name":      {d.Metadata.Name, Plural + "." + Group},
		"group":     {spec.Group, GroupVersion().Group},
		"version":   {version.Name, GroupVersion().Version},
		"kind":      {spec.Names.Kind, Kind},
		"list kind": {spec.Names.ListKind, Kind + "List"},
		"plural":    {spec.Names.Plural, Plural},
		"singular":  {spec.Names.Singular, strings.ToLower(Kind)},
		"scope":     {spec.Scope, "Cluster"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: the definition has %q, the package %q", what, pair[0], pair[1])
		}
	}
	if !version.Served || !version.Storage {
		t.Errorf("served %v, stored %v", version.Served, version.Storage)
	}
	if _, found := version.Subresources["status"]; !found {
		t.Error("no status subresource: writes of the status would change the generation")
	}
	if kind := reflect.TypeFor[IPPool]().Name(); kind != Kind {
		t.Errorf("the type of kind %s is %s", Kind, kind)
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

// TestSchemaHasEveryField: an API server removes fields that the schema does not have.
func TestSchemaHasEveryField(t *testing.T) {
	for part, of := range map[string]reflect.Type{
		"spec": reflect.TypeFor[IPPoolSpec](), "status": reflect.TypeFor[IPPoolStatus](),
	} {
		s := schemaOf(t, part)
		names, optional := jsonFields(of)
		if have := slices.Sorted(maps.Keys(s.Properties)); !slices.Equal(have, names) {
			t.Errorf("%s: the schema has %q, the type %q", part, have, names)
		}
		for _, name := range s.Required {
			if slices.Contains(optional, name) {
				t.Errorf("%s.%s is required and left out if empty", part, name)
			}
		}
	}
	whole := definition(t).Spec.Versions[0].Schema.OpenAPIV3Schema
	if !slices.Equal(whole.Required, []string{"spec"}) {
		t.Errorf("required are %q", whole.Required)
	}
	if required := schemaOf(t, "spec").Required; !slices.Equal(required, []string{"addresses"}) {
		t.Errorf("required in the spec are %q", required)
	}
}

// TestEnumsAreTheConstants, and the first one of each is the default.
func TestEnumsAreTheConstants(t *testing.T) {
	for name, want := range map[string][]string{
		"searchOrder": {string(Ascending), string(Descending)},
		"sharing":     {string(ByKey), string(ByPort)},
	} {
		p := schemaOf(t, "spec").Properties[name]
		if !slices.Equal(p.Enum, want) || p.Default != want[0] || p.Type != "string" {
			t.Errorf("%s: %s %q, default %v; want %q", name, p.Type, p.Enum, p.Default, want)
		}
	}
}

// TestDefaults: AutoAssign is true if it is left out, all others are zero values.
func TestDefaults(t *testing.T) {
	want := map[string]any{
		"autoAssign": true, "searchOrder": string(Ascending), "sharing": string(ByKey),
	}
	have := map[string]any{}
	for name, p := range schemaOf(t, "spec").Properties {
		if p.Default != nil {
			have[name] = p.Default
		}
	}
	if !maps.Equal(have, want) {
		t.Errorf("defaults %v, want %v", have, want)
	}
	for name, p := range schemaOf(t, "status").Properties {
		if p.Default != nil {
			t.Errorf("status.%s has the default %v", name, p.Default)
		}
	}
}

// TestListsAreBounded: without bounds an API server refuses the rules as too expensive.
func TestListsAreBounded(t *testing.T) {
	spec := schemaOf(t, "spec").Properties
	for name, want := range map[string]struct{ minItems, maxItems, length int }{
		// The longest range has two IPv6 addresses of 39 characters and a hyphen.
		"addresses": {1, 128, 2*len("2001:0db8:0000:0000:0000:0000:0000:0001") + 1},
		// The longest label of RFC 1123.
		"namespaces": {0, 128, 63},
	} {
		p := spec[name]
		if p.MinItems != want.minItems || p.MaxItems != want.maxItems ||
			p.Items.MaxLength != want.length {
			t.Errorf("%s: %d to %d entries of %d characters, want %+v", name, p.MinItems, p.MaxItems,
				p.Items.MaxLength, want)
		}
		if p.ListType != "set" {
			t.Errorf("%s is a list of type %s: it may have duplicates", name, p.ListType)
		}
	}
	status := schemaOf(t, "status").Properties
	if p := status["conditions"]; p.ListType != "map" || !slices.Equal(p.ListKeys, []string{"type"}) {
		t.Errorf("conditions are a %s with the keys %q", p.ListType, p.ListKeys)
	}
	if p := status["conflicts"]; p.ListType != "atomic" {
		t.Errorf("conflicts are a list of type %s", p.ListType)
	}
}

// TestEveryRuleHasAMessage that names the problem; kubectl prints it.
func TestEveryRuleHasAMessage(t *testing.T) {
	spec, rules := schemaOf(t, "spec").Properties, 0
	for _, p := range []property{
		spec["addresses"], *spec["addresses"].Items, *spec["namespaces"].Items,
	} {
		for _, r := range p.Rules {
			rules++
			if len(r.Message) < 20 || strings.TrimSpace(r.Message) != r.Message ||
				strings.HasSuffix(r.Message, ".") || strings.Contains(r.Message, "self") {
				t.Errorf("rule %s has the message %q", r.Rule, r.Message)
			}
		}
	}
	text, err := os.ReadFile("ippool.go")
	if err != nil {
		t.Fatal(err)
	}
	markers := strings.Count(string(text), "+kubebuilder:validation:XValidation")
	if markers != rules {
		t.Errorf("the types have %d rules, the definition %d", markers, rules)
	}
}

// TestColumnsShowFieldsThatExist: kubectl shows an empty column for a path without a field.
func TestColumnsShowFieldsThatExist(t *testing.T) {
	first := regexp.MustCompile(`^\.status\.(\w+)`)
	status := schemaOf(t, "status").Properties
	columns := definition(t).Spec.Versions[0].AdditionalPrinterColumns
	for _, column := range columns {
		if column.JSONPath == ".metadata.creationTimestamp" {
			continue
		}
		match := first.FindStringSubmatch(column.JSONPath)
		if match == nil {
			t.Errorf("column %s shows %s", column.Name, column.JSONPath)
		} else if _, found := status[match[1]]; !found {
			t.Errorf("column %s shows %s, which does not exist", column.Name, column.JSONPath)
		}
		if strings.Contains(column.JSONPath, "@.type") &&
			!strings.Contains(column.JSONPath, `"`+ConditionReady+`"`) {
			t.Errorf("column %s shows another condition: %s", column.Name, column.JSONPath)
		}
	}
	if len(columns) < 5 {
		t.Errorf("%d columns", len(columns))
	}
}
