package speaker

import (
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/arp"
)

func sighting(r *rig) arp.Conflict { return arp.Conflict{VIP: vip4, MAC: yourMAC, At: r.clock()} }

// S3: with a fresh view that says "mine" a node defends, and names a stranger.
func TestAFreshOwnerDefends(t *testing.T) {
	r := newRig(t)
	r.serving()
	for range 3 {
		if did := r.sees(noMAC); did != "defend 10.0.0.100" {
			t.Errorf("it did %q", did)
		}
	}
	if r.Log.Count("which no kvip node's Lease carries") != 1 {
		t.Errorf("the stranger is not named once:\n%s", r.Log)
	}
	r.pass(strangerAgain)
	r.agent.beat.Store(int64(r.clock()))
	r.beat()
	r.sees(noMAC)
	if r.Log.Count("which no kvip node's Lease carries") != 2 {
		t.Error("after a minute it is not named again")
	}
	if did := r.turn(); did != "protect [10.0.0.100]" || r.chorus.voices[vip4].Silent {
		t.Errorf("it did %q", did) // but to keep the address
	}
}

func TestAnotherNodeIsNamed(t *testing.T) {
	r := newRig(t)
	r.serving()
	r.peer("you", yourMAC)
	r.sees(yourMAC)
	if r.Log.Count("claimed by node you") != 1 {
		t.Errorf("the log says\n%s", r.Log)
	}
}

// S3: with a stale view it yields, and stays away until its view is fresh.
func TestAStaleOwnerYields(t *testing.T) {
	r := newRig(t)
	r.serving()
	r.pass(time.Minute)
	r.agent.beat.Store(int64(r.clock()))
	r.turn()
	if did := r.sees(yourMAC); did != "" {
		t.Errorf("it did %q", did)
	}
	r.did("hush 10.0.0.100, protect [10.0.0.100], disown 10.0.0.100, protect []")
	r.pass(time.Second)
	r.did("")
	r.beat()
	r.did("protect [10.0.0.100], own 10.0.0.100, announce 10.0.0.100")
}

// S3, S6: what was adopted and not confirmed is yielded, whatever the view.
func TestAnAdoptedAddressIsYielded(t *testing.T) {
	r := newRig(t)
	r.serving()
	r.restart()
	r.turn()
	r.sees(noMAC)
	if did := r.turn(); !strings.Contains(did, "disown 10.0.0.100") {
		t.Errorf("it did %q", did)
	}
}

// E9: a process that stood still is silent until its view is fresh.
func TestAFrozenProcessIsSilent(t *testing.T) {
	r := newRig(t)
	r.serving()
	r.pass(frozenAfter + 1)
	r.did("listen 10.0.0.100")
	r.did("announce 10.0.0.100") // the Lease lasts still: nobody else has taken it
	r.pass(time.Minute)
	r.did("protect [10.0.0.100], listen 10.0.0.100")
	r.did("")
	r.pass(frozenAfter + 1) // once more, with a view that was stale before
	r.did("")
	r.beat()
	r.did("announce 10.0.0.100")
}

func TestWhatWasHeardBeforeIsNoConflict(t *testing.T) {
	r := newRig(t)
	r.serving()
	r.agent.sighted(arp.Conflict{VIP: vip4, MAC: yourMAC, At: r.clock() - time.Second})
	r.agent.sighted(arp.Conflict{VIP: vip6, MAC: yourMAC, At: r.clock()})
	if did := r.j.take(); did != "" {
		t.Errorf("it did %q", did)
	}
}

// A flood of invented hardware addresses does not fill the memory.
func TestAFloodOfStrangers(t *testing.T) {
	r := newRig(t)
	r.serving()
	for i := range 3000 {
		mac := append([]byte{}, noMAC...)
		mac[3], mac[4] = byte(i>>8), byte(i)
		r.sees(mac)
	}
	if len(r.agent.reported) > 1001 {
		t.Errorf("%d strangers are remembered", len(r.agent.reported))
	}
}
