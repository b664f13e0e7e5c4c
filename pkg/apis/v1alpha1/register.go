package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	// Group and Version are those of every type here, as in "apiVersion: kvip.dev/v1alpha1".
	Group, Version = "kvip.dev", "v1alpha1"
	// Kind is that of a pool, and Plural its name in URLs.
	Kind, Plural = "IPPool", "ippools"
)

// GroupVersion returns group and version as client-go wants them.
func GroupVersion() schema.GroupVersion { return schema.GroupVersion{Group: Group, Version: Version} }

// AddToScheme lets the scheme encode and decode the types here.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion(), &IPPool{}, &IPPoolList{})
	metav1.AddToGroupVersion(scheme, GroupVersion())
	return nil
}
