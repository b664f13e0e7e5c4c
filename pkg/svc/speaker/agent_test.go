package speaker

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/nftfilter"
	"github.com/kvip/kvip/pkg/vip"
)

// S5: protect, own, announce; and backwards.
func TestOrderOfTakingAndGivingUp(t *testing.T) {
	r := newRig(t)
	r.give(vip4, "a/web")
	r.did("") // S2: no fresh view, nothing comes
	r.beat()
	r.did("protect [10.0.0.100], own 10.0.0.100, announce 10.0.0.100")
	r.did("")
	r.give(vip6, "b/web")
	r.did("protect [10.0.0.100 fd00::100], own fd00::100, announce fd00::100")
	if want := (nftfilter.Port{Addr: vip6, Protocol: "TCP", Port: 80}); len(r.table.want.Ports) != 2 || r.table.want.Ports[0] != want && r.table.want.Ports[1] != want {
		t.Errorf("S5: the ports are %+v", r.table.want.Ports)
	}
	r.give(vip4)
	r.did("hush 10.0.0.100, protect [10.0.0.100 fd00::100], disown 10.0.0.100, protect [fd00::100]")
	r.pass(filterEvery)
	r.beat()
	r.agent.beat.Store(int64(r.clock()))
	r.did("protect [fd00::100]") // S5: its elements expire with the address
}

// S2: an outage of the API moves nothing, however long it lasts.
func TestAnOutageMovesNothing(t *testing.T) {
	r := newRig(t)
	r.serving()
	r.Server.Close()
	for range 60 {
		r.pass(time.Second)
		r.heart.renew(t.Context())
		r.heart.look()
		if did := r.turn(); did != "" && did != "protect [10.0.0.100]" {
			t.Fatalf("during an outage: %s", did)
		}
	}
	if !r.bulk.Has(vip4) || r.chorus.voices[vip4].Silent || r.heart.View().Fresh || r.agent.NotReady() == "" {
		t.Errorf("has it: %v, announces %+v, ready: %q", r.bulk.Has(vip4), r.chorus.voices, r.agent.NotReady())
	}
}

// S6: what an earlier agent left is kept silently until a fresh view says whose it is.
func TestAdoption(t *testing.T) {
	r := newRig(t)
	r.serving()
	r.restart()
	r.did("listen 10.0.0.100")
	if got := r.agent.Report("").Addresses; len(got) != 1 || got[0].State != "adopted" || !got[0].Present {
		t.Errorf("the page says %+v", got)
	}
	if !strings.Contains(r.agent.NotReady(), "not fresh") {
		t.Errorf("ready: %q", r.agent.NotReady())
	}
	r.pass(time.Second)
	r.beat()
	r.did("protect [10.0.0.100], announce 10.0.0.100")
	if got := r.agent.Report("").Addresses; got[0].State != "owned" || r.agent.NotReady() != "" {
		t.Errorf("the page says %+v", got)
	}
}

// S6: of a host that cannot be read nothing is touched.
func TestAHostThatCannotBeReadIsLeftAlone(t *testing.T) {
	for name, set := range map[string]func(r *rig, err error){
		"links":     func(r *rig, err error) { r.broken = err },
		"addresses": func(r *rig, err error) { r.roster.present = err },
	} {
		r := newRig(t)
		r.serving()
		set(r, errTest)
		r.restart()
		r.did("")
		if !r.bulk.Has(vip4) || !strings.Contains(r.agent.Report("").Problem, errTest.Error()) {
			t.Errorf("%s: has it: %v, problem %q", name, r.bulk.Has(vip4), r.agent.Report("").Problem)
		}
		set(r, nil)
		r.pass(lookAgain)
		r.did("listen 10.0.0.100")
		if !r.bulk.Has(vip4) || strings.Contains(r.agent.Report("").Problem, errTest.Error()) {
			t.Errorf("%s: has it: %v, problem %q", name, r.bulk.Has(vip4), r.agent.Report("").Problem)
		}
	}
}

