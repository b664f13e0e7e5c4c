package migrate

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubevip"
	"github.com/kvip/kvip/pkg/manifest"
)

// nextHopFile has the peers with a fixed next hop.
const nextHopFile = "/etc/kvip/bgp/peers.yaml"

// ofBGP returns the objects of a DaemonSet with BGP: for Services the peers, and what is announced
// to them.
func (w *workload) ofBGP(c *config.Config, s kubevip.Settings) ([]any, []kubevip.Note, error) {
	if s.BGP == nil {
		return nil, nil, nil
	}
	notes, err := setNextHopFile(c, s.BGP)
	if err != nil {
		return nil, nil, err
	}
	if w.daemonSet && c.BGPRouterID.IsValid() {
		c.BGPRouterID = netip.Addr{}
		notes = append(notes, kubevip.Note{Name: "bgp_routerid",
			Text: "all pods of a DaemonSet have the same; kvip uses the IPv4 address of each node"})
	}
	if !s.Services {
		return nil, notes, nil
	}
	notes = append(notes, kubevip.Note{Name: "svc_enable",
		Text: "write the addresses of Services as IPPools with announcement: BGP, and delete the " +
			"ConfigMap kubevip in kube-system: kvip announces its addresses by ARP. An address that a " +
			"Service requests must be in a pool"})
	objects, more, err := peerObjects(s.BGP)
	objects = append(objects, advertisement())
	return objects, append(notes, more...), err
}

// setNextHopFile moves the peers with a fixed next hop from the flags to a file, whose documents
// the notes have.
func setNextHopFile(c *config.Config, b *kubevip.BGP) ([]kubevip.Note, error) {
	if b == nil || len(c.VIPs) == 0 {
		return nil, nil
	}
	fixed := *b
	fixed.Peers = nil
	c.BGPPeers = nil
	for _, p := range b.Peers {
		if p.HasNextHops() {
			fixed.Peers = append(fixed.Peers, p)
		} else {
			c.BGPPeers = append(c.BGPPeers, p.BGPPeer)
		}
	}
	if len(fixed.Peers) == 0 {
		return nil, nil
	}
	c.BGPConfig = nextHopFile
	objects, notes, err := peerObjects(&fixed)
	if err != nil {
		return nil, err
	}
	for _, object := range objects {
		text, err := document(object)
		if err != nil {
			return nil, err
		}
		notes = append(notes, kubevip.Note{Name: "mpbgp_nexthop", Text: "write to " + nextHopFile +
			" on each node, as a document of its own between lines of ---: " + text})
	}
	return notes, nil
}

// document returns an object as one line of YAML, in flow style.
func document(object any) (string, error) {
	raw, err := json.Marshal(object)
	if err != nil {
		return "", err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return "", err
	}
	delete(fields, "status")
	raw, err = json.Marshal(fields)
	return string(raw), err
}

