package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	// Group is the API group of every type here.
	Group = "kvip.dev"
	// Version is the version of every type here.
	Version = "v1alpha1"
	// Kind is the kind of a pool.
	Kind = "IPPool"
	// Plural is the name of pools in URLs.
	Plural = "ippools"
)

// The kinds of BGP, and their names in URLs.
const (
	BGPPeerKind   = "BGPPeer"
	BGPPeerPlural = "bgppeers"

	BGPAdvertisementKind   = "BGPAdvertisement"
	BGPAdvertisementPlural = "bgpadvertisements"

	BFDProfileKind   = "BFDProfile"
	BFDProfilePlural = "bfdprofiles"

	BGPNodeStateKind   = "BGPNodeState"
	BGPNodeStatePlural = "bgpnodestates"
)

// GroupVersion returns group and version as client-go wants them.
func GroupVersion() schema.GroupVersion { return schema.GroupVersion{Group: Group, Version: Version} }

// AddToScheme lets the scheme encode and decode the types here.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion(),
		&IPPool{}, &IPPoolList{},
		&BGPPeer{}, &BGPPeerList{},
		&BGPAdvertisement{}, &BGPAdvertisementList{},
		&BFDProfile{}, &BFDProfileList{},
		&BGPNodeState{}, &BGPNodeStateList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion())
	return nil
}
