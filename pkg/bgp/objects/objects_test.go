package objects

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/bgp"
)

var env = Environment{
	RouterID: netip.MustParseAddr("192.0.2.11"),
	Profiles: map[string]v1alpha1.BFDProfile{"quick": {Spec: v1alpha1.BFDProfileSpec{
		ReceiveInterval: 50, TransmitInterval: 60, DetectMultiplier: 4, MinimumTTL: 250,
	}}},
	Password: func(ref v1alpha1.SecretReference) (string, error) {
		switch ref.Name {
		case "there":
			return "secret", nil
		case "empty":
			return "", nil
		}
		return "", fmt.Errorf("there is no Secret %s", ref.Name)
	},
}

// peer returns a valid object with changes.
func peer(change func(*v1alpha1.BGPPeerSpec)) v1alpha1.BGPPeer {
	p := v1alpha1.BGPPeer{Spec: v1alpha1.BGPPeerSpec{
		MyASN: 65010, PeerASN: 65000, PeerAddress: "192.0.2.1",
	}}
	p.Name = "r"
	if change != nil {
		change(&p.Spec)
	}
	return p
}

func duration(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

func TestPeers(t *testing.T) {
	list, err := Peers(peer(func(s *v1alpha1.BGPPeerSpec) {
		s.PeerPort, s.HoldTime, s.KeepaliveTime = 1179, duration(30*time.Second), duration(5*time.Second)
		s.ConnectTime, s.RouterID = duration(7*time.Second), "192.0.2.77"
		s.SourceAddress, s.BFDProfile, s.EBGPMultiHop = "192.0.2.9", "quick", true
		s.PasswordSecret = &v1alpha1.SecretReference{Name: "there"}
		s.EnableGracefulRestart, s.DualStackAddressFamily, s.MaximumPrefixes = true, true, 7
		s.NextHops = &v1alpha1.NextHops{IPv4: "192.0.2.10", IPv6: "2001:db8::10"}
		s.NodeSelectors = []metav1.LabelSelector{{MatchLabels: map[string]string{"a": "b"}}}
	}), env)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	p := list[0]
	for what, holds := range map[string]bool{
		"addresses": p.Address.String() == "192.0.2.1" && p.Port == 1179 &&
			p.Source.String() == "192.0.2.9" && p.RouterID.String() == "192.0.2.77",
		"times": p.HoldTime == 30*time.Second && p.Keepalive == 5*time.Second &&
			p.MaxRetry == 7*time.Second && p.GracefulRestart == 30*time.Second,
		"BFD": p.BFD != nil && p.BFD.ReceiveInterval == 50*time.Millisecond &&
			p.BFD.TransmitInterval == 60*time.Millisecond && p.BFD.Multiplier == 4 &&
			p.BFD.MinTTL == 250,
		"password":  p.Password == "secret" && p.Unusable == "",
		"families":  len(p.Families) == 2 && p.MaximumPrefixes == 7 && p.Multihop == 255,
		"next hops": p.NextHops[bgp.IPv6].String() == "2001:db8::10",
		"selectors": len(p.Nodes) == 1 && p.Object == "r",
	} {
		if !holds {
			t.Errorf("%s: %+v", what, p)
		}
	}
}

func TestDiscoveredPeers(t *testing.T) {
	list, err := Peers(peer(func(s *v1alpha1.BGPPeerSpec) {
		s.PeerAddress, s.AutoDiscovery = "", v1alpha1.DefaultGateway
	}), env)
	if err != nil || len(list) != 2 || list[0].Name != "r/ipv4" || list[1].Name != "r/ipv6" ||
		!list[0].Discover.Gateway || list[1].Discover.Family != bgp.IPv6 || list[1].Object != "r" {
		t.Errorf("by gateway: %+v, %v", list, err)
	}
	list, err = Peers(peer(func(s *v1alpha1.BGPPeerSpec) {
		s.PeerAddress, s.Interface, s.PeerASN, s.DynamicASN = "", "eth0", 0, v1alpha1.ExternalASN
	}), env)
	if err != nil || len(list) != 1 || list[0].Discover.Interface != "eth0" ||
		list[0].Type != bgp.External || len(list[0].Families) != 2 {
		t.Errorf("by interface: %+v, %v", list, err)
	}
}

// TestB12NoSessionWithoutItsPassword, or its BFD profile: the object is valid, and unusable.
func TestB12NoSessionWithoutItsPassword(t *testing.T) {
	for name, want := range map[v1alpha1.ObjectName]string{
		"there": "", "missing": "no session without its password: there is no Secret missing",
		"empty": "the one in the Secret is empty",
	} {
		list, err := Peers(peer(func(s *v1alpha1.BGPPeerSpec) {
			s.PasswordSecret = &v1alpha1.SecretReference{Name: name}
		}), env)
		if err != nil || !strings.Contains(list[0].Unusable, want) ||
			(want == "") != (list[0].Unusable == "") {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
	}
	without := env
	without.Password = nil
	list, err := Peers(peer(func(s *v1alpha1.BGPPeerSpec) {
		s.PasswordSecret, s.BFDProfile = &v1alpha1.SecretReference{Name: "there"}, "absent"
	}), without)
	if err != nil || list[0].Unusable == "" {
		t.Errorf("without Secrets: %+v, %v", list, err)
	}
}

// TestB7HoldTimeIsLimited: an address outlives its routes.
func TestB7HoldTimeIsLimited(t *testing.T) {
	limited := env
	limited.MaxHoldTime = 50 * time.Second
	for hold, want := range map[time.Duration]time.Duration{
		0: 9 * time.Second, 30 * time.Second: 30 * time.Second, 90 * time.Second: 50 * time.Second,
	} {
		list, err := Peers(peer(func(s *v1alpha1.BGPPeerSpec) {
			if hold > 0 {
				s.HoldTime, s.KeepaliveTime = duration(hold), duration(hold/3)
			}
		}), limited)
		if err != nil || list[0].HoldTime != want || list[0].Keepalive > want/3 {
			t.Errorf("%v: %+v, %v", hold, list, err)
		}
	}
}

func TestInvalidPeers(t *testing.T) {
	for want, change := range map[string]func(*v1alpha1.BGPPeerSpec){
		"set one of peerAddress":   func(s *v1alpha1.BGPPeerSpec) { s.PeerAddress = "" },
		"peerAddress \"x\" is not": func(s *v1alpha1.BGPPeerSpec) { s.PeerAddress = "x" },
		"autoDiscovery \"x\" is": func(s *v1alpha1.BGPPeerSpec) {
			s.PeerAddress, s.AutoDiscovery = "", "x"
		},
		"set one of peerASN":          func(s *v1alpha1.BGPPeerSpec) { s.PeerASN = 0 },
		"dynamicASN \"x\" is unknown": func(s *v1alpha1.BGPPeerSpec) { s.DynamicASN = "x" },
		"LocalAS is required":         func(s *v1alpha1.BGPPeerSpec) { s.MyASN = 0 },
		"holdTime 0 would keep":       func(s *v1alpha1.BGPPeerSpec) { s.HoldTime = duration(0) },
		"hold time 2s":                func(s *v1alpha1.BGPPeerSpec) { s.HoldTime = duration(2e9) },
		"sourceAddress \"x\"":         func(s *v1alpha1.BGPPeerSpec) { s.SourceAddress = "x" },
		"two families":                func(s *v1alpha1.BGPPeerSpec) { s.SourceAddress = "2001:db8::1" },
		"routerID \"x\"":              func(s *v1alpha1.BGPPeerSpec) { s.RouterID = "x" },
		"operator \"Like\"": func(s *v1alpha1.BGPPeerSpec) {
			s.NodeSelectors = []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "a", Operator: "Like"},
			}}}
		},
	} {
		list, err := Peers(peer(change), env)
		if err == nil || !strings.Contains(err.Error(), want) || list != nil {
			t.Errorf("want %q, got %v, %+v", want, err, list)
		}
	}
}

