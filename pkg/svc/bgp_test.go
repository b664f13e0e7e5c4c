package svc_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

// bgpNames returns the names of the objects that are used: of peers, advertisements and profiles.
func bgpNames(b svc.BGP) string {
	var words []string
	for _, p := range b.Peers {
		words = append(words, p.Name)
	}
	words = append(words, "|")
	for _, ad := range b.Advertisements {
		words = append(words, ad.Name)
	}
	words = append(words, "|")
	for name := range b.Profiles {
		words = append(words, name)
	}
	return strings.Join(words, " ")
}

func TestBGPFollowsTheCluster(t *testing.T) {
	e := fakecluster.New(t)
	e.PutPeer("b", "192.0.2.2")
	e.PutPeer("a", "192.0.2.1")
	e.PutAdvertisement("all")
	e.PutProfile("fast", 3)
	c := e.RunCache()
	e.Eventually("all objects", func() bool {
		b := c.BGP()
		return b.Synced && bgpNames(b) == "a b | all | fast"
	})
	if got := c.BGP().Peers[1]; got.Spec.PeerAddress != "192.0.2.2" || got.Spec.MyASN != 65010 {
		t.Errorf("peer %+v", got)
	}
	wake := c.Subscribe()
	for name, change := range map[string]func(){
		"peer":    func() { e.PutPeer("a", "192.0.2.9") },
		"profile": func() { e.PutProfile("fast", 5) },
		"advertisement": func() {
			e.PutAdvertisement("all", func(s *v1alpha1.BGPAdvertisementSpec) { s.ASPathPrepend = 2 })
		},
	} {
		before := c.Changes()
		change()
		e.Eventually("a change of the "+name, func() bool { return c.Changes() > before })
		e.Eventually("a wake-up", func() bool { return len(wake) == 1 })
		<-wake
	}
	b := c.BGP()
	if b.Peers[0].Spec.PeerAddress != "192.0.2.9" || b.Profiles["fast"].Spec.DetectMultiplier != 5 ||
		b.Advertisements[0].Spec.ASPathPrepend != 2 {
		t.Errorf("the changes are not seen: %+v", b)
	}
	e.Store.Delete(fakecluster.BGPPath(v1alpha1.BGPPeerPlural, "a"))
	e.Eventually("the deletion", func() bool { return bgpNames(c.BGP()) == "b | all | fast" })
}

// The allocator writes statuses: no decision of a speaker depends on them.
func TestStatusesOfBGPDoNotCount(t *testing.T) {
	e := fakecluster.New(t)
	e.PutPeer("a", "192.0.2.1")
	c := e.RunCache()
	e.Eventually("the peer", func() bool { return c.BGP().Synced && len(c.BGP().Peers) == 1 })
	var p v1alpha1.BGPPeer
	path := fakecluster.BGPPath(v1alpha1.BGPPeerPlural, "a")
	if _, err := e.Store.Get(path, &p); err != nil {
		t.Fatal(err)
	}
	before := c.Changes()
	p.Status.Sessions = "1/2"
	e.Put(path, p)
	e.Eventually("the status", func() bool { return c.BGPPeers()[0].Value.Status.Sessions == "1/2" })
	if c.Changes() != before {
		t.Error("a status counts as a change")
	}
}

// Agents that were upgraded before `kvip manifest crd` and `kvip manifest rbac` were applied again
// work as before, and log each kind once.
func TestMissingBGP(t *testing.T) {
	const kinds = "/apis/kvip.dev/v1alpha1/b"
	for _, row := range []struct {
		name   string
		code   int
		synced bool
		counts bool // as a failed request
	}{
		{"not installed", http.StatusNotFound, true, false},
		{"forbidden", http.StatusForbidden, true, false},
		{"unavailable", http.StatusServiceUnavailable, false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := fakecluster.New(t)
			e.PutService("a/web")
			e.PutPool("p", "10.0.0.0/30")
			e.PutPeer("a", "192.0.2.1")
			e.Server.Deny(fakeapi.DenyRule{Path: kinds, Code: row.code})
			failures := make(chan string, 10000)
			c, err := svc.NewCache(svc.CacheConfig{
				Reader: e.Reader, Namespace: fakecluster.Namespace, Lease: fakecluster.LeaseName,
				Router: e.Router, Log: e.Logger,
				OnFailure: func(verb, resource string, _ error) { failures <- verb + " " + resource },
			})
			if err != nil {
				t.Fatal(err)
			}
			e.Run(c.Run)
			e.Eventually("everything else", c.HasSyncedPools)
			e.Eventually("the state of BGP", func() bool {
				return c.BGP().Synced == row.synced && e.Log.Count("cannot read objects") == 3
			})
			if c.Problem() != "" || names(c) != "a/web" || len(c.BGP().Peers) > 0 {
				t.Errorf("problem %q, Services %q, %+v", c.Problem(), names(c), c.BGP())
			}
			e.Never("it is logged again, or the credentials are suspect", func() bool {
				return e.Log.Count("cannot read objects") > 3 || e.Log.Count("refuses these credentials") > 0
			})
			if counted := len(failures) > 0; counted != row.counts {
				t.Errorf("counted as a failure: %v", counted)
			}
			e.Server.Deny()
			e.Eventually("the peer", func() bool { return c.BGP().Synced && len(c.BGP().Peers) == 1 })
		})
	}
}

