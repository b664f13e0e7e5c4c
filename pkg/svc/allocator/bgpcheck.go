package allocator

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/bgp/objects"
	"github.com/kvip/kvip/pkg/bgp/policy"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

// Reasons of the condition of a BGPPeer and of a BGPAdvertisement, in addition to ipam.Malformed.
const (
	// ReasonUsable: the object is used as it is.
	ReasonUsable = "Usable"
	// ReasonTooMany: only the first svc.MaxBGPObjects of a kind are used.
	ReasonTooMany = "TooMany"
	// ReasonNoNode: the selectors select no node.
	ReasonNoNode = "NoNode"
	// ReasonProfileMissing: the BFDProfile of a peer does not exist.
	ReasonProfileMissing = "ProfileMissing"
	// ReasonPasswordMissing: the Secret of a peer has no password, or cannot be read.
	ReasonPasswordMissing = "PasswordMissing"
	// ReasonDuplicatePeer: a node would have two sessions with one router. The peer is used.
	ReasonDuplicatePeer = "DuplicatePeer"
	// ReasonNoPool: an advertisement selects no pool that is announced by BGP.
	ReasonNoPool = "NoPool"
	// ReasonNoPeer: an advertisement selects no peer.
	ReasonNoPeer = "NoPeer"
	// ReasonUnknownObject: an advertisement names pools or peers that do not exist, besides others. It
	// is used.
	ReasonUnknownObject = "UnknownObject"
)

// assessment is what a condition reports of an object.
type assessment struct {
	ready           bool
	reason, message string
}

// bgpCheck assesses BGPPeers and BGPAdvertisements.
type bgpCheck struct {
	bgp     svc.BGP
	nodes   []map[string]string // labels
	pools   []*svc.Pool
	peers   map[string]bool          // that exist
	routers map[string][]policy.Peer // the peers with a target, in the order of their check
	nodesOf map[string][]int         // indices of the nodes that a peer selects
}

func newBGPCheck(c *svc.Cache) *bgpCheck {
	check := &bgpCheck{
		bgp: c.BGP(), pools: c.Pools(), peers: map[string]bool{}, routers: map[string][]policy.Peer{},
		nodesOf: map[string][]int{},
	}
	all := c.Nodes()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		check.nodes = append(check.nodes, all[name].Labels)
	}
	for _, p := range c.BGPPeers() {
		check.peers[p.Name] = true
	}
	return check
}

// refuse returns the assessment of an object that is not used.
func refuse(reason, format string, args ...any) assessment {
	return assessment{reason: reason, message: svc.Brief(fmt.Sprintf(format, args...))}
}

// tooMany returns the assessment of an object that is not among the first ones.
func tooMany(kind string) assessment {
	return refuse(ReasonTooMany, "there are more than %d objects of kind %s, of which the first by "+
		"name are used: delete some", svc.MaxBGPObjects, kind)
}

// anyRouterID stands for that of the node: each node has its own.
var anyRouterID = netip.AddrFrom4([4]byte{192, 0, 2, 1})

// peer assesses the BGPPeer at an index of the cache. It returns false if its Secret was not read
// yet. Check the peers in their order.
func (c *bgpCheck) peer(index int, p *svc.BGPObject[v1alpha1.BGPPeer]) (assessment, bool) {
	switch {
	case index >= svc.MaxBGPObjects:
		return tooMany(v1alpha1.BGPPeerKind), true
	case p.Err != nil:
		return refuse(string(ipam.Malformed), "%v", p.Err), true
	}
	var passwordErr error
	sessions, err := objects.Peers(p.Value, objects.Environment{
		RouterID: anyRouterID, Profiles: c.bgp.Profiles,
		Password: func(ref v1alpha1.SecretReference) (string, error) {
			_, passwordErr = c.bgp.Password(ref)
			return "known to the nodes", passwordErr
		},
	})
	if err != nil {
		return refuse(string(ipam.Malformed), "%v", err), true
	}
	if name := p.Value.Spec.BFDProfile; name != "" {
		if _, exists := c.bgp.Profiles[string(name)]; !exists {
			return refuse(ReasonProfileMissing, "BGPPeer %s: there is no BFDProfile %s: create it, or "+
				"remove bfdProfile", p.Name, name), true
		}
	}
	if errors.Is(passwordErr, svc.ErrPasswordPending) {
		return assessment{}, false
	}
	if passwordErr != nil {
		return refuse(ReasonPasswordMissing, "BGPPeer %s: no session without its password: %v", p.Name,
			passwordErr), true
	}
	return c.peerNodes(p, sessions[0]), true
}

// peerNodes assesses a peer by the nodes that its selectors select.
func (c *bgpCheck) peerNodes(
	p *svc.BGPObject[v1alpha1.BGPPeer], session policy.Peer,
) assessment {
	selected := c.selectNodes(session.Nodes)
	if len(selected) == 0 {
		return refuse(ReasonNoNode, "BGPPeer %s: nodeSelectors select no node", p.Name)
	}
	c.nodesOf[p.Name] = selected
	router := target(p.Value.Spec)
	for _, other := range c.routers[router] {
		isSelected := func(node int) bool { return slices.Contains(selected, node) }
		sameNode := slices.ContainsFunc(c.nodesOf[other.Object], isSelected)
		if sameNode && other.SamePeer(session.PeerConfig) {
			return assessment{true, ReasonDuplicatePeer, fmt.Sprintf("BGPPeer %s has no session on some "+
				"nodes, where BGPPeer %s is the same router: delete one of the two", p.Name, other.Object)}
		}
	}
	c.routers[router] = append(c.routers[router], session)
	return assessment{true, ReasonUsable, "nodes open sessions with it"}
}

