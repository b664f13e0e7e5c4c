package speaker

import (
	"context"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/svc"
)

func conflictFromPeer(f *fixture) arp.Conflict {
	return arp.Conflict{Addr: vip4, MAC: peerMAC, At: f.clock()}
}

// S6: a Speaker that ends for good hands over and leaves nothing. The filter goes last.
func TestReleaseLeavesNothing(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	if err := f.speaker.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "silence 10.0.0.100, withdraw 10.0.0.100, remove addresses, remove filter"
	if got := f.journal.drain(); got != want {
		t.Errorf("actions %q, want %q", got, want)
	}
	if f.Lease(ownLease, nil) || f.kernel.Has(vip4) {
		t.Error("Lease or address are left")
	}
}

// S3, S6: an address goes as soon as its new owner is heard.
func TestReleaseHearsTheNewOwner(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.addPeer("you", peerMAC)
	f.announcer.conflicts <- conflictFromPeer(f)
	if err := f.speaker.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "silence 10.0.0.100, withdraw 10.0.0.100, protect [10.0.0.100], remove 10.0.0.100"
	if got := f.journal.drain(); !strings.HasPrefix(got, want) {
		t.Errorf("actions %q", got)
	}
}

// S6: without an API server the host is cleaned up at once. Peers take over when the Lease expires.
func TestReleaseWithoutTheAPI(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.Server.Close()
	began := time.Now()
	if err := f.speaker.Release(t.Context()); err == nil {
		t.Error("the Lease was not released, without an error")
	}
	if f.kernel.Has(vip4) || len(f.announcer.announced) > 0 {
		t.Error("an address is left")
	}
	if took := time.Since(began); took > 5*overlap {
		t.Errorf("it took %v", took)
	}
}

// S6: the end of the context cuts the wait for new owners short, and nothing is left on the host.
func TestReleaseWithAnEndedContext(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.speaker.Release(ctx); err == nil {
		t.Error("no error")
	}
	if f.kernel.Has(vip4) {
		t.Error("the address is left")
	}
}

// S5: where addresses stay, their filter stays, too.
func TestTheFilterStaysWithTheAddresses(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.kernel.FailAddress(vip4, errTest)
	err := f.speaker.Release(t.Context())
	if err == nil || strings.Contains(f.journal.drain(), "remove filter") {
		t.Errorf("the filter was removed before the address: %v", err)
	}
}

// S6: on a cordoned node a Speaker that ends releases what peers are to have, and keeps what no
// peer can have.
func TestHandOver(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.cordon("me", true)
	if f.speaker.HandOver(t.Context()) || f.journal.drain() != "" || !f.kernel.Has(vip4) {
		t.Error("the only node released its address")
	}
	f.assign(vip6, "b/web") // the peer has no subnet of its family
	f.reconcile()
	f.addPeer("you", peerMAC)
	f.advance(time.Second)
	f.renew()
	f.journal.drain()
	f.announcer.conflicts <- conflictFromPeer(f)
	if f.speaker.HandOver(t.Context()) || f.kernel.Has(vip4) || !f.kernel.Has(vip6) {
		t.Errorf("has %v: %v, %v: %v; actions %q", vip4, f.kernel.Has(vip4),
			vip6, f.kernel.Has(vip6), f.journal.drain())
	}
	f.assign(vip6)
	if !f.speaker.HandOver(t.Context()) {
		t.Error("no address is left, and HandOver does not report it")
	}
}

// E8: the Lease of a duplicate node is not this node's to delete.
func TestReleaseKeepsTheLeaseOfADuplicateNode(t *testing.T) {
	f := newFixture(t)
	f.reconcile()
	f.PutNodeLease(svc.NodeInfo{Node: "me"}, "me_other-boot", 5)
	if err := f.speaker.Release(t.Context()); err == nil {
		t.Error("it released a Lease that it did not hold")
	}
	if !f.Lease(ownLease, &coordinationv1.Lease{}) {
		t.Error("the duplicate node's Lease was deleted")
	}
}