// An object that cannot be decoded, as one of an older definition, is left out of the list and of
// the watch. The others are there.
func TestInvalidObjectsOfBGP(t *testing.T) {
	e := fakecluster.New(t)
	invalid := func(plural, name, field string, value any) {
		e.Put(fakecluster.BGPPath(plural, name), map[string]any{
			"metadata": map[string]any{"generation": 1}, "spec": map[string]any{field: value},
		})
	}
	put := func(suffix string) {
		invalid(v1alpha1.BGPPeerPlural, "a"+suffix, "holdTime", "soon")
		invalid(v1alpha1.BGPAdvertisementPlural, "a"+suffix, "peers", "x")
		invalid(v1alpha1.BFDProfilePlural, "a"+suffix, "detectMultiplier", "x")
		e.PutPeer("b"+suffix, "192.0.2.2")
		e.PutAdvertisement("b" + suffix)
		e.PutProfile("b"+suffix, 3)
	}
	put("")
	c := e.RunCache()
	e.Eventually("the valid objects of the lists",
		func() bool { return bgpNames(c.BGP()) == "b | b | b" })
	put("2")
	e.Eventually("the valid objects of the watches", func() bool {
		b := c.BGP()
		return len(b.Peers) == 2 && len(b.Advertisements) == 2 && len(b.Profiles) == 2
	})
	peers, ads := c.BGPPeers(), c.BGPAdvertisements()
	if len(peers) != 4 || peers[0].Err == nil || peers[2].Err != nil || len(ads) != 4 ||
		ads[1].Err == nil {
		t.Fatalf("peers %v, advertisements %v", peers, ads)
	}
	if text := peers[0].Err.Error(); !strings.HasPrefix(text, "BGPPeer a: decode spec: ") {
		t.Errorf("error %q", text)
	}
	e.PutPeer("a", "192.0.2.1")
	e.Eventually("the corrected one", func() bool { return len(c.BGP().Peers) == 3 })
}

// A cluster with more objects than are used: all nodes use the first ones by name.
func TestManyObjectsOfBGP(t *testing.T) {
	const count = 300
	e := fakecluster.New(t)
	for i := range count {
		name := fmt.Sprintf("x%03d", i)
		e.PutPeer(name, fmt.Sprintf("192.0.2.%d", i%250+1), fakecluster.WithPassword(name))
		e.PutAdvertisement(name)
		e.PutProfile(name, 3)
	}
	c := e.RunCache()
	e.Eventually("all objects", func() bool { return c.BGP().Synced })
	b := c.BGP()
	if len(b.Peers) != svc.MaxBGPObjects || len(b.Advertisements) != svc.MaxBGPObjects ||
		len(b.Profiles) != svc.MaxBGPObjects || len(c.BGPPeers()) != count ||
		len(c.BGPAdvertisements()) != count {
		t.Errorf("%d of %d peers, %d advertisements, %d profiles", len(b.Peers), len(c.BGPPeers()),
			len(b.Advertisements), len(b.Profiles))
	}
	if last := b.Peers[len(b.Peers)-1].Name; last != "x255" {
		t.Errorf("the last one is %s", last)
	}
	const watched = 64
	e.Eventually("an answer for each Secret", func() bool {
		b := c.BGP()
		for i, p := range b.Peers {
			_, err := b.Password(*p.Spec.PasswordSecret)
			want := "does not exist"
			if i >= watched {
				want = "is one of more than 64"
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				return false
			}
		}
		return true
	})
	if n := e.Server.RequestCount(http.MethodGet, "/secrets"); n > 4*watched {
		t.Errorf("%d requests for Secrets", n)
	}
	if _, err := b.Password(v1alpha1.SecretReference{Name: "other"}); !errors.Is(err,
		svc.ErrPasswordPending) {
		t.Errorf("a reference of no peer: %v", err)
	}
}