// What the kernel refuses is not announced, holds up no other address, and is tried again.
func TestWhatTheKernelRefusesIsTriedAgain(t *testing.T) {
	r := newRig(t)
	r.bulk.Fail(vip4, errTest)
	r.give(vip4, "a/web")
	r.give(vip6, "b/web")
	r.turn()
	r.beat()
	r.did("protect [10.0.0.100 fd00::100], own fd00::100, announce fd00::100")
	r.did("")
	if !strings.Contains(r.agent.Report("").Problem, errTest.Error()) {
		t.Errorf("problem %q", r.agent.Report("").Problem)
	}
	r.bulk.Fail(vip4, nil)
	r.pass(lookAgain)
	r.did("protect [10.0.0.100 fd00::100], own 10.0.0.100, announce 10.0.0.100")
	if got := r.agent.Report("").Problem; got != "" {
		t.Errorf("problem %q", got)
	}
	if r.Log.Count("cannot serve all addresses") != 1 {
		t.Errorf("it is not logged once:\n%s", r.Log)
	}
}

func TestWithoutAListOfAddressesNothingNewIsAnnounced(t *testing.T) {
	r := newRig(t)
	r.turn()
	r.beat()
	r.give(vip4, "a/web")
	r.bulk.FailListing(errTest)
	r.did("protect [10.0.0.100]")
	r.bulk.FailListing(nil)
	r.pass(lookAgain)
	r.did("protect [10.0.0.100], own 10.0.0.100, announce 10.0.0.100")
}

func TestAFilterThatFailsIsWrittenAgain(t *testing.T) {
	r := newRig(t)
	r.table.fail = errTest
	r.give(vip4, "a/web")
	r.turn()
	r.beat()
	r.turn()
	r.table.fail = nil
	r.pass(lookAgain)
	r.turn()
	r.pass(filterEvery)
	r.beat()
	r.turn()
	if len(r.table.want.Addresses) != 1 {
		t.Errorf("S5: the table has %+v", r.table.want)
	}
}

// S3, S7: a cordon moves the address; the old owner keeps it silently until it hears the new one.
func TestAPlannedMove(t *testing.T) {
	for _, heard := range []bool{true, false} {
		r := newRig(t)
		r.serving()
		r.peer("you", yourMAC)
		r.cordon("me", true)
		r.pass(time.Second)
		r.beat()
		r.did("listen 10.0.0.100")
		if heard {
			if did := r.sees(yourMAC); did != "" {
				t.Errorf("hearing the new owner it did %q", did)
			}
		} else {
			r.pass(overlap - 1)
			r.did("")
			r.pass(1)
		}
		r.did("hush 10.0.0.100, protect [10.0.0.100], disown 10.0.0.100, protect []")
	}
}

// S7: a cordoned node serves on if there is no other, also for a drain of the whole cluster.
func TestACordonWithoutAnotherNodeMovesNothing(t *testing.T) {
	r := newRig(t)
	r.serving()
	r.cordon("me", true)
	r.did("")
}

func TestForeignProgram(t *testing.T) {
	r := newRig(t)
	r.serving()
	r.foreign = "kube-vip" // S9
	r.did("hush 10.0.0.100, protect [10.0.0.100], disown 10.0.0.100, protect []")
	r.foreign = ""
	r.did("protect [10.0.0.100], own 10.0.0.100, announce 10.0.0.100")
	if r.Log.Count("another program serves Services") != 1 {
		t.Errorf("it is not told once:\n%s", r.Log)
	}
}

func TestALinkThatGoesTakesItsAddresses(t *testing.T) {
	r := newRig(t)
	r.serving()
	all := r.links
	r.links = nil
	if !r.agent.relink(link.Event{Kind: link.LinkChanged}) {
		t.Fatal("a link that changed is of no concern")
	}
	r.did("disown 10.0.0.100, hush 10.0.0.100")
	r.beat()
	r.turn()
	r.links = all
	r.agent.relink(link.Event{Kind: link.LinkChanged})
	r.beat()
	r.turn()
	if !r.bulk.Has(vip4) {
		t.Errorf("the address did not come back\n%s", r.Log)
	}
}

