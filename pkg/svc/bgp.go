package svc

import (
	"context"
	"sync"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/apis/v1alpha1"
)

// MaxBGPObjects is how many objects of one kind of BGP are used: the first ones by name.
const MaxBGPObjects = 256

// BGP has the objects of BGP that are used. Their content is shared with the Cache: do not change
// what they point to. Objects that cannot be decoded, and those beyond MaxBGPObjects, are left out;
// the allocator reports them.
type BGP struct {
	// Peers and Advertisements are sorted by name.
	Peers          []v1alpha1.BGPPeer
	Advertisements []v1alpha1.BGPAdvertisement
	// Profiles are by name.
	Profiles map[string]v1alpha1.BFDProfile
	// Passwords are those of the Secrets that Peers name, by the references as they are written.
	Passwords map[v1alpha1.SecretReference]Password
	// Synced reports that all objects were read once, or cannot be read, as their definition or the
	// right is missing: then there are none. A Password reports separately that it was not read yet.
	Synced bool
}

// Password returns the password of a Secret that a peer names, or why there is none: never an empty
// one (B12).
func (b BGP) Password(ref v1alpha1.SecretReference) (string, error) {
	return b.Passwords[ref].Reveal()
}

// bgpStores are the stores of the objects of BGP. Nothing else waits for them.
type bgpStores struct {
	peers          *store[*BGPObject[v1alpha1.BGPPeer]]
	advertisements *store[*BGPObject[v1alpha1.BGPAdvertisement]]
	profiles       *store[*BGPObject[v1alpha1.BFDProfile]]
	passwords      *passwordStores
}

func newBGPStores(c *Cache) bgpStores {
	b := bgpStores{
		peers:          newStore(c, listBGP(v1alpha1.BGPPeerPlural), decoder(readPeer)),
		advertisements: newStore(c, listBGP(v1alpha1.BGPAdvertisementPlural), decoder(readAdvertisement)),
		profiles:       newStore(c, listBGP(v1alpha1.BFDProfilePlural), decoder(readProfile)),
		passwords:      newPasswordStores(c),
	}
	b.peers.same = sameBGPObject[v1alpha1.BGPPeer]
	b.advertisements.same = sameBGPObject[v1alpha1.BGPAdvertisement]
	b.profiles.same = sameBGPObject[v1alpha1.BFDProfile]
	notify := b.peers.changed
	b.peers.changed = func() {
		b.passwords.wake.Notify()
		notify()
	}
	return b
}

// run lists and watches until ctx ends.
func (b bgpStores) run(ctx context.Context, router *apiclient.Router) {
	var group sync.WaitGroup
	for _, run := range []func(context.Context, *apiclient.Router){
		b.peers.run, b.advertisements.run, b.profiles.run,
	} {
		group.Go(func() { run(ctx, router) })
	}
	b.passwords.run(ctx, router, b.references)
	group.Wait()
}

// references returns the references to Secrets of the peers that are used.
func (b bgpStores) references() (all []v1alpha1.SecretReference) {
	for _, p := range usedBGP(b.peers) {
		if ref := p.Spec.PasswordSecret; ref != nil {
			all = append(all, *ref)
		}
	}
	return all
}

// BGP returns the objects of BGP that are used.
func (c *Cache) BGP() BGP {
	result := BGP{
		Peers: usedBGP(c.bgp.peers), Advertisements: usedBGP(c.bgp.advertisements),
		Profiles:  map[string]v1alpha1.BFDProfile{},
		Passwords: map[v1alpha1.SecretReference]Password{}, Synced: true,
	}
	for _, p := range usedBGP(c.bgp.profiles) {
		result.Profiles[p.Name] = p
	}
	for _, ref := range c.bgp.references() {
		result.Passwords[ref] = c.bgp.passwords.password(ref)
	}
	for _, s := range []storeState{
		c.bgp.peers.state(), c.bgp.advertisements.state(), c.bgp.profiles.state(),
	} {
		result.Synced = result.Synced && (s.synced || s.absent)
	}
	return result
}

// BGPPeers returns all BGPPeers sorted by name, also those that are not used.
func (c *Cache) BGPPeers() []*BGPObject[v1alpha1.BGPPeer] { return sortedBGP(c.bgp.peers) }

// BGPAdvertisements returns all BGPAdvertisements sorted by name, also those that are not used.
func (c *Cache) BGPAdvertisements() []*BGPObject[v1alpha1.BGPAdvertisement] {
	return sortedBGP(c.bgp.advertisements)
}

// sortedBGP returns all objects sorted by name.
func sortedBGP[T any](s *store[*BGPObject[T]]) []*BGPObject[T] {
	return sorted(s.all(), func(o *BGPObject[T]) string { return o.Name })
}

// usedBGP returns the objects that are used, sorted by name.
func usedBGP[T any](s *store[*BGPObject[T]]) (used []T) {
	for _, o := range first(sortedBGP(s), MaxBGPObjects) {
		if o.Err == nil {
			used = append(used, o.Value)
		}
	}
	return used
}
