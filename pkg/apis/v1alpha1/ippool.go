package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// IPPool is a set of addresses that kvip gives to Services of type LoadBalancer.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=ippools,singular=ippool,shortName=ipp,categories=kvip
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.status.addresses`
// +kubebuilder:printcolumn:name="IPv4",type=string,JSONPath=`.status.ipv4`
// +kubebuilder:printcolumn:name="IPv6",type=string,JSONPath=`.status.ipv6`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Announcement",type=string,JSONPath=`.spec.announcement`,priority=1
// +kubebuilder:printcolumn:name="Conflicts",type=string,JSONPath=`.status.conflicts`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type IPPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec IPPoolSpec `json:"spec"`
	// Status is written by the kvip that gives the addresses out.
	// +optional
	Status IPPoolStatus `json:"status,omitempty"`
}

// IPPoolSpec says which addresses there are and who gets them. A change never takes an address away
// from a Service that has it.
type IPPoolSpec struct {
	// Addresses are networks (192.0.2.0/24), ranges (192.0.2.10-192.0.2.20) and single addresses, IPv4
	// and IPv6, without overlap. Other pools may have the same ones; the status then says so.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +listType=set
	// +kubebuilder:validation:XValidation:rule=`self.all(n, !isCIDR(n) || self.all(e, e == n || (isCIDR(e) ? !cidr(n).containsCIDR(e) : isIP(e) ? !cidr(n).containsIP(e) : e.indexOf('-') < 1 || ![e.substring(0, e.indexOf('-')), e.substring(e.indexOf('-') + 1)].exists(a, isIP(a) && cidr(n).containsIP(a)))))`,message="a network here contains another entry, or the end of a range; remove or narrow one of the two"
	Addresses []Addresses `json:"addresses"`
	// Namespaces are those whose Services may have these addresses. None: every namespace. A pool that
	// names a Service's namespace is used before one that names none.
	// +optional
	// +kubebuilder:validation:MaxItems=128
	// +listType=set
	Namespaces []Namespace `json:"namespaces,omitempty"`
	// AvoidBuggyIPs keeps back IPv4 addresses that end in .0 and .255, which some old devices drop.
	// +optional
	AvoidBuggyIPs bool `json:"avoidBuggyIPs,omitempty"`
	// AutoAssign set to false gives addresses only to Services that ask for the address or the pool.
	// +optional
	// +kubebuilder:default=true
	AutoAssign *bool `json:"autoAssign,omitempty"`
	// SearchOrder says which free address is given out first: the lowest or the highest.
	// +optional
	// +kubebuilder:default=Ascending
	SearchOrder SearchOrder `json:"searchOrder,omitempty"`
	// Sharing says which Services may have one address together, when their ports and protocols
	// differ: ByKey those that name the same sharing key, ByPort all that may use the pool.
	// +optional
	// +kubebuilder:default=ByKey
	Sharing Sharing `json:"sharing,omitempty"`
	// Announcement is how clients find the addresses. Layer2: one node answers ARP and neighbour
	// solicitations for an address. BGP: each eligible node announces the address to its routers, as
	// BGPPeers and BGPAdvertisements have it; such addresses must not be in a subnet of a node's link.
	// A change keeps the addresses of Services.
	// +optional
	// +kubebuilder:default=Layer2
	Announcement Announcement `json:"announcement,omitempty"`
}

// Addresses is one entry of a pool: a network, a range or one address.
//
// ---
// It is what ipam.ParseRange reads. The rules for one entry are cheap, as each may be looked at 128
// times; an API server refuses a definition whose rules might cost too much. What they do not see,
// such as an IPv6 range that is backwards or two ranges that overlap, is refused where the pool is
// used, and its condition Ready says so.
//
// +kubebuilder:validation:MaxLength=79
// +kubebuilder:validation:XValidation:rule=`isIP(self) || isCIDR(self) || (self.indexOf('-') > 0 && isIP(self.substring(0, self.indexOf('-'))) && isIP(self.substring(self.indexOf('-') + 1)))`,message="must be a network like 192.0.2.0/24, a range like 192.0.2.10-192.0.2.20, or one address, without spaces"
// +kubebuilder:validation:XValidation:rule=`!isCIDR(self) || cidr(self).masked() == cidr(self)`,message="has bits set beyond its prefix length; write the first address of the network, as 192.0.2.0/24 for 192.0.2.7/24, or one address without a prefix length"
// +kubebuilder:validation:XValidation:rule=`!(self.indexOf('-') > 0 && isIP(self.substring(0, self.indexOf('-'))) && isIP(self.substring(self.indexOf('-') + 1))) || ip(self.substring(0, self.indexOf('-'))).family() == ip(self.substring(self.indexOf('-') + 1)).family()`,message="begins in one address family and ends in the other; write one range for IPv4 and one for IPv6"
// +kubebuilder:validation:XValidation:rule=`!(self.indexOf('-') > 0 && isIP(self.substring(0, self.indexOf('-'))) && isIP(self.substring(self.indexOf('-') + 1))) || ip(self.substring(0, self.indexOf('-'))).family() != 4 || ip(self.substring(self.indexOf('-') + 1)).family() != 4 || [self.replace('-', '.').split('.').map(o, int(o))].all(o, ((o[0]*256+o[1])*256+o[2])*256+o[3] <= ((o[4]*256+o[5])*256+o[6])*256+o[7])`,message="is backwards; write the lower address first"
// +kubebuilder:validation:XValidation:rule=`isIP(self) ? ip(self).isGlobalUnicast() : isCIDR(self) ? cidr(self).ip().isGlobalUnicast() : !(self.indexOf('-') > 0 && isIP(self.substring(0, self.indexOf('-'))) && isIP(self.substring(self.indexOf('-') + 1))) || (ip(self.substring(0, self.indexOf('-'))).isGlobalUnicast() && ip(self.substring(self.indexOf('-') + 1)).isGlobalUnicast())`,message="is not for hosts: loopback, link-local, multicast and unspecified addresses cannot be announced; take addresses that clients can reach"
type Addresses string

// Namespace is the name of one.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="cannot name a namespace; use lower-case letters, digits and '-'"
type Namespace string

// SearchOrder is the order in which free addresses are given out.
//
// +kubebuilder:validation:Enum=Ascending;Descending
type SearchOrder string

// The orders.
const (
	Ascending  SearchOrder = "Ascending"  // lowest free address first
	Descending SearchOrder = "Descending" // highest free address first
)

// Sharing is who may have one address together.
//
// +kubebuilder:validation:Enum=ByKey;ByPort
type Sharing string

// The ways to share.
const (
	ByKey  Sharing = "ByKey"  // Services with the same sharing key
	ByPort Sharing = "ByPort" // all Services whose ports differ, without a key
)

// Announcement is how clients find the addresses of a pool.
//
// +kubebuilder:validation:Enum=Layer2;BGP
type Announcement string

// The ways to announce.
const (
	Layer2 Announcement = "Layer2" // ARP and neighbour discovery, by one node
	BGP    Announcement = "BGP"    // routes, by each eligible node
)
