package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Values of a BGPPeer whose fields are not set. An API server writes them into the object; readers
// of files apply them.
const (
	DefaultPeerPort        = 179             // RFC 4271 section 8.2.1
	DefaultHoldTime        = 9 * time.Second // with a keepalive each third of it
	DefaultConnectTime     = 30 * time.Second
	DefaultMaximumPrefixes = 1000
)

// BGPPeer is a router, or one router for each node, to which nodes announce the addresses of
// Services. kvip opens the sessions itself: it accepts no connections for BGP and uses no routes of
// a peer.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=bgppeers,singular=bgppeer,shortName=bgpp,categories=kvip
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.spec.peerAddress`
// +kubebuilder:printcolumn:name="ASN",type=integer,JSONPath=`.spec.peerASN`
// +kubebuilder:printcolumn:name="Sessions",type=string,JSONPath=`.status.sessions`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Interface",type=string,JSONPath=`.spec.interface`,priority=1
// +kubebuilder:printcolumn:name="Discovery",type=string,JSONPath=`.spec.autoDiscovery`,priority=1
// +kubebuilder:printcolumn:name="BFD",type=string,JSONPath=`.spec.bfdProfile`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BGPPeer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec BGPPeerSpec `json:"spec"`
	// Status is written by the kvip that allocates addresses.
	// +optional
	Status BGPPeerStatus `json:"status,omitempty"`
}

// BGPPeerSpec is how sessions with a peer are opened. A change of nodeSelectors, maximumPrefixes,
// nextHops, keepaliveTime, connectTime or bfdProfile keeps the sessions that stay; other changes
// reset the sessions of this peer only.
//
// ---
// B11 has the reason. B12: without its password or its TTL check there is no session.
//
// +kubebuilder:validation:XValidation:rule=`[has(self.peerAddress), has(self.interface), has(self.autoDiscovery)].exists_one(set, set)`,message="does not name one peer: set exactly one of peerAddress, interface and autoDiscovery"
// +kubebuilder:validation:XValidation:rule=`has(self.peerASN) != has(self.dynamicASN)`,message="does not have one autonomous system of the peer: set exactly one of peerASN and dynamicASN"
// +kubebuilder:validation:XValidation:rule=`!has(self.sourceAddress) || has(self.peerAddress)`,message="fits only peerAddress: remove sourceAddress, since with interface and autoDiscovery the node chooses it by the link",fieldPath=".sourceAddress"
// +kubebuilder:validation:XValidation:rule=`!has(self.sourceAddress) || !has(self.peerAddress) || !isIP(self.sourceAddress) || !isIP(self.peerAddress) || ip(self.sourceAddress).family() == ip(self.peerAddress).family()`,message="has another address family than peerAddress: write a sourceAddress of the family of peerAddress",fieldPath=".sourceAddress"
// +kubebuilder:validation:XValidation:rule=`!has(self.sourceAddress) || !has(self.peerAddress) || !isIP(self.sourceAddress) || !isIP(self.peerAddress) || ip(self.peerAddress).isLoopback() || !cidr(self.peerAddress + (ip(self.peerAddress).family() == 4 ? '/32' : '/128')).containsIP(self.sourceAddress)`,message="is peerAddress: write an address of the node here, and one of the router there",fieldPath=".sourceAddress"
// +kubebuilder:validation:XValidation:rule=`!has(self.ebgpMultiHop) || !self.ebgpMultiHop || !has(self.ttlSecurity) || !self.ttlSecurity`,message="excludes ebgpMultiHop: remove ttlSecurity, which expects the peer on the same link, or ebgpMultiHop",fieldPath=".ttlSecurity"
// +kubebuilder:validation:XValidation:rule=`!has(self.ebgpMultiHop) || !self.ebgpMultiHop || !(has(self.interface) || has(self.autoDiscovery))`,message="fits only peerAddress: remove ebgpMultiHop, since a peer found by interface or autoDiscovery is on the link",fieldPath=".ebgpMultiHop"
// +kubebuilder:validation:XValidation:rule=`!has(self.ebgpMultiHop) || !self.ebgpMultiHop || !(has(self.peerASN) && self.peerASN == self.myASN || has(self.dynamicASN) && self.dynamicASN == 'internal')`,message="fits only external peers: remove ebgpMultiHop, since sessions inside of one autonomous system may always cross routers",fieldPath=".ebgpMultiHop"
// +kubebuilder:validation:XValidation:rule=`!has(self.keepaliveTime) || !has(self.holdTime) || [self.keepaliveTime, self.holdTime].exists(d, d.size() == 0 || !d.matches('^([0-9]{1,2}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?$')) || duration(self.keepaliveTime).getSeconds() * 3 <= duration(self.holdTime).getSeconds()`,message="does not fit holdTime: set at most a third of holdTime (RFC 4271 section 4.4)",fieldPath=".keepaliveTime"
type BGPPeerSpec struct {
	// MyASN is the autonomous system of the nodes in this session.
	MyASN ASN `json:"myASN"`
	// PeerASN is the autonomous system that the peer must have. The same as myASN: an internal
	// session. Exactly one of peerASN and dynamicASN is set.
	// +optional
	PeerASN ASN `json:"peerASN,omitempty"`
	// DynamicASN accepts the autonomous system of the peer's OPEN: internal only myASN, external every
	// other one.
	// +optional
	DynamicASN DynamicASN `json:"dynamicASN,omitempty"`
	// PeerAddress is the IPv4 or IPv6 address of the peer. A loopback address is a speaker on the node
	// itself. Exactly one of peerAddress, interface and autoDiscovery is set.
	// +optional
	PeerAddress UnicastAddress `json:"peerAddress,omitempty"`
	// Interface is the link on which the peer is the only router: an unnumbered session over IPv6
	// link-local addresses. It announces both families, IPv4 addresses with IPv6 next hops (RFC 8950).
	// +optional
	Interface Interface `json:"interface,omitempty"`
	// AutoDiscovery finds the peer in each node. DefaultGateway: the next hop of the node's default
	// route, for each address family that has one.
	// +optional
	AutoDiscovery AutoDiscovery `json:"autoDiscovery,omitempty"`
	// SourceAddress is the address of the node from which it opens the session, of the family of
	// peerAddress. A node that does not have it has no session. Not set: as the route to the peer has
	// it.
	// +optional
	SourceAddress UnicastAddress `json:"sourceAddress,omitempty"`
	// PeerPort is the TCP port of the peer.
	// +optional
	// +kubebuilder:default=179
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	PeerPort int32 `json:"peerPort,omitempty"`
	// HoldTime is the proposed time without a message after which a session ends (RFC 4271 section
	// 4.2): whole seconds, from 3s to 65535s, as 9s or 1m30s. The lower proposal of the two sides
	// counts; kvip proposes at most 50s, since an address must outlive its routes. A session without a
	// time limit, as 0s proposes, would keep the routes of a dead node, and is refused.
	// +optional
	// +kubebuilder:default="9s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule=`self != '' && self.matches('^([0-9]{1,2}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?$') && duration(self).getSeconds() >= 3 && duration(self).getSeconds() <= 65535`,message="must be whole seconds from 3s to 65535s, as 9s or 1m30s (RFC 4271 section 4.2)"
	HoldTime *metav1.Duration `json:"holdTime,omitempty"`
	// KeepaliveTime is the time between two KEEPALIVE messages (RFC 4271 section 4.4): whole seconds,
	// at most a third of holdTime. Not set: a third of the agreed hold time.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule=`self != '' && self.matches('^([0-9]{1,2}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?$') && duration(self).getSeconds() >= 1`,message="must be whole seconds, at least 1s, as 3s or 1m30s"
	KeepaliveTime *metav1.Duration `json:"keepaliveTime,omitempty"`
	// ConnectTime is the longest wait between two attempts to connect: whole seconds, from 1s to
	// 65535s. The first wait is 1s; it grows with each attempt.
	// +optional
	// +kubebuilder:default="30s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule=`self != '' && self.matches('^([0-9]{1,2}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?$') && duration(self).getSeconds() >= 1 && duration(self).getSeconds() <= 65535`,message="must be whole seconds from 1s to 65535s, as 30s"
	ConnectTime *metav1.Duration `json:"connectTime,omitempty"`
	// RouterID is the BGP identifier of the node, written like an IPv4 address, and not 0.0.0.0 (RFC
	// 6286). Two nodes must not have the same: set it only if nodeSelectors choose one node. Not set:
	// the node's IPv4 address, else a hash of its name.
	// +optional
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule=`isIP(self) && ip(self).family() == 4 && self != '0.0.0.0'`,message="must be written like an IPv4 address, and not 0.0.0.0 (RFC 6286); leave it out for the node's own"
	RouterID string `json:"routerID,omitempty"`
	// NodeSelectors choose the nodes that have sessions with the peer: those to which any of the
	// selectors applies. None: every node.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	NodeSelectors []metav1.LabelSelector `json:"nodeSelectors,omitempty"`
	// PasswordSecret is a Secret of type kubernetes.io/basic-auth, whose password signs each segment
	// (TCP MD5, RFC 2385). Without the Secret there is no session.
	// +optional
	PasswordSecret *SecretReference `json:"passwordSecret,omitempty"`
	// BFDProfile is the name of the BFDProfile with the timers of BFD (RFC 5880). Not set: no BFD.
	// +optional
	BFDProfile ObjectName `json:"bfdProfile,omitempty"`
	// EnableGracefulRestart asks the peer to keep the routes while kvip restarts, for at most 30s
	// (RFC 4724). With BFD, some routers keep the routes of a dead node too. It never applies to the
	// address of the control plane.
	// +optional
	EnableGracefulRestart bool `json:"enableGracefulRestart,omitempty"`
	// EBGPMultiHop allows routers between the node and an external peer.
	// +optional
	EBGPMultiHop bool `json:"ebgpMultiHop,omitempty"`
	// TTLSecurity sends packets with a TTL of 255 and drops those of the peer that have less: no host
	// beyond the link can forge them (GTSM, RFC 5082). The peer must be configured alike.
	// +optional
	TTLSecurity bool `json:"ttlSecurity,omitempty"`
	// DualStackAddressFamily announces IPv4 and IPv6 addresses in one session (RFC 4760). Otherwise a
	// session has the family of its addresses; with interface it always has both.
	// +optional
	DualStackAddressFamily bool `json:"dualStackAddressFamily,omitempty"`
	// MaximumPrefixes is the most routes that a node announces in one session. It must be below the
	// limit of the router, which ends the session with all its routes. Routes beyond it are refused
	// and reported.
	// +optional
	// +kubebuilder:default=1000
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MaximumPrefixes int32 `json:"maximumPrefixes,omitempty"`
	// NextHops are announced instead of the node's own addresses. Set them only if nodeSelectors
	// choose nodes that are reached by them.
	// +optional
	NextHops *NextHops `json:"nextHops,omitempty"`
}

// NextHops are next hops of routes, by address family of the route.
//
// +kubebuilder:validation:MinProperties=1
type NextHops struct {
	// IPv4 is the next hop of IPv4 routes. Not set: the node's IPv4 address on the link of the
	// session, else its IPv6 address there if the peer can use it (RFC 8950).
	// +optional
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule=`isIP(self) && ip(self).family() == 4 && ip(self).isGlobalUnicast()`,message="must be an IPv4 address that the peer can reach; set ipv6 for IPv6 routes"
	IPv4 string `json:"ipv4,omitempty"`
	// IPv6 is the next hop of IPv6 routes. Not set: the node's IPv6 address on the link of the
	// session.
	// +optional
	// +kubebuilder:validation:MaxLength=39
	// +kubebuilder:validation:XValidation:rule=`isIP(self) && ip(self).family() == 6 && ip(self).isGlobalUnicast()`,message="must be an IPv6 address that the peer can reach, and not link-local; set ipv4 for IPv4 routes"
	IPv6 string `json:"ipv6,omitempty"`
}

// DynamicASN is which autonomous systems of a peer are accepted.
//
// +kubebuilder:validation:Enum=internal;external
type DynamicASN string

// The autonomous systems that are accepted.
const (
	InternalASN DynamicASN = "internal" // only myASN
	ExternalASN DynamicASN = "external" // every one but myASN
)

// AutoDiscovery is how a node finds its peer.
//
// +kubebuilder:validation:Enum=DefaultGateway
type AutoDiscovery string

// DefaultGateway finds the peers in the node's default routes.
const DefaultGateway AutoDiscovery = "DefaultGateway"

// BGPPeerStatus is what kvip sees of a peer.
type BGPPeerStatus struct {
	// ObservedGeneration is the metadata.generation that the rest speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Sessions is how many sessions with the peer are established, and of how many, as 2/3.
	// BGPNodeStates have each of them.
	// +optional
	// +kubebuilder:validation:MaxLength=21
	Sessions string `json:"sessions,omitempty"`
	// Conditions have the type Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// BGPPeerList is what an API server returns for a list.
//
// +kubebuilder:object:root=true
type BGPPeerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the peers.
	Items []BGPPeer `json:"items"`
}