// ad returns an advertisement with changes.
func ad(change func(*v1alpha1.BGPAdvertisementSpec)) v1alpha1.BGPAdvertisement {
	a := v1alpha1.BGPAdvertisement{}
	a.Name = "a"
	change(&a.Spec)
	return a
}

func TestAdvertisement(t *testing.T) {
	pref, length := uint32(200), int32(24)
	got, err := Advertisement(ad(func(s *v1alpha1.BGPAdvertisementSpec) {
		s.IPAddressPools, s.Peers = []v1alpha1.ObjectName{"p"}, []v1alpha1.ObjectName{"r"}
		s.Communities = []v1alpha1.Community{"65000:1", "large:1:2:3", "no-export", "gshut", "0:7"}
		s.LocalPref, s.MED, s.ASPathPrepend, s.AggregationLength = &pref, &pref, 2, &length
		s.WithdrawWithoutEndpoints = true
	}))
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprint(got.Attributes.Communities, got.Attributes.LargeCommunities,
		*got.Attributes.LocalPref, *got.Attributes.MED, got.Attributes.Prepend, got.Pools, got.Peers,
		got.AggregationLength, got.WithdrawWithoutEndpoints); text !=
		"[7 4259840001 4294901760 4294967041] [{1 2 3}] 200 200 2 [p] [r] [24 0] true" {
		t.Error(text)
	}
}

func TestInvalidAdvertisements(t *testing.T) {
	length := int32(33)
	for want, change := range map[string]func(*v1alpha1.BGPAdvertisementSpec){
		`"65536:1" is not`:   with("65536:1"),
		`"1" is not`:         with("1"),
		`"1:2:3" is not`:     with("1:2:3"),
		`"large:1:2" is not`: with("large:1:2"),
		`"a:b" is not`:       with("a:b"),
		"asPathPrepend 11":   func(s *v1alpha1.BGPAdvertisementSpec) { s.ASPathPrepend = 11 },
		"length of 33":       func(s *v1alpha1.BGPAdvertisementSpec) { s.AggregationLength = &length },
		"65 communities": func(s *v1alpha1.BGPAdvertisementSpec) {
			for i := range 65 {
				s.Communities = append(s.Communities, v1alpha1.Community(fmt.Sprintf("1:%d", i)))
			}
		},
		"serviceSelectors: label a": func(s *v1alpha1.BGPAdvertisementSpec) {
			s.ServiceSelectors = []metav1.LabelSelector{{
				MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "In"}},
			}}
		},
	} {
		if _, err := Advertisement(ad(change)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// with sets one community.
func with(c v1alpha1.Community) func(*v1alpha1.BGPAdvertisementSpec) {
	return func(s *v1alpha1.BGPAdvertisementSpec) { s.Communities = []v1alpha1.Community{c} }
}

// FuzzCommunity parses what the API refuses as well.
func FuzzCommunity(f *testing.F) {
	for _, text := range []string{"65000:1", "large:1:2:3", "no-export", ":", "large:::"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var a bgp.Attributes
		err := addCommunity(&a, text)
		if n := len(a.Communities) + len(a.LargeCommunities); (err == nil) != (n == 1) {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	})
}
