package crd

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/version"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"
)

// kinds are those that have a definition.
var kinds = []string{"IPPool", "BGPPeer", "BGPAdvertisement", "BFDProfile", "BGPNodeState"}

// definition decodes the CRD of a kind like an API server.
func definition(t *testing.T, kind string) *apiextensions.CustomResourceDefinition {
	t.Helper()
	text, err := os.ReadFile("../../templates/crd-" + strings.ToLower(kind) + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var sent apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &sent); err != nil {
		t.Fatal(err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(&sent)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&sent.Spec)
	var crd apiextensions.CustomResourceDefinition
	convert := apiextensionsv1.
		Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition
	if err := convert(&sent, &crd, nil); err != nil {
		t.Fatal(err)
	}
	crd.Status.StoredVersions = []string{"v1alpha1"}
	return &crd
}

// server validates objects of one kind like an API server with the CRD.
type server struct {
	props      *apiextensions.JSONSchemaProps
	structural *schema.Structural
	openAPI    validation.SchemaValidator
	rules      *cel.Validator
}

func newServer(t *testing.T, kind string) *server {
	t.Helper()
	// The conversion moves the schema of a single version to the top.
	s := &server{props: definition(t, kind).Spec.Validation.OpenAPIV3Schema}
	var err error
	if s.structural, err = schema.NewStructural(s.props); err != nil {
		t.Fatal(err)
	}
	if s.openAPI, _, err = validation.NewSchemaValidator(s.props); err != nil {
		t.Fatal(err)
	}
	s.rules = cel.NewValidator(s.structural, true, celconfig.PerCallLimit)
	return s
}

// create sets the defaults of an object and returns the errors of an API server.
func (s *server) create(t *testing.T, object map[string]any) field.ErrorList {
	t.Helper()
	defaulting.Default(object, s.structural)
	errs := validation.ValidateCustomResource(nil, object, s.openAPI)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, s.structural, object)...)
	if slices.ContainsFunc(errs, blocks) {
		return errs
	}
	more, left := s.rules.Validate(t.Context(), nil, s.structural, object, nil,
		celconfig.RuntimeCELCostBudget)
	if left < 0 {
		t.Errorf("the rules exceed the cost limit of an API server for one object: %v", more)
	}
	return append(errs, more...)
}

// blocks reports whether an API server does not evaluate rules after an error: hasBlockingErr in
// k8s.io/apiextensions-apiserver/pkg/registry/customresource/strategy.go.
func blocks(err *field.Error) bool {
	return slices.Contains([]field.ErrorType{field.ErrorTypeNotSupported, field.ErrorTypeRequired,
		field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid}, err.Type)
}

// accept fails the test if an API server does not accept an object as it is, with all its fields.
func (s *server) accept(t *testing.T, name string, object map[string]any) {
	t.Helper()
	if errs := s.create(t, object); len(errs) > 0 {
		t.Errorf("%s: %v", name, errs.ToAggregate())
	}
	options := schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	if unknown := pruning.PruneWithOptions(object, s.structural, true, options); len(unknown) > 0 {
		t.Errorf("%s: unknown fields %q", name, unknown)
	}
}

// invalid is an object that an API server refuses, with the field and part of the message.
type invalid struct {
	name, field, want string
	object            map[string]any
}

// refuse fails the test if an API server accepts an object, or does not say why as row has it.
func (s *server) refuse(t *testing.T, row invalid) {
	t.Helper()
	errs := s.create(t, row.object)
	if len(errs) == 0 {
		t.Errorf("%s: accepted", row.name)
		return
	}
	if !slices.ContainsFunc(errs, func(err *field.Error) bool {
		return err.Field == row.field && strings.Contains(err.Error(), row.want)
	}) {
		t.Errorf("%s: got %v\nwant %s: ...%s", row.name, errs.ToAggregate(), row.field, row.want)
	}
	for _, err := range errs {
		if strings.Contains(err.Error(), "rule failed") ||
			strings.Contains(err.Error(), "runtime error") || strings.Contains(err.Error(), "evaluat") ||
			strings.Contains(err.Error(), "no such") {
			t.Errorf("%s: evaluation of a rule failed: %v", row.name, err)
		}
	}
}

// defaults fails the test if an object has not the spec want after an API server has set defaults.
func (s *server) defaults(t *testing.T, object map[string]any, want string) {
	t.Helper()
	s.create(t, object)
	if got := fmt.Sprint(object["spec"]); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// object returns an object of a kind with a spec of names and values.
func object(kind string, spec ...any) map[string]any {
	fields := map[string]any{}
	for i := 0; i < len(spec); i += 2 {
		fields[spec[i].(string)] = spec[i+1]
	}
	return map[string]any{"apiVersion": "kvip.dev/v1alpha1", "kind": kind,
		"metadata": map[string]any{"name": "a"}, "spec": fields}
}

// list returns a list of n entries, made with the number of each.
func list(n int, entry func(i int) any) []any {
	all := make([]any, n)
	for i := range all {
		all[i] = entry(i)
	}
	return all
}

// TestDefinitionIsValid includes the cost estimate of the rules.
func TestDefinitionIsValid(t *testing.T) {
	for _, kind := range kinds {
		if errs := crdvalidation.ValidateCustomResourceDefinition(t.Context(),
			definition(t, kind)); len(errs) > 0 {
			t.Error(errs.ToAggregate())
		}
	}
}

// TestRulesCompileOnOldServers compiles the rules like Kubernetes 1.31, the first release with
// functions for addresses.
func TestRulesCompileOnOldServers(t *testing.T) {
	env := environment.MustBaseEnvSet(version.MajorMinor(1, 31))
	compiled := 0
	var walk func(s *schema.Structural)
	walk = func(s *schema.Structural) {
		if len(s.XValidations) > 0 {
			results, err := cel.Compile(s, model.SchemaDeclType(s, false), math.MaxInt64, env,
				cel.NewExpressionsEnvLoader())
			if err != nil {
				t.Fatal(err)
			}
			for i, result := range results {
				compiled++
				if result.Error != nil || result.MessageExpressionError != nil {
					t.Errorf("%s: %v %v", s.XValidations[i].Rule, result.Error, result.MessageExpressionError)
				}
				t.Logf("estimated cost of one call %d, at most %d calls: %s", result.MaxCost,
					result.MaxCardinality, s.XValidations[i].Message)
			}
		}
		for _, child := range s.Properties {
			walk(&child)
		}
		if s.Items != nil {
			walk(s.Items)
		}
	}
	for kind, least := range map[string]int{"IPPool": 7, "BGPPeer": 20, "BGPAdvertisement": 3} {
		compiled = 0
		walk(newServer(t, kind).structural)
		if compiled < least {
			t.Errorf("%s: found %d rules", kind, compiled)
		}
	}
}