// advertisement announces each address of pools with announcement BGP to each peer.
func advertisement() *v1alpha1.BGPAdvertisement {
	ad := &v1alpha1.BGPAdvertisement{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	ad.APIVersion, ad.Kind = v1alpha1.GroupVersion().String(), v1alpha1.BGPAdvertisementKind
	return ad
}

// peerObjects returns a BGPPeer for each peer, and the BFDProfiles that they name.
func peerObjects(b *kubevip.BGP) (objects []any, notes []kubevip.Note, err error) {
	profiles := map[string]bool{}
	var peers []any
	for i, p := range b.Peers {
		name := fmt.Sprintf("router-%d", i+1)
		object, err := peerObject(name, b, p)
		if err != nil {
			return nil, nil, err
		}
		peers = append(peers, object)
		if object.Spec.PasswordSecret != nil {
			notes = append(notes, kubevip.Note{Name: "bgp_peers", Text: fmt.Sprintf(
				"BGPPeer %s: create the Secret %s of type kubernetes.io/basic-auth with the password of "+
					"%s in %s; without it there is no session", name, object.Spec.PasswordSecret.Name,
				p.Target(), manifest.ServiceAccountNamespace)})
		}
		if p.SourceInterface != "" {
			notes = append(notes, kubevip.Note{Name: "bgp_sourceif", Text: fmt.Sprintf(
				"BGPPeer %s has no source interface: the route to the router decides", name)})
		}
		if profile := string(object.Spec.BFDProfile); profile != "" && !profiles[profile] {
			profiles[profile] = true
			objects = append(objects, bfdProfile(profile, p))
		}
	}
	return slices.Concat(objects, peers), notes, nil
}

// peerObject returns the BGPPeer of a peer.
func peerObject(name string, b *kubevip.BGP, p kubevip.BGPPeer) (*v1alpha1.BGPPeer, error) {
	object := &v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: name}}
	object.APIVersion, object.Kind = v1alpha1.GroupVersion().String(), v1alpha1.BGPPeerKind
	spec := &object.Spec
	spec.MyASN, spec.PeerASN = v1alpha1.ASN(b.AS), v1alpha1.ASN(p.AS)
	spec.DynamicASN = v1alpha1.DynamicASN(p.ASType)
	spec.Interface, spec.PeerPort = v1alpha1.Interface(p.Interface), int32(p.Port)
	for _, as := range []v1alpha1.ASN{spec.MyASN, spec.PeerASN} {
		if as == 23456 || as == 65535 || as == 4294967295 {
			return nil, &kubevip.Error{Name: "bgp_peers", Problem: fmt.Sprintf(
				"%s: AS number %d is reserved, and a BGPPeer cannot have it", p.Target(), as)}
		}
	}
	if p.Address.Zone() != "" {
		return nil, &kubevip.Error{Name: "bgp_peers", Problem: fmt.Sprintf(
			"%s is link-local; write unnumbered:%s", p.Target(), p.Address.Zone())}
	}
	if p.Address.IsValid() {
		spec.PeerAddress = v1alpha1.UnicastAddress(p.Address.String())
	}
	if p.Source.IsValid() {
		spec.SourceAddress = v1alpha1.UnicastAddress(p.Source.String())
	}
	if b.HoldTime != 0 {
		spec.HoldTime = &metav1.Duration{Duration: b.HoldTime}
	}
	spec.EBGPMultiHop = p.Multihop != 0 && p.AS != b.AS && p.Interface == ""
	spec.DualStackAddressFamily = b.DualStack
	if p.PasswordFile != "" {
		spec.PasswordSecret = &v1alpha1.SecretReference{Name: v1alpha1.ObjectName("bgp-" + name)}
	}
	if p.BFDMultiplier != 0 {
		spec.BFDProfile = v1alpha1.ObjectName(strings.ToLower(
			fmt.Sprintf("bfd-%dms-%d", p.BFDInterval.Milliseconds(), p.BFDMultiplier)))
	}
	if p.HasNextHops() {
		spec.NextHops = &v1alpha1.NextHops{IPv4: textOf(p.NextHops[0]), IPv6: textOf(p.NextHops[1])}
	}
	return object, nil
}

// bfdProfile returns the BFDProfile of a peer.
func bfdProfile(name string, p kubevip.BGPPeer) *v1alpha1.BFDProfile {
	profile := &v1alpha1.BFDProfile{ObjectMeta: metav1.ObjectMeta{Name: name}}
	profile.APIVersion, profile.Kind = v1alpha1.GroupVersion().String(), v1alpha1.BFDProfileKind
	profile.Spec.TransmitInterval = int32(p.BFDInterval.Milliseconds())
	profile.Spec.ReceiveInterval = profile.Spec.TransmitInterval
	profile.Spec.DetectMultiplier = int32(p.BFDMultiplier)
	return profile
}

// textOf returns an address, "" for none.
func textOf(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	return addr.String()
}
