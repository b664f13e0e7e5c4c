package fakecluster

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
)

// BGPPath returns the path of an object of BGP, or of all of a kind if name is "".
func BGPPath(plural, name string) string {
	path := "/apis/kvip.dev/v1alpha1/" + plural
	if name != "" {
		path += "/" + name
	}
	return path
}

// SecretPath returns the path of a Secret in Namespace.
func SecretPath(name string) string {
	return "/api/v1/namespaces/" + Namespace + "/secrets/" + name
}

// PutPeer creates or replaces a BGPPeer with an address, and applies the changes.
func (e *Env) PutPeer(name, address string, changes ...func(*v1alpha1.BGPPeerSpec)) {
	e.T.Helper()
	p := &v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1}}
	p.Spec = v1alpha1.BGPPeerSpec{MyASN: 65010, PeerASN: 65000,
		PeerAddress: v1alpha1.UnicastAddress(address)}
	for _, change := range changes {
		change(&p.Spec)
	}
	e.Put(BGPPath(v1alpha1.BGPPeerPlural, name), p)
}

// PutAdvertisement creates or replaces a BGPAdvertisement, and applies the changes.
func (e *Env) PutAdvertisement(name string, changes ...func(*v1alpha1.BGPAdvertisementSpec)) {
	e.T.Helper()
	ad := &v1alpha1.BGPAdvertisement{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1}}
	for _, change := range changes {
		change(&ad.Spec)
	}
	e.Put(BGPPath(v1alpha1.BGPAdvertisementPlural, name), ad)
}

// PutProfile creates or replaces a BFDProfile with a multiplier.
func (e *Env) PutProfile(name string, multiplier int32) {
	e.T.Helper()
	p := &v1alpha1.BFDProfile{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1}}
	p.Spec.DetectMultiplier = multiplier
	e.Put(BGPPath(v1alpha1.BFDProfilePlural, name), p)
}

// PutSecret creates or replaces a Secret with a password in Namespace, and applies the changes.
func (e *Env) PutSecret(name, password string, changes ...func(*corev1.Secret)) {
	e.T.Helper()
	s := &corev1.Secret{Type: corev1.SecretTypeBasicAuth,
		Data: map[string][]byte{corev1.BasicAuthPasswordKey: []byte(password)}}
	for _, change := range changes {
		change(s)
	}
	e.Put(SecretPath(name), s)
}

// WithPassword names the Secret of a peer.
func WithPassword(secret string) func(*v1alpha1.BGPPeerSpec) {
	return func(s *v1alpha1.BGPPeerSpec) {
		s.PasswordSecret = &v1alpha1.SecretReference{Name: v1alpha1.ObjectName(secret)}
	}
}

// PutBGPPool creates or replaces an IPPool whose addresses are announced as given.
func (e *Env) PutBGPPool(name string, how v1alpha1.Announcement, addresses ...string) {
	e.T.Helper()
	p := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1,
		Labels: map[string]string{"pool": name}}}
	p.Spec.Announcement = how
	for _, a := range addresses {
		p.Spec.Addresses = append(p.Spec.Addresses, v1alpha1.Addresses(a))
	}
	e.Put("/apis/kvip.dev/v1alpha1/ippools/"+name, p)
}
