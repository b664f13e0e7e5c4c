package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ConditionReady is the type of the condition that reports whether kvip uses an object: whether the
// addresses of a pool are allocated, a peer has sessions, or an advertisement applies. False: the
// object is refused as it is, and the message names the entry and the fix.
const ConditionReady = "Ready"

// IPPoolStatus is what kvip sees of a pool.
type IPPoolStatus struct {
	// ObservedGeneration is the metadata.generation that the rest speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Size is the number of addresses that can be given out, in decimal: one of IPv6 may exceed every
	// number that JSON readers agree on.
	// +optional
	Size string `json:"size,omitempty"`
	// Addresses are those of the spec as one text.
	// +optional
	Addresses string `json:"addresses,omitempty"`
	// IPv4 is how many IPv4 addresses are given out, and of how many, as 4/16. Addresses of nodes and
	// of their subnets do not count: they are not allocated.
	// +optional
	IPv4 string `json:"ipv4,omitempty"`
	// IPv6 is the same of IPv6; a large number is a power of two, as 0/2^64.
	// +optional
	IPv6 string `json:"ipv6,omitempty"`
	// Used is how many of the addresses are given out. One that is shared counts once.
	// +optional
	Used int32 `json:"used"`
	// Conflicts name the other pools that have some of the same addresses, with the range. That is not
	// an error: an address is given out once, whichever pool it is taken from.
	// ---
	// S4 has the reason: one ledger for all pools.
	// +optional
	// +listType=atomic
	Conflicts []string `json:"conflicts,omitempty"`
	// Conditions have the type Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// IPPoolList is what an API server returns for a list.
//
// +kubebuilder:object:root=true
type IPPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the pools.
	Items []IPPool `json:"items"`
}
