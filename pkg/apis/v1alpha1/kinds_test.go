package v1alpha1

import (
	"reflect"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kvip/kvip/templates"
)

// resource is one kind with what the tests of all kinds need.
type resource struct {
	kind, plural, shortName string
	definition              []byte
	object                  func() runtime.Object // with a value in every field
	list                    func() runtime.Object // two of object
	spec, status            reflect.Type          // nil: the kind has none
	required                []string              // paths that an object must have
}

// resources are all kinds, in the order of templates.CRDs.
var resources = []resource{
	{
		Kind, Plural, "ipp", templates.CRD,
		func() runtime.Object { return full() }, func() runtime.Object { return fullList() },
		reflect.TypeFor[IPPoolSpec](), reflect.TypeFor[IPPoolStatus](),
		[]string{"spec", "spec.addresses"},
	},
	{
		BGPPeerKind, BGPPeerPlural, "bgpp", templates.BGPPeerCRD,
		func() runtime.Object { return fullPeer() },
		func() runtime.Object {
			return &BGPPeerList{TypeMeta: typeMeta(BGPPeerKind + "List"), ListMeta: listMeta(),
				Items: []BGPPeer{*fullPeer(), *fullPeer()}}
		},
		reflect.TypeFor[BGPPeerSpec](), reflect.TypeFor[BGPPeerStatus](),
		[]string{"spec", "spec.myASN", "spec.passwordSecret.name"},
	},
	{
		BGPAdvertisementKind, BGPAdvertisementPlural, "bgpadv", templates.BGPAdvertisementCRD,
		func() runtime.Object { return fullAdvertisement() },
		func() runtime.Object {
			return &BGPAdvertisementList{TypeMeta: typeMeta(BGPAdvertisementKind + "List"),
				ListMeta: listMeta(),
				Items:    []BGPAdvertisement{*fullAdvertisement(), *fullAdvertisement()}}
		},
		reflect.TypeFor[BGPAdvertisementSpec](), reflect.TypeFor[BGPAdvertisementStatus](), nil,
	},
	{
		BFDProfileKind, BFDProfilePlural, "bfdp", templates.BFDProfileCRD,
		func() runtime.Object { return fullProfile() },
		func() runtime.Object {
			return &BFDProfileList{TypeMeta: typeMeta(BFDProfileKind + "List"), ListMeta: listMeta(),
				Items: []BFDProfile{*fullProfile(), *fullProfile()}}
		},
		reflect.TypeFor[BFDProfileSpec](), nil, nil,
	},
	{
		BGPNodeStateKind, BGPNodeStatePlural, "bgpns", templates.BGPNodeStateCRD,
		func() runtime.Object { return fullNodeState() },
		func() runtime.Object {
			return &BGPNodeStateList{TypeMeta: typeMeta(BGPNodeStateKind + "List"),
				ListMeta: listMeta(), Items: []BGPNodeState{*fullNodeState(), *fullNodeState()}}
		},
		nil, reflect.TypeFor[BGPNodeStateStatus](),
		[]string{"status.sessions.bfd.state", "status.sessions.families.family",
			"status.sessions.families.routes", "status.sessions.peer", "status.sessions.since",
			"status.sessions.state"},
	},
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: Group + "/" + Version, Kind: kind}
}

func objectMeta() metav1.ObjectMeta { return metav1.ObjectMeta{Name: "a", Generation: 3} }

func listMeta() metav1.ListMeta { return metav1.ListMeta{ResourceVersion: "7"} }

func ready() []metav1.Condition {
	return []metav1.Condition{
		{Type: ConditionReady, Status: metav1.ConditionTrue, Reason: "Valid"},
	}
}

// full returns a pool with a value in every field of spec and status.
func full() *IPPool {
	manual := false
	return &IPPool{
		TypeMeta:   typeMeta(Kind),
		ObjectMeta: objectMeta(),
		Spec: IPPoolSpec{
			Addresses:  []Addresses{"192.0.2.0/28", "2001:db8::1-2001:db8::f"},
			Namespaces: []Namespace{"b"}, AvoidBuggyIPs: true, AutoAssign: &manual,
			SearchOrder: Descending, Sharing: ByPort, Announcement: BGP,
		},
		Status: IPPoolStatus{
			ObservedGeneration: 3, Size: "31", Used: 2, Conflicts: []string{"c: 192.0.2.0/28"},
			Addresses: "192.0.2.0/28, 2001:db8::1-2001:db8::f", IPv4: "1/16", IPv6: "1/15",
			Conditions: ready(),
		},
	}
}

