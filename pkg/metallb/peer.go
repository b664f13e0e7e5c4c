package metallb

import (
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/manifest"
)

// MetalLB's default of the hold time, which it uses with a keepalive time that is set.
const holdTime = 90 * time.Second

// peerSpec are the fields of a BGPPeer that have a counterpart.
type peerSpec struct {
	MyASN           int64                  `json:"myASN"`
	PeerASN         int64                  `json:"peerASN"`
	DynamicASN      string                 `json:"dynamicASN"`
	PeerAddress     string                 `json:"peerAddress"`
	Interface       string                 `json:"interface"`
	SourceAddress   string                 `json:"sourceAddress"`
	PeerPort        int64                  `json:"peerPort"`
	HoldTime        string                 `json:"holdTime"`
	KeepaliveTime   string                 `json:"keepaliveTime"`
	ConnectTime     string                 `json:"connectTime"`
	RouterID        string                 `json:"routerID"`
	NodeSelectors   []metav1.LabelSelector `json:"nodeSelectors"`
	Password        string                 `json:"password"`
	PasswordSecret  secretReference        `json:"passwordSecret"`
	BFDProfile      string                 `json:"bfdProfile"`
	GracefulRestart bool                   `json:"enableGracefulRestart"`
	EBGPMultiHop    bool                   `json:"ebgpMultiHop"`
	DualStack       bool                   `json:"dualStackAddressFamily"`
	DisableMP       bool                   `json:"disableMP"`
}

// secretReference names a Secret.
type secretReference struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// addPeer translates a BGPPeer.
func (m *migration) addPeer(o object) {
	var spec peerSpec
	if !m.decode(o, &spec) {
		return
	}
	peer := &v1alpha1.BGPPeer{TypeMeta: typeMeta(v1alpha1.BGPPeerKind),
		ObjectMeta: metav1.ObjectMeta{Name: o.name, Labels: o.labels}}
	to := &peer.Spec
	m.setSystems(o, spec, to)
	m.setAddresses(o, spec, to)
	m.setTimes(o, spec, to)
	m.number(o, "spec.peerPort", spec.PeerPort, 1, 65535)
	to.PeerPort = int32(spec.PeerPort)
	to.NodeSelectors = m.selectors(o, "spec.nodeSelectors", spec.NodeSelectors)
	m.setPassword(o, spec, to)
	if spec.BFDProfile != "" {
		if !isObjectName(spec.BFDProfile) {
			m.refuse(o, "spec.bfdProfile", "%q cannot name an object", spec.BFDProfile)
		}
		to.BFDProfile = v1alpha1.ObjectName(spec.BFDProfile)
	}
	to.EnableGracefulRestart = spec.GracefulRestart
	to.DualStackAddressFamily = spec.DualStack
	m.setMultihop(o, spec, to)
	m.output.peers = append(m.output.peers, peer)
}

// setSystems sets the autonomous systems.
func (m *migration) setSystems(o object, spec peerSpec, to *v1alpha1.BGPPeerSpec) {
	to.MyASN = m.asn(o, "spec.myASN", spec.MyASN)
	to.PeerASN = m.asn(o, "spec.peerASN", spec.PeerASN)
	to.DynamicASN = v1alpha1.DynamicASN(spec.DynamicASN)
	if spec.MyASN == 0 {
		m.refuse(o, "spec.myASN", "is missing")
	}
	switch to.DynamicASN {
	case "", v1alpha1.InternalASN, v1alpha1.ExternalASN:
	default:
		m.refuse(o, "spec.dynamicASN", "%q is neither internal nor external", spec.DynamicASN)
	}
	if (spec.PeerASN == 0) == (spec.DynamicASN == "") {
		m.refuse(o, "spec.peerASN", "exactly one of it and dynamicASN is required")
	}
}