// target identifies the router of a peer, on one node.
func target(spec v1alpha1.BGPPeerSpec) string {
	if addr, err := netip.ParseAddr(string(spec.PeerAddress)); err == nil {
		return fmt.Sprintf("address %v port %d", addr.Unmap(), spec.PeerPort)
	}
	return fmt.Sprintf("interface %q discovery %q port %d", spec.Interface, spec.AutoDiscovery,
		spec.PeerPort)
}

// selectNodes returns the indices of the nodes that any of the selectors selects; without one all.
func (c *bgpCheck) selectNodes(selectors []policy.Selector) (selected []int) {
	for i, labels := range c.nodes {
		if len(selectors) == 0 || selectsAny(selectors, labels) {
			selected = append(selected, i)
		}
	}
	return selected
}

func selectsAny(selectors []policy.Selector, labels map[string]string) bool {
	return slices.ContainsFunc(selectors, func(s policy.Selector) bool { return s.Matches(labels) })
}

// advertisement assesses the BGPAdvertisement at an index of the cache. One that announces a pool
// to a peer is ready, also if it names other pools or peers that do not exist. It returns false if
// it is not known yet whether there is a peer.
func (c *bgpCheck) advertisement(
	index int, o *svc.BGPObject[v1alpha1.BGPAdvertisement], sessions *sessionCounts,
) (assessment, bool) {
	switch {
	case index >= svc.MaxBGPObjects:
		return tooMany(v1alpha1.BGPAdvertisementKind), true
	case o.Err != nil:
		return refuse(string(ipam.Malformed), "%v", o.Err), true
	}
	ad, err := objects.Advertisement(o.Value)
	if err != nil {
		return refuse(string(ipam.Malformed), "%v", err), true
	}
	if problem := c.selectPools(ad); problem != "" {
		return refuse(ReasonNoPool, "BGPAdvertisement %s: %s", ad.Name, problem), true
	}
	if len(c.peers) == 0 && len(ad.Peers) == 0 { // the control plane may have peers (--bgp-peer)
		if exist, known := sessions.exist(); !known || !exist {
			return refuse(ReasonNoPeer, "BGPAdvertisement %s: there is no BGPPeer: create one", ad.Name),
				known
		}
	}
	return c.advertisementTargets(ad), true
}

// advertisementTargets assesses an advertisement by the pools, peers and nodes that it names.
func (c *bgpCheck) advertisementTargets(ad policy.Advertisement) assessment {
	unknownPools, unknownPeers := c.unknownPools(ad), c.unknownPeers(ad)
	switch {
	case len(ad.Peers) > 0 && len(unknownPeers) == len(ad.Peers):
		return refuse(ReasonNoPeer, "BGPAdvertisement %s: there is no BGPPeer %s", ad.Name,
			strings.Join(unknownPeers, ", "))
	case len(c.selectNodes(ad.Nodes)) == 0:
		return refuse(ReasonNoNode, "BGPAdvertisement %s: nodeSelectors select no node", ad.Name)
	}
	var missing []string
	if len(unknownPools) > 0 {
		missing = append(missing, "no IPPool "+strings.Join(unknownPools, ", "))
	}
	if len(unknownPeers) > 0 {
		missing = append(missing, "no BGPPeer "+strings.Join(unknownPeers, ", "))
	}
	if len(missing) > 0 {
		return assessment{true, ReasonUnknownObject, svc.Brief(fmt.Sprintf("BGPAdvertisement %s: it is "+
			"used for the others, but there is %s", ad.Name, strings.Join(missing, ", and ")))}
	}
	return assessment{true, ReasonUsable, "addresses are announced by it"}
}

// selectPools returns why the advertisement selects no pool that is announced by BGP, or "".
func (c *bgpCheck) selectPools(ad policy.Advertisement) string {
	every := len(ad.Pools) == 0 && len(ad.PoolSelectors) == 0
	var layer2 []string
	for _, p := range c.pools {
		name := p.ObjectMeta.Name
		switch selected := every || slices.Contains(ad.Pools, name) ||
			selectsAny(ad.PoolSelectors, p.Labels); {
		case selected && p.Announcement == v1alpha1.BGP:
			return ""
		case selected:
			layer2 = append(layer2, name)
		}
	}
	switch unknown := c.unknownPools(ad); {
	case every:
		return "no IPPool has the announcement BGP: set it in spec.announcement of a pool"
	case len(layer2) > 0:
		return fmt.Sprintf("IPPool %s is announced by Layer2: set its spec.announcement to BGP",
			strings.Join(layer2, ", "))
	case len(unknown) > 0:
		return "there is no IPPool " + strings.Join(unknown, ", ")
	}
	return "ipAddressPoolSelectors select no IPPool"
}

// unknownPools returns the pools that the advertisement names and that do not exist.
func (c *bgpCheck) unknownPools(ad policy.Advertisement) []string {
	return slices.DeleteFunc(slices.Clone(ad.Pools), func(name string) bool {
		return slices.ContainsFunc(c.pools, func(p *svc.Pool) bool { return p.ObjectMeta.Name == name })
	})
}

// unknownPeers returns the peers that the advertisement names and that do not exist.
func (c *bgpCheck) unknownPeers(ad policy.Advertisement) []string {
	return slices.DeleteFunc(slices.Clone(ad.Peers), func(name string) bool { return c.peers[name] })
}