// fullList returns a list of two pools.
func fullList() *IPPoolList {
	return &IPPoolList{
		TypeMeta: typeMeta(Kind + "List"), ListMeta: listMeta(),
		Items: []IPPool{*full(), *full()},
	}
}

// selectors returns a list with both parts of a selector.
func selectors() []metav1.LabelSelector {
	return []metav1.LabelSelector{{
		MatchLabels: map[string]string{"rack": "1"},
		MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "zone", Operator: metav1.LabelSelectorOpIn, Values: []string{"a", "b"}},
		},
	}}
}

func seconds(n int) *metav1.Duration {
	return &metav1.Duration{Duration: time.Duration(n) * time.Second}
}

// fullPeer has a value in every field, so also in fields that exclude each other.
func fullPeer() *BGPPeer {
	return &BGPPeer{
		TypeMeta: typeMeta(BGPPeerKind), ObjectMeta: objectMeta(),
		Spec: BGPPeerSpec{
			MyASN: 65010, PeerASN: 4200000000, DynamicASN: ExternalASN, PeerAddress: "192.0.2.1",
			Interface: "eth0", AutoDiscovery: DefaultGateway, SourceAddress: "192.0.2.11",
			PeerPort: 1790, HoldTime: seconds(90), KeepaliveTime: seconds(30),
			ConnectTime: seconds(10), RouterID: "192.0.2.11", NodeSelectors: selectors(),
			PasswordSecret: &SecretReference{Name: "tor", Namespace: "kube-system"},
			BFDProfile:     "quick", EnableGracefulRestart: true, EBGPMultiHop: true,
			TTLSecurity: true, DualStackAddressFamily: true, MaximumPrefixes: 50,
			NextHops: &NextHops{IPv4: "192.0.2.11", IPv6: "2001:db8::11"},
		},
		Status: BGPPeerStatus{ObservedGeneration: 3, Sessions: "2/3", Conditions: ready()},
	}
}

func fullAdvertisement() *BGPAdvertisement {
	var preference, med uint32 = 200, 4294967295
	var length, lengthV6 int32 = 24, 64
	return &BGPAdvertisement{
		TypeMeta: typeMeta(BGPAdvertisementKind), ObjectMeta: objectMeta(),
		Spec: BGPAdvertisementSpec{
			IPAddressPools: []ObjectName{"a"}, IPAddressPoolSelectors: selectors(),
			ServiceSelectors: selectors(), NodeSelectors: selectors(), Peers: []ObjectName{"b"},
			Communities: []Community{"65000:1", CommunityNoExport}, LocalPref: &preference,
			MED: &med, ASPathPrepend: 2, AggregationLength: &length,
			AggregationLengthV6: &lengthV6, WithdrawWithoutEndpoints: true,
		},
		Status: BGPAdvertisementStatus{ObservedGeneration: 3, Conditions: ready()},
	}
}

func fullProfile() *BFDProfile {
	return &BFDProfile{
		TypeMeta: typeMeta(BFDProfileKind), ObjectMeta: objectMeta(),
		Spec: BFDProfileSpec{
			ReceiveInterval: 50, TransmitInterval: 60, DetectMultiplier: 5, MinimumTTL: 250,
		},
	}
}

func fullNodeState() *BGPNodeState {
	return &BGPNodeState{
		TypeMeta: typeMeta(BGPNodeStateKind), ObjectMeta: objectMeta(),
		Status: BGPNodeStateStatus{
			SessionsUp: "1/1", Routes: 3, RoutesRefused: 1,
			Sessions: []BGPSession{{
				Peer: "tor", Address: "fe80::1%eth0", Interface: "eth0", LocalASN: 65010,
				PeerASN: 4200000000, State: SessionEstablished,
				Since:  metav1.NewTime(time.Unix(1_800_000_000, 0)),
				Reason: "hold timer expired", HoldTime: seconds(9),
				Families: []SessionFamily{
					{Family: IPv4, NextHop: "192.0.2.11", Routes: 2},
					{Family: IPv6, NextHop: "2001:db8::11", Routes: 1},
				},
				RoutesRefused: 1,
				BFD: &BFDSession{
					State: BFDUp, Diagnostic: "control detection time expired",
					TransmitInterval: 300, ReceiveInterval: 300, DetectionTime: 900,
				},
			}},
		},
	}
}
