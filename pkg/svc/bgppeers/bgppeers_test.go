package bgppeers

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/bgp/advertiser"
	"github.com/kvip/kvip/pkg/bgp/policy"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

// fakeRoutes keeps what it receives.
type fakeRoutes struct {
	mu     sync.Mutex
	peers  []string
	ads    []string
	labels map[string]string
}

func (f *fakeRoutes) SetPeers(_ advertiser.Source, peers []policy.Peer,
	ads []policy.Advertisement) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.peers, f.ads = nil, nil
	for _, p := range peers {
		f.peers = append(f.peers, strings.TrimSpace(p.Name+" "+p.Unusable))
	}
	for _, a := range ads {
		f.ads = append(f.ads, a.Name)
	}
	return nil
}

func (f *fakeRoutes) SetLabels(labels map[string]string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.labels = labels
	return nil
}

func (f *fakeRoutes) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprint(f.peers, f.ads)
}

// TestFollower passes on valid objects whenever they change, and reports the others once.
func TestFollower(t *testing.T) {
	e := fakecluster.New(t)
	e.PutNode("me", "10.0.0.1")
	routes := &fakeRoutes{}
	f, err := New(Config{Node: "me", RouterID: netip.MustParseAddr("10.0.0.1"), Cache: e.RunCache(),
		Routes: routes, Log: e.Logger})
	if err != nil {
		t.Fatal(err)
	}
	e.Run(f.Run)
	put := func(plural, name string, object any) {
		e.Put("/apis/kvip.dev/v1alpha1/"+plural+"/"+name, object)
	}
	peer := func(name, address string) *v1alpha1.BGPPeer {
		return &v1alpha1.BGPPeer{
			ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1},
			Spec: v1alpha1.BGPPeerSpec{
				MyASN: 65010, PeerASN: 65000, PeerAddress: v1alpha1.UnicastAddress(address),
			},
		}
	}
	eventually := func(want string) {
		t.Helper()
		e.Eventually("the sessions have "+want, func() bool { return routes.text() == want })
	}
	eventually("[] []")
	put("bgppeers", "r1", peer("r1", "192.0.2.1"))
	eventually("[r1] []")
	put("bgppeers", "r2", peer("r2", "not an address"))
	put("bgpadvertisements", "a", &v1alpha1.BGPAdvertisement{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Generation: 1},
	})
	eventually("[r1] [a]")
	if e.Log.Count("cannot use BGP objects") != 1 {
		t.Errorf("the invalid peer is not reported once:\n%s", e.Log)
	}
	withBFD := peer("r2", "192.0.2.2")
	withBFD.Spec.BFDProfile = "quick"
	put("bgppeers", "r2", withBFD)
	eventually("[r1 r2 there is no BFDProfile quick] [a]")
	put("bfdprofiles", "quick", &v1alpha1.BFDProfile{
		ObjectMeta: metav1.ObjectMeta{Name: "quick", Generation: 1},
	})
	eventually("[r1 r2] [a]")
}

func TestConfigIsChecked(t *testing.T) {
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "Cache is required") {
		t.Error(err)
	}
}
