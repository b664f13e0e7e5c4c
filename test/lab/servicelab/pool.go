package servicelab

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/templates"
	"github.com/kvip/kvip/test/lab/wait"
)

// manager owns the fields that the lab applies.
const manager = "servicelab"

var (
	poolResource       = v1alpha1.GroupVersion().WithResource(v1alpha1.Plural)
	definitionResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1",
		Resource: "customresourcedefinitions"}
)

// apply writes an object as it is, and takes over all fields.
func apply(ctx context.Context, client dynamic.ResourceInterface, name string,
	object []byte) error {
	force := true
	_, err := client.Patch(ctx, name, types.ApplyPatchType, object,
		metav1.PatchOptions{FieldManager: manager, Force: &force})
	return err
}

// ApplyObject creates or changes an object of kvip.dev, given as JSON, by the plural of its kind.
func (l *Lab) ApplyObject(ctx context.Context, plural, name string, object []byte) error {
	resource := l.Dynamic.Resource(v1alpha1.GroupVersion().WithResource(plural))
	if err := apply(ctx, resource, name, object); err != nil {
		return fmt.Errorf("apply %s %s: %w", plural, name, err)
	}
	return nil
}

// InstallPools installs all definitions of kvip, and returns when every API server serves IPPools
// and the objects of BGP.
func (l *Lab) InstallPools(ctx context.Context) error {
	for _, text := range templates.CRDs() {
		object, err := yaml.YAMLToJSON(text)
		var meta struct{ Metadata struct{ Name string } }
		if err == nil {
			err = json.Unmarshal(object, &meta)
		}
		if err == nil {
			err = apply(ctx, l.Dynamic.Resource(definitionResource), meta.Metadata.Name, object)
		}
		if err != nil {
			return fmt.Errorf("install definition %s: %w", meta.Metadata.Name, err)
		}
	}
	served := func(err error) bool { return err == nil }
	for _, plural := range definedPlurals {
		resource := v1alpha1.GroupVersion().WithResource(plural)
		if err := l.eachServer(ctx, resource, "to serve "+plural, served); err != nil {
			return err
		}
	}
	return nil
}

// definedPlurals are the kinds of kvip in URLs.
var definedPlurals = []string{v1alpha1.Plural, v1alpha1.BGPPeerPlural,
	v1alpha1.BGPAdvertisementPlural, v1alpha1.BFDProfilePlural, v1alpha1.BGPNodeStatePlural}

// UninstallPools removes the definition of IPPool, and all pools with it, and returns when no API
// server serves it.
func (l *Lab) UninstallPools(ctx context.Context) error {
	err := l.Dynamic.Resource(definitionResource).Delete(ctx, v1alpha1.Plural+"."+v1alpha1.Group,
		metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove definition of IPPool: %w", err)
	}
	return l.eachServer(ctx, poolResource, "to serve IPPools no more", apierrors.IsNotFound)
}

// eachServer waits until the answer of every API server to a list of objects is as it should be.
func (l *Lab) eachServer(ctx context.Context, resource schema.GroupVersionResource, what string,
	is func(error) bool) error {
	for _, n := range l.Nodes {
		conf, err := l.RESTConfig(n)
		if err != nil {
			return err
		}
		client, err := dynamic.NewForConfig(conf)
		if err != nil {
			return err
		}
		err = wait.For(ctx, n.Name+" "+what, func() bool {
			_, err := client.Resource(resource).List(ctx, metav1.ListOptions{})
			return is(err)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Pool makes an IPPool of that name, or changes it.
func (l *Lab) Pool(ctx context.Context, name string, spec v1alpha1.IPPoolSpec) error {
	object, err := json.Marshal(map[string]any{
		"apiVersion": v1alpha1.GroupVersion().String(), "kind": v1alpha1.Kind,
		"metadata": map[string]string{"name": name}, "spec": spec,
	})
	if err != nil {
		return fmt.Errorf("encode IPPool %s: %w", name, err)
	}
	if err := apply(ctx, l.Dynamic.Resource(poolResource), name, object); err != nil {
		return fmt.Errorf("apply IPPool %s: %w", name, err)
	}
	return nil
}

// Addresses makes an IPPool of these addresses, for everybody.
func (l *Lab) Addresses(ctx context.Context, name string, addresses ...string) error {
	var spec v1alpha1.IPPoolSpec
	for _, a := range addresses {
		spec.Addresses = append(spec.Addresses, v1alpha1.Addresses(a))
	}
	return l.Pool(ctx, name, spec)
}

// ReadPool returns the IPPool as it is now.
func (l *Lab) ReadPool(ctx context.Context, name string) (v1alpha1.IPPool, error) {
	var pool v1alpha1.IPPool
	object, err := l.Dynamic.Resource(poolResource).Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &pool)
	}
	if err != nil {
		return pool, fmt.Errorf("read IPPool %s: %w", name, err)
	}
	return pool, nil
}

// DeletePool removes an IPPool.
func (l *Lab) DeletePool(ctx context.Context, name string) error {
	if err := l.Dynamic.Resource(poolResource).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete IPPool %s: %w", name, err)
	}
	return nil
}
