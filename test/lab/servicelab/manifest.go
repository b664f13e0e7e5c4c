package servicelab

import (
	"bytes"
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"
)

// Objects reads a manifest of one or more documents.
func Objects(manifest []byte) (list []*unstructured.Unstructured, err error) {
	for document := range bytes.SplitSeq(manifest, []byte("\n---\n")) {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, &object.Object); err != nil {
			return nil, fmt.Errorf("read manifest: %w", err)
		}
		list = append(list, object)
	}
	return list, nil
}

// Apply creates objects of any kinds, as kubectl would.
func (l *Lab) Apply(ctx context.Context, objects ...*unstructured.Unstructured) error {
	for _, o := range objects {
		client, err := l.resource(o)
		if err == nil {
			_, err = client.Create(ctx, o, metav1.CreateOptions{FieldManager: manager})
		}
		if err != nil {
			return fmt.Errorf("create %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

// Remove deletes objects that Apply has created.
func (l *Lab) Remove(ctx context.Context, objects ...*unstructured.Unstructured) error {
	for _, o := range objects {
		client, err := l.resource(o)
		if err == nil {
			err = missing(client.Delete(ctx, o.GetName(), metav1.DeleteOptions{}))
		}
		if err != nil {
			return fmt.Errorf("delete %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

func (l *Lab) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := o.GroupVersionKind()
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(l.Kube.Discovery()))
	mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	return l.Dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace()), nil
}
