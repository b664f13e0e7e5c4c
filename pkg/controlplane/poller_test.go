package controlplane

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/pkg/peer"
	"github.com/kvip/kvip/pkg/quorum"
	"github.com/kvip/kvip/test/testutil"
)

// newPollers returns the pollers of two agents on one host, which reach each other.
func newPollers(t *testing.T) (a, b *poller) {
	t.Helper()
	testutil.NewHost(t)
	testutil.IP(t, "addr add 10.0.0.2/24 dev eth0")
	list := map[string]*poller{}
	var listing kubelease.Listing
	for id, address := range map[string]string{"a": "10.0.0.1:2118", "b": "10.0.0.2:2118"} {
		transport := testutil.Must(peer.New(peer.Config{ID: id}))
		p := testutil.Must(newPoller(id, transport, discard))
		t.Cleanup(p.close)
		local := netip.MustParseAddrPort(address)
		listing.Agents = append(listing.Agents, transport.Self(local))
		got := p.setLocal(local).(election.Agents)
		if !slices.Equal(got.IDs, []string{id}) || !got.EverFast { // it may have been fast (F8)
			t.Errorf("without a listing: %+v", got)
		}
		got = p.setListing(kubelease.Listing{}).(election.Agents)
		if !slices.Equal(got.IDs, []string{id}) || got.EverFast {
			t.Errorf("with an empty listing: %+v", got)
		}
		list[id] = p
	}
	listing.EverFast = true
	for _, p := range list {
		got := p.setListing(listing).(election.Agents)
		if !slices.Equal(got.IDs, []string{"a", "b"}) || !got.EverFast {
			t.Errorf("agents %+v", got)
		}
	}
	return list["a"], list["b"]
}

// waitEvent waits for the next event of a poller.
func waitEvent(t *testing.T, p *poller) election.Event {
	t.Helper()
	var ev election.Event
	testutil.Eventually(t, "an event", func() (ok bool) {
		p.wait(time.Second)
		ev, ok = p.received()
		return ok
	})
	return ev
}

func TestPoller(t *testing.T) {
	a, b := newPollers(t)
	beat := quorum.Message{
		Kind: quorum.KindBeat, Term: quorum.Term{Number: 7, Holder: "a"}, Seq: 1,
		Window: 350 * time.Millisecond,
	}
	a.send("", beat)
	if got := waitEvent(t, b); got != (election.Received{From: "a", Message: beat}) {
		t.Errorf("received %+v", got)
	}
	if ev, ok := b.received(); ok {
		t.Errorf("received %+v again", ev)
	}
	b.transport.Close() // its process has ended
	testutil.Eventually(t, "a refused port", func() bool {
		a.send("b", beat)
		a.wait(10 * time.Millisecond)
		ev, ok := a.received()
		return ok && ev == election.PortRefused{Agent: "b"}
	})
	if got := a.setLocal(netip.AddrPort{}).(election.Agents); !slices.Equal(got.IDs, []string{"a"}) {
		t.Errorf("without an address: %+v", got)
	}
}

// TestPollerWakes: a wake ends the present wait, or the next one, and no other.
func TestPollerWakes(t *testing.T) {
	a, _ := newPollers(t)
	a.wake()
	a.wake()
	a.wait(time.Hour)
	began := time.Now()
	a.wait(20 * time.Millisecond)
	if time.Since(began) < 20*time.Millisecond {
		t.Error("the wait ended too early")
	}
	go func() {
		time.Sleep(20 * time.Millisecond)
		a.wake()
	}()
	a.wait(time.Hour)
}
