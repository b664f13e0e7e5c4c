package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Limits of a BGPNodeState. Its writer shortens what exceeds them: an API server refuses the object
// otherwise.
const (
	MaxNodeSessions = 64
	MaxReasonLength = 512 // characters; a shutdown communication has 255 octets (RFC 9003)
)

// BGPNodeState is what one node sees of its BGP sessions. It has the name of the node. The agent of
// the node writes it when a session changes, at most every 5s; it describes the last write, also if
// the agent is gone since.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=bgpnodestates,singular=bgpnodestate,shortName=bgpns,categories=kvip
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Sessions",type=string,JSONPath=`.status.sessionsUp`
// +kubebuilder:printcolumn:name="Routes",type=integer,JSONPath=`.status.routes`
// +kubebuilder:printcolumn:name="Refused",type=integer,JSONPath=`.status.routesRefused`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BGPNodeState struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Status is written by the agent of the node.
	// +optional
	Status BGPNodeStateStatus `json:"status,omitempty"`
}

// BGPNodeStateStatus has the sessions of a node.
type BGPNodeStateStatus struct {
	// SessionsUp is how many sessions are established, and of how many, as 2/2.
	// +optional
	// +kubebuilder:validation:MaxLength=21
	SessionsUp string `json:"sessionsUp,omitempty"`
	// Routes is how many different prefixes the node announces to any peer.
	// +optional
	Routes int32 `json:"routes"`
	// RoutesRefused is how many prefixes are not announced to a peer because of its maximumPrefixes,
	// summed over the sessions.
	// +optional
	RoutesRefused int32 `json:"routesRefused,omitempty"`
	// Sessions are those that the node has or tries to open, in the order of peer and address.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	Sessions []BGPSession `json:"sessions,omitempty"`
}

// BGPSession is one session of a node.
type BGPSession struct {
	// Peer is the name of the BGPPeer, or the value of the flag --bgp-peer without its options.
	// +kubebuilder:validation:MaxLength=253
	Peer string `json:"peer"`
	// Address is the address of the peer, with its zone if it is link-local. Not set: not found yet.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Address string `json:"address,omitempty"`
	// Interface is the link of an unnumbered session.
	// +optional
	// +kubebuilder:validation:MaxLength=15
	Interface string `json:"interface,omitempty"`
	// LocalASN is the autonomous system of the node in the session.
	// +optional
	// +kubebuilder:validation:Format=int64
	LocalASN uint32 `json:"localASN,omitempty"`
	// PeerASN is the autonomous system of the peer. Not set: not known before its first OPEN.
	// +optional
	// +kubebuilder:validation:Format=int64
	PeerASN uint32 `json:"peerASN,omitempty"`
	// State is the state of the session (RFC 4271 section 8.2.2).
	State SessionState `json:"state"`
	// Since is when the state changed the last time.
	Since metav1.Time `json:"since"`
	// Reason is why the last session ended, or why the last attempt failed, in words.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Reason string `json:"reason,omitempty"`
	// HoldTime is the agreed hold time. Not set: the session is not established.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	HoldTime *metav1.Duration `json:"holdTime,omitempty"`
	// Families are the agreed address families. None: the session is not established.
	// +optional
	// +kubebuilder:validation:MaxItems=2
	// +listType=map
	// +listMapKey=family
	Families []SessionFamily `json:"families,omitempty"`
	// RoutesRefused is how many prefixes are not announced because of maximumPrefixes.
	// +optional
	RoutesRefused int32 `json:"routesRefused,omitempty"`
	// BFD is the BFD session with the peer. Not set: the peer has no BFD.
	// +optional
	BFD *BFDSession `json:"bfd,omitempty"`
}

// SessionFamily is one address family of a session.
type SessionFamily struct {
	// Family is the address family of the routes.
	Family AddressFamily `json:"family"`
	// NextHop is the next hop of the routes.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	NextHop string `json:"nextHop,omitempty"`
	// Routes is how many routes the node announces.
	Routes int32 `json:"routes"`
}

// BFDSession is the state of a BFD session.
type BFDSession struct {
	// State is the state of the session (RFC 5880 section 4.1).
	State BFDState `json:"state"`
	// Diagnostic is why the last session ended, in words (RFC 5880 section 4.1).
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Diagnostic string `json:"diagnostic,omitempty"`
	// TransmitInterval is the agreed interval of the node's packets, in milliseconds.
	// +optional
	TransmitInterval int32 `json:"transmitInterval,omitempty"`
	// ReceiveInterval is the agreed interval of the peer's packets, in milliseconds.
	// +optional
	ReceiveInterval int32 `json:"receiveInterval,omitempty"`
	// DetectionTime is the time without a packet after which the session ends, in milliseconds (RFC
	// 5880 section 6.8.4).
	// +optional
	DetectionTime int32 `json:"detectionTime,omitempty"`
}

// SessionState is the state of a BGP session.
//
// +kubebuilder:validation:Enum=Idle;Connect;Active;OpenSent;OpenConfirm;Established
type SessionState string

// The states of RFC 4271 section 8.2.2.
const (
	SessionIdle        SessionState = "Idle"
	SessionConnect     SessionState = "Connect"
	SessionActive      SessionState = "Active"
	SessionOpenSent    SessionState = "OpenSent"
	SessionOpenConfirm SessionState = "OpenConfirm"
	SessionEstablished SessionState = "Established"
)

// BFDState is the state of a BFD session.
//
// +kubebuilder:validation:Enum=AdminDown;Down;Init;Up
type BFDState string

// The states of RFC 5880 section 4.1.
const (
	BFDAdminDown BFDState = "AdminDown"
	BFDDown      BFDState = "Down"
	BFDInit      BFDState = "Init"
	BFDUp        BFDState = "Up"
)

// AddressFamily is a family of addresses.
//
// +kubebuilder:validation:Enum=IPv4;IPv6
type AddressFamily string

// The families.
const (
	IPv4 AddressFamily = "IPv4"
	IPv6 AddressFamily = "IPv6"
)

// BGPNodeStateList is what an API server returns for a list.
//
// +kubebuilder:object:root=true
type BGPNodeStateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the nodes' states.
	Items []BGPNodeState `json:"items"`
}
