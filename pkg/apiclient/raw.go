package apiclient

import (
	"encoding/json"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
)

// RawObject is an object of kvip.dev of which only the metadata is decoded. An API server may have
// objects that an older definition allowed: as a RawObject, one that cannot be decoded does not
// hold up the list and the watch of the others.
type RawObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   json.RawMessage `json:"spec,omitempty"`
	Status json.RawMessage `json:"status,omitempty"`
}

// DeepCopyObject implements runtime.Object.
func (o *RawObject) DeepCopyObject() runtime.Object {
	clone := o.deepCopy()
	return &clone
}

func (o *RawObject) deepCopy() RawObject {
	return RawObject{
		TypeMeta: o.TypeMeta, ObjectMeta: *o.ObjectMeta.DeepCopy(),
		Spec: slices.Clone(o.Spec), Status: slices.Clone(o.Status),
	}
}

// RawList is a list of objects of one kind.
type RawList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []RawObject `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (l *RawList) DeepCopyObject() runtime.Object {
	clone := &RawList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for i := range l.Items {
		clone.Items = append(clone.Items, l.Items[i].deepCopy())
	}
	return clone
}

// addRawToScheme lets the scheme decode the kinds of BGP as RawObjects.
func addRawToScheme(scheme *runtime.Scheme) error {
	version := v1alpha1.GroupVersion()
	for _, kind := range []string{
		v1alpha1.BGPPeerKind, v1alpha1.BGPAdvertisementKind, v1alpha1.BFDProfileKind,
		v1alpha1.BGPNodeStateKind,
	} {
		scheme.AddKnownTypeWithName(version.WithKind(kind), &RawObject{})
		scheme.AddKnownTypeWithName(version.WithKind(kind+"List"), &RawList{})
	}
	metav1.AddToGroupVersion(scheme, version)
	return nil
}