// setAddresses sets the addresses of the session.
func (m *migration) setAddresses(o object, spec peerSpec, to *v1alpha1.BGPPeerSpec) {
	if (spec.PeerAddress == "") == (spec.Interface == "") {
		m.refuse(o, "spec.peerAddress", "exactly one of it and interface is required")
	}
	peer := m.address(o, "spec.peerAddress", spec.PeerAddress)
	source := m.address(o, "spec.sourceAddress", spec.SourceAddress)
	if peer.IsValid() {
		to.PeerAddress = v1alpha1.UnicastAddress(peer.String())
	}
	if source.IsValid() {
		to.SourceAddress = v1alpha1.UnicastAddress(source.String())
	}
	switch {
	case !source.IsValid():
	case spec.Interface != "":
		m.refuse(o, "spec.sourceAddress", "with interface the link decides; remove it")
	case peer.IsValid() && source.Is4() != peer.Is4():
		m.refuse(o, "spec.sourceAddress", "%s has another address family than peerAddress", source)
	case source == peer && !peer.IsLoopback():
		m.refuse(o, "spec.sourceAddress", "%s is peerAddress", source)
	}
	to.Interface = v1alpha1.Interface(spec.Interface)
	if (config.Config{Interface: spec.Interface}).Validate(config.Interface) != nil {
		m.refuse(o, "spec.interface", "%q cannot name a link", spec.Interface)
	}
	if spec.RouterID == "" {
		return
	}
	id, err := netip.ParseAddr(spec.RouterID)
	if err != nil || !id.Is4() || id.IsUnspecified() {
		m.refuse(o, "spec.routerID", "%q is not an IPv4 address other than 0.0.0.0", spec.RouterID)
	}
	to.RouterID = spec.RouterID
}

// setTimes sets the times of the session.
func (m *migration) setTimes(o object, spec peerSpec, to *v1alpha1.BGPPeerSpec) {
	const most = 65535 * time.Second
	if o.apiVersion == group+"/v1beta1" { // writes 0s for what is not set
		spec.HoldTime, spec.KeepaliveTime = unlessZero(spec.HoldTime), unlessZero(spec.KeepaliveTime)
	}
	to.HoldTime = m.duration(o, "spec.holdTime", spec.HoldTime, 3*time.Second, most)
	to.KeepaliveTime = m.duration(o, "spec.keepaliveTime", spec.KeepaliveTime, time.Second, most)
	to.ConnectTime = m.duration(o, "spec.connectTime", spec.ConnectTime, time.Second, most)
	if spec.HoldTime == "" {
		m.note(o, "spec.holdTime", "is not set; kvip proposes %s", v1alpha1.DefaultHoldTime)
		if to.KeepaliveTime != nil {
			to.HoldTime = &metav1.Duration{Duration: holdTime}
			m.notes[len(m.notes)-1].Text = "is not set; it is " + holdTime.String() +
				", the default of MetalLB, because keepaliveTime is set"
		}
	}
	if to.KeepaliveTime != nil && to.HoldTime != nil && 3*to.KeepaliveTime.Duration >
		to.HoldTime.Duration {
		m.note(o, "spec.keepaliveTime", "%s is more than a third of the hold time; kvip uses the third",
			to.KeepaliveTime.Duration)
		to.KeepaliveTime = nil
	}
}

// unlessZero returns a duration, "" for 0s.
func unlessZero(text string) string {
	if text == "0s" {
		return ""
	}
	return text
}

// setPassword refers to the Secret with the password.
func (m *migration) setPassword(o object, spec peerSpec, to *v1alpha1.BGPPeerSpec) {
	name := spec.PasswordSecret.Name
	const own = manifest.ServiceAccountNamespace
	switch {
	case spec.Password != "" && name != "":
		m.refuse(o, "spec.password", "is set together with passwordSecret; remove one of them")
	case spec.Password != "":
		name = "bgp-" + o.name
		if !isObjectName(name) {
			m.refuse(o, "metadata.name", "is too long for the name of a Secret")
			return
		}
		m.note(o, "spec.password", "create the Secret %s of type kubernetes.io/basic-auth in %s with "+
			"this password; without it there is no session", name, own)
	case name == "":
		return
	case !isObjectName(name):
		m.refuse(o, "spec.passwordSecret.name", "%q cannot name a Secret", name)
		return
	default:
		m.note(o, "spec.passwordSecret", "copy the Secret %s to %s; without it there is no session", name,
			own)
	}
	to.PasswordSecret = &v1alpha1.SecretReference{Name: v1alpha1.ObjectName(name)}
}

// setMultihop allows routers between the node and an external peer.
func (m *migration) setMultihop(o object, spec peerSpec, to *v1alpha1.BGPPeerSpec) {
	const field = "spec.ebgpMultiHop"
	switch internal := spec.PeerASN == spec.MyASN || to.DynamicASN == v1alpha1.InternalASN; {
	case !spec.EBGPMultiHop:
	case spec.Interface != "":
		m.refuse(o, field, "fits only peerAddress: the peer of an interface is on its link")
	case internal:
		m.note(o, field, "is left out: sessions inside of one autonomous system may cross routers")
	default:
		to.EBGPMultiHop = true
	}
}