func TestWhichEventsConcern(t *testing.T) {
	r := newRig(t)
	r.serving()
	for _, row := range []struct {
		ev   link.Event
		want bool
	}{
		{link.Event{Kind: link.AddrAdded, Addr: vip4}, false},
		{link.Event{Kind: link.AddrAdded, Addr: netip.MustParseAddr("10.0.0.7")}, true},
		{link.Event{Kind: link.AddrRemoved, Addr: vip4}, true},
		{link.Event{Kind: link.AddrRemoved, Addr: netip.MustParseAddr("fe80::1")}, false},
		{link.Event{Kind: link.LinkChanged}, true},
	} {
		if got := r.agent.concerns(row.ev); got != row.want {
			t.Errorf("%+v: %v", row.ev, got)
		}
	}
}

// The control plane's address is owned and announced by others, told to all nodes, and not filtered: what the host
// serves there does not depend on Services.
func TestSharedWithTheControlPlane(t *testing.T) {
	r := newRig(t)
	r.control = []netip.Addr{vip4}
	r.give(vip4, "a/web")
	r.turn()
	r.beat()
	r.turn()
	r.pass(time.Second)
	r.beat()
	r.turn()
	if r.bulk.Has(vip4) || len(r.chorus.voices) > 0 || len(r.table.want.Addresses) != 0 || !r.agent.have[vip4].shared {
		t.Errorf("owned: %v, announced %v, ports %v, held %+v", r.bulk.Has(vip4), r.chorus.voices, r.table.want.Ports, r.agent.have[vip4])
	}
}

// S6: an agent that ends for good hands over and leaves nothing, the filter last.
func TestLeave(t *testing.T) {
	r := newRig(t)
	r.serving()
	if err := r.agent.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.j.take(); got != "listen 10.0.0.100, hush 10.0.0.100, clear, unprotect" {
		t.Errorf("it did %q", got)
	}
	if r.Lease("kvip-services-node-me", nil) || r.bulk.Has(vip4) {
		t.Error("something is left")
	}
}

// S3, S6: hearing the new owner it goes at once.
func TestLeaveHearsTheNewOwner(t *testing.T) {
	r := newRig(t)
	r.serving()
	r.peer("you", yourMAC)
	r.chorus.sightings <- sighting(r)
	if err := r.agent.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.j.take(); !strings.HasPrefix(got, "listen 10.0.0.100, hush 10.0.0.100, protect [10.0.0.100], disown 10.0.0.100") {
		t.Errorf("it did %q", got)
	}
}

// Without the API server it removes all the same; the others will see by its silence.
func TestLeaveWithoutTheAPI(t *testing.T) {
	r := newRig(t)
	r.serving()
	r.Server.Close()
	if err := r.agent.Release(t.Context()); err == nil {
		t.Error("nobody heard of it, and it is no error")
	}
	if r.bulk.Has(vip4) || len(r.chorus.voices) > 0 {
		t.Error("something is left")
	}
}

// Where addresses stay, their filter does, too (S5).
func TestTheFilterStaysWithTheAddresses(t *testing.T) {
	r := newRig(t)
	r.serving()
	r.bulk.Fail(vip4, errTest)
	if err := r.agent.Release(t.Context()); err == nil || strings.Contains(r.j.take(), "unprotect") {
		t.Errorf("the filter is gone before the address: %v", err)
	}
}

var _ AddressOwner = (*vip.ServiceOwner)(nil)

// S6: at its end on a cordoned node an agent gives up what others are to have, and keeps what no other can have.
func TestYield(t *testing.T) {
	r := newRig(t)
	r.serving()
	r.cordon("me", true)
	if r.agent.HandOver(t.Context()) || r.j.take() != "" || !r.bulk.Has(vip4) {
		t.Error("the only node gave its address up")
	}
	r.give(vip6, "b/web") // the other node has no subnet of its family
	r.turn()
	r.peer("you", yourMAC)
	r.pass(time.Second)
	r.beat()
	r.j.take()
	r.chorus.sightings <- sighting(r)
	if r.agent.HandOver(t.Context()) || r.bulk.Has(vip4) || !r.bulk.Has(vip6) {
		t.Errorf("it has %v: %v, %v: %v; it did %q", vip4, r.bulk.Has(vip4), vip6, r.bulk.Has(vip6), r.j.take())
	}
	r.give(vip6)
	if !r.agent.HandOver(t.Context()) {
		t.Error("nothing is left, and it says so not")
	}
}
