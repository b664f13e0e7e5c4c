package metallb

import "slices"

// The kinds of MetalLB that are translated.
const (
	kindPool       = "IPAddressPool"
	kindL2         = "L2Advertisement"
	kindBGP        = "BGPAdvertisement"
	kindPeer       = "BGPPeer"
	kindBFDProfile = "BFDProfile"
	kindCommunity  = "Community"
)

// Field is one row of the table of fields.
type Field struct {
	// Kind and Name are MetalLB's. Name is a path below spec.
	Kind, Name string
	// Refused reports that kvip has no counterpart: the objects are not translated. A value that is
	// empty or false is not refused.
	Refused bool
	// Meaning is what becomes of the field, or the reason and what to do.
	Meaning string
}

// Fields returns the table, in the order of the documentation.
func Fields() []Field { return slices.Clone(fields) }

// Texts of several rows.
const (
	same        = "the same field"
	wholePool   = "a pool that the advertisement selects has "
	noSelectors = "a pool of kvip has a list of namespaces; write `namespaces`"
)

var fields = []Field{
	{kindPool, "addresses", false,
		"`addresses` of an IPPool; a network with bits beyond its length is written without them"},
	{kindPool, "autoAssign", false, same},
	{kindPool, "avoidBuggyIPs", false, same},
	{kindPool, "serviceAllocation.namespaces", false, "`namespaces`"},
	{kindPool, "serviceAllocation.priority", true,
		"kvip uses a pool that names the namespace of the Service first, and has no other order"},
	{kindPool, "serviceAllocation.namespaceSelectors", true, noSelectors},
	{kindPool, "serviceAllocation.serviceSelectors", true,
		"kvip chooses no pool by labels of Services; let those Services have annotation `kvip.dev/pool`"},

	{kindL2, "ipAddressPools", false, wholePool + "`announcement: Layer2`. *Refused* if a " +
		"BGPAdvertisement selects the pool too"},
	{kindL2, "ipAddressPoolSelectors", false, "as `ipAddressPools`"},
	{kindL2, "interfaces", false, "`--services-interface`, which a note names. *Refused* unless " +
		"every L2Advertisement has the same one interface"},
	{kindL2, "nodeSelectors", true, "each eligible node may announce; label the others " +
		"node.kubernetes.io/exclude-from-external-load-balancers, or run kvip on these nodes only"},
	{kindL2, "serviceSelectors", true, "an IPPool is announced in one way; let those Services have " +
		"a pool of their own"},

	{kindBGP, "ipAddressPools", false, same + "; " + wholePool + "`announcement: BGP`"},
	{kindBGP, "ipAddressPoolSelectors", false, same + ", with the labels of the pools"},
	{kindBGP, "serviceSelectors", false, same},
	{kindBGP, "nodeSelectors", false, same},
	{kindBGP, "peers", false, same},
	{kindBGP, "communities", false,
		same + ". The name of a Community becomes its value. *Refused* if it has no value"},
	{kindBGP, "localPref", false, same + "; 0 is not set"},
	{kindBGP, "aggregationLength", false, same},
	{kindBGP, "aggregationLengthV6", false, same},

	{kindPeer, "myASN", false, same},
	{kindPeer, "peerASN", false, same},
	{kindPeer, "dynamicASN", false, same},
	{kindPeer, "peerAddress", false, same},
	{kindPeer, "interface", false, same},
	{kindPeer, "sourceAddress", false, same},
	{kindPeer, "peerPort", false, same},
	{kindPeer, "holdTime", false, same + "; not set: 9s, where MetalLB has 90s, or 180s with FRR. " +
		"*Refused* if it is 0s: the routes of a dead node would stay"},
	{kindPeer, "keepaliveTime", false,
		same + "; above a third of the hold time it is that third, and a note names it"},
	{kindPeer, "connectTime", false, same},
	{kindPeer, "routerID", false, same},
	{kindPeer, "nodeSelectors", false, same + ", of v1beta1 and v1beta2"},
	{kindPeer, "password", false, "`passwordSecret`; a note names the Secret to create. No output " +
		"has the password"},
	{kindPeer, "passwordSecret", false,
		same + "; a note names the Secret to copy to kube-system, where kvip reads it"},
	{kindPeer, "bfdProfile", false, same},
	{kindPeer, "enableGracefulRestart", false, same},
	{kindPeer, "ebgpMultiHop", false,
		same + "; left out for a peer of the same AS number, with a note"},
	{kindPeer, "dualStackAddressFamily", false, same},
	{kindPeer, "disableMP", false,
		"a session has one address family, unless `dualStackAddressFamily` is set"},
	{kindPeer, "vrf", true, "kvip has sessions in the default VRF only"},

	{kindBFDProfile, "receiveInterval", false, same},
	{kindBFDProfile, "transmitInterval", false, same},
	{kindBFDProfile, "detectMultiplier", false, same},
	{kindBFDProfile, "minimumTtl", false, same},
	{kindBFDProfile, "echoMode", true, "kvip has the asynchronous mode of BFD only"},
	{kindBFDProfile, "echoInterval", false, "no effect without `echoMode`, which is refused"},
	{kindBFDProfile, "passiveMode", true, "kvip sends packets of BFD until the peer answers"},

	{kindCommunity, "communities", false, "the values replace the names in BGPAdvertisements"},
}

// fieldOf returns the row of a field. below reports that there are rows for fields in it.
func fieldOf(kind, name string) (f Field, found, below bool) {
	for _, f := range fields {
		switch {
		case f.Kind != kind:
		case f.Name == name:
			return f, true, false
		case len(f.Name) > len(name) && f.Name[:len(name)+1] == name+".":
			below = true
		}
	}
	return Field{}, false, below
}

// Annotation is an annotation of a Service that MetalLB reads, and the one of kvip with its
// meaning.
type Annotation struct {
	// Name is the part after metallb.io/ and after the older metallb.universe.tf/.
	Name string
	// Instead is the annotation of kvip.
	Instead string
}

// prefixes are those of MetalLB's annotations, the newer one first.
var prefixes = []string{"metallb.io/", "metallb.universe.tf/"}

// Annotations returns the table of annotations.
func Annotations() []Annotation {
	return []Annotation{
		{"address-pool", "kvip.dev/pool"},
		{"loadBalancerIPs", "kvip.dev/addresses"},
		{"allow-shared-ip", "kvip.dev/share"},
	}
}
