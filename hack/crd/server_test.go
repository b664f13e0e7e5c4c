package crd

import (
	"math"
	"os"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/version"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"
)

// definition decodes the CRD like an API server.
func definition(t *testing.T) *apiextensions.CustomResourceDefinition {
	t.Helper()
	text, err := os.ReadFile("../../templates/crd-ippool.yaml")
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

// server validates pools like an API server with the CRD.
type server struct {
	props      *apiextensions.JSONSchemaProps
	structural *schema.Structural
	openAPI    validation.SchemaValidator
	rules      *cel.Validator
}

func newServer(t *testing.T) *server {
	t.Helper()
	// The conversion moves the schema of a single version to the top.
	s := &server{props: definition(t).Spec.Validation.OpenAPIV3Schema}
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
	more, left := s.rules.Validate(t.Context(), nil, s.structural, object, nil,
		celconfig.RuntimeCELCostBudget)
	if left < 0 {
		t.Errorf("the rules exceed the cost limit of an API server for one object: %v", more)
	}
	return append(errs, more...)
}

// TestDefinitionIsValid includes the cost estimate of the rules.
func TestDefinitionIsValid(t *testing.T) {
	if errs := crdvalidation.ValidateCustomResourceDefinition(t.Context(),
		definition(t)); len(errs) > 0 {
		t.Error(errs.ToAggregate())
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
	walk(newServer(t).structural)
	if compiled < 7 {
		t.Errorf("found %d rules", compiled)
	}
}
