package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Values of a BGPAdvertisement whose fields are not set.
const (
	DefaultAggregationLength   = 32
	DefaultAggregationLengthV6 = 128
)

// BGPAdvertisement is which addresses of Services nodes announce to which peers, and with which path
// attributes. An address without an advertisement is not announced. If several apply to an address,
// its routes have the communities of all, and each other attribute of the first one by name that
// sets it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=bgpadvertisements,singular=bgpadvertisement,shortName=bgpadv,categories=kvip
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Pools",type=string,JSONPath=`.spec.ipAddressPools`
// +kubebuilder:printcolumn:name="Peers",type=string,JSONPath=`.spec.peers`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Communities",type=string,JSONPath=`.spec.communities`,priority=1
// +kubebuilder:printcolumn:name="LocalPref",type=integer,JSONPath=`.spec.localPref`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BGPAdvertisement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	// +kubebuilder:default={}
	Spec BGPAdvertisementSpec `json:"spec,omitempty"`
	// Status is written by the kvip that allocates addresses.
	// +optional
	Status BGPAdvertisementStatus `json:"status,omitempty"`
}

// BGPAdvertisementSpec chooses addresses, nodes and peers, and sets the path attributes of the
// routes. An empty one announces every address of pools whose announcement is BGP, from every
// eligible node to every peer. A change sends updates; sessions stay.
type BGPAdvertisementSpec struct {
	// IPAddressPools are the names of the IPPools whose addresses are announced, besides those that
	// ipAddressPoolSelectors choose. Neither set: every pool whose announcement is BGP.
	// +optional
	// +kubebuilder:validation:MaxItems=128
	// +listType=set
	IPAddressPools []ObjectName `json:"ipAddressPools,omitempty"`
	// IPAddressPoolSelectors choose further IPPools, by labels: those to which any of the selectors
	// applies.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	IPAddressPoolSelectors []metav1.LabelSelector `json:"ipAddressPoolSelectors,omitempty"`
	// ServiceSelectors choose the Services whose addresses are announced: those to which any of the
	// selectors applies. None: every Service.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	ServiceSelectors []metav1.LabelSelector `json:"serviceSelectors,omitempty"`
	// NodeSelectors choose the nodes that announce: those to which any of the selectors applies. None:
	// every node that is eligible for the Service.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	NodeSelectors []metav1.LabelSelector `json:"nodeSelectors,omitempty"`
	// Peers are the names of the BGPPeers to which the addresses are announced. None: every peer.
	// +optional
	// +kubebuilder:validation:MaxItems=128
	// +listType=set
	Peers []ObjectName `json:"peers,omitempty"`
	// Communities of the routes: standard ones as 65000:1 (RFC 1997), large ones as large:65000:1:2
	// (RFC 8092), and the names of well-known ones.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	Communities []Community `json:"communities,omitempty"`
	// LocalPref is the LOCAL_PREF of the routes in internal sessions (RFC 4271 section 5.1.5): the
	// path with the highest one wins. Not set: 100. External sessions do not have it.
	// +optional
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	LocalPref *uint32 `json:"localPref,omitempty"`
	// MED is the MULTI_EXIT_DISC of the routes (RFC 4271 section 5.1.4): among the paths of one
	// autonomous system the lowest one wins. Not set: the routes do not have it.
	// +optional
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	MED *uint32 `json:"med,omitempty"`
	// ASPathPrepend is how many times more myASN is in the AS_PATH of the routes: other paths win.
	// kvip itself prepends three more on a node that is about to leave or is not ready.
	// ---
	// B5 has the reason.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	ASPathPrepend int32 `json:"asPathPrepend,omitempty"`
	// AggregationLength is the prefix length of the IPv4 routes: below 32, the addresses of one
	// network of that length are announced as one route. A length below that of the pool attracts
	// the traffic of other networks, which is not checked.
	// +optional
	// +kubebuilder:default=32
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=32
	AggregationLength *int32 `json:"aggregationLength,omitempty"`
	// AggregationLengthV6 is the same of IPv6 routes.
	// +optional
	// +kubebuilder:default=128
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=128
	AggregationLengthV6 *int32 `json:"aggregationLengthV6,omitempty"`
	// WithdrawWithoutEndpoints withdraws the address of a Service that has no ready endpoint on any
	// node. Otherwise it stays announced, and clients are refused at once. With externalTrafficPolicy
	// Local, a node without a ready endpoint never announces.
	// +optional
	WithdrawWithoutEndpoints bool `json:"withdrawWithoutEndpoints,omitempty"`
}

// Community is one community of a route: a standard one as 65000:1, a large one as large:65000:1:2,
// or the name of a well-known one.
//
// +kubebuilder:validation:MaxLength=38
// +kubebuilder:validation:XValidation:rule=`self in ['no-export', 'no-advertise', 'no-export-subconfed', 'no-peer', 'graceful-shutdown', 'gshut', 'blackhole'] || self.matches('^(0|[1-9][0-9]{0,4}):(0|[1-9][0-9]{0,4})$') && self.split(':').all(n, int(n) <= 65535) || self.matches('^large(:(0|[1-9][0-9]{0,9})){3}$') && self.substring(6).split(':').all(n, int(n) <= 4294967295)`,message="is no community: write a standard one like 65000:1 (each number up to 65535), a large one like large:65000:1:2 (each up to 4294967295), or no-export, no-advertise, no-export-subconfed, no-peer, graceful-shutdown, gshut or blackhole"
type Community string

// The well-known communities that have a name, with their values.
const (
	CommunityNoExport          Community = "no-export"           // 65535:65281, RFC 1997
	CommunityNoAdvertise       Community = "no-advertise"        // 65535:65282, RFC 1997
	CommunityNoExportSubconfed Community = "no-export-subconfed" // 65535:65283, RFC 1997
	CommunityNoPeer            Community = "no-peer"             // 65535:65284, RFC 3765
	CommunityGracefulShutdown  Community = "graceful-shutdown"   // 65535:0, RFC 8326
	CommunityGShut             Community = "gshut"               // the same, as many routers have it
	CommunityBlackhole         Community = "blackhole"           // 65535:666, RFC 7999
)

// BGPAdvertisementStatus is what kvip sees of an advertisement.
type BGPAdvertisementStatus struct {
	// ObservedGeneration is the metadata.generation that the rest speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions have the type Ready. False: it selects no pool or no peer, or is not valid.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// BGPAdvertisementList is what an API server returns for a list.
//
// +kubebuilder:object:root=true
type BGPAdvertisementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the advertisements.
	Items []BGPAdvertisement `json:"items"`
}
