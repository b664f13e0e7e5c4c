package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Values of a BFDProfile whose fields are not set.
const (
	DefaultBFDInterval   = 300 // milliseconds, both ways
	DefaultBFDMultiplier = 3
	DefaultBFDMinimumTTL = 254
)

// BFDProfile has the timers of BFD sessions (RFC 5880), asynchronous mode without authentication. A
// session with a peer on the link is of RFC 5881, one over several hops of RFC 5883.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=bfdprofiles,singular=bfdprofile,shortName=bfdp,categories=kvip
// +kubebuilder:printcolumn:name="Transmit",type=integer,JSONPath=`.spec.transmitInterval`
// +kubebuilder:printcolumn:name="Receive",type=integer,JSONPath=`.spec.receiveInterval`
// +kubebuilder:printcolumn:name="Multiplier",type=integer,JSONPath=`.spec.detectMultiplier`
// +kubebuilder:printcolumn:name="MinimumTTL",type=integer,JSONPath=`.spec.minimumTtl`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BFDProfile struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	// +kubebuilder:default={}
	Spec BFDProfileSpec `json:"spec,omitempty"`
}

// BFDProfileSpec has the timers. The failure of a peer is detected after its detect multiplier
// times the agreed interval of its packets, 0.9s by default. A change is negotiated in the running
// sessions.
type BFDProfileSpec struct {
	// ReceiveInterval is the lowest interval of the peer's packets that kvip accepts, in milliseconds
	// (RFC 5880 section 4.1, Required Min RX Interval).
	// +optional
	// +kubebuilder:default=300
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=60000
	ReceiveInterval int32 `json:"receiveInterval,omitempty"`
	// TransmitInterval is the lowest interval at which kvip sends, in milliseconds (RFC 5880 section
	// 4.1, Desired Min TX Interval). Until a session is up, kvip sends once a second.
	// +optional
	// +kubebuilder:default=300
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=60000
	TransmitInterval int32 `json:"transmitInterval,omitempty"`
	// DetectMultiplier is after how many of kvip's intervals without a packet the peer ends the
	// session.
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=255
	DetectMultiplier int32 `json:"detectMultiplier,omitempty"`
	// MinimumTTL is the lowest TTL, or hop limit, of a packet that is accepted from a peer over
	// several hops (RFC 5883). Packets of a peer on the link must have 255 (RFC 5881 section 5).
	// +optional
	// +kubebuilder:default=254
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=254
	MinimumTTL int32 `json:"minimumTtl,omitempty"`
}

// BFDProfileList is what an API server returns for a list.
//
// +kubebuilder:object:root=true
type BFDProfileList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the profiles.
	Items []BFDProfile `json:"items"`
}
