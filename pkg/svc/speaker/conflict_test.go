package speaker

import (
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/assignment"
)

// S3: who gives way depends on the view, the phase, and whether the other host is a kvip node.
func TestResolve(t *testing.T) {
	const since = 10 * time.Second
	for _, c := range []struct {
		name      string
		phase     phase
		at        time.Duration
		claimedBy string
		fresh     bool
		want      resolution
	}{
		{"S3: the owner with a fresh view defends", owned, since, "", true, defend},
		{"S3: also against another node", owned, since, "you", true, defend},
		{"S3: a stale view yields", owned, since, "", false, yield},
		{"S3: a stale view yields to a node", owned, since, "you", false, yield},
		{"S6: what is adopted yields", adopted, since, "", true, yield},
		{"S3: the new owner takes over", leaving, since, "you", true, release},
		{"S3: the new owner takes over from a stale node", leaving, since, "you", false, release},
		{"a foreign host does not hurry a move", leaving, since, "", true, ignore},
		{"but a stale node yields to it", leaving, since, "", false, yield},
		{"a claim from before", owned, since - 1, "", true, ignore},
		{"a claim from before, with a stale view", owned, since - 1, "you", false, ignore},
	} {
		a := newAssigned(vip4, "eth0", c.phase, since)
		got := resolveConflict(a, arp.Conflict{Addr: vip4, MAC: peerMAC, At: c.at}, c.claimedBy, c.fresh)
		if got != c.want {
			t.Errorf("%s: resolution %d, want %d", c.name, got, c.want)
		}
	}
}

// S3: the owner with a fresh view defends, and the log names a foreign host once a minute.
func TestAFreshOwnerDefends(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	const unknown = "which is in no kvip node's Lease"
	for range 3 {
		if got := f.conflict(foreignMAC); got != "defend 10.0.0.100" {
			t.Errorf("actions %q", got)
		}
	}
	if f.logged(unknown) != 1 {
		t.Errorf("the foreign host is not logged once:\n%s", f.Log)
	}
	f.advanceRunning(conflictLogInterval)
	f.renew()
	f.conflict(foreignMAC)
	if f.logged(unknown) != 2 {
		t.Error("after a minute it is not logged again")
	}
	got := f.reconcile()
	if got != "protect [10.0.0.100]" || f.announcer.announced[vip4].State == assignment.Silent {
		t.Errorf("actions %q", got) // of the filter's interval only
	}
}

func TestAnotherNodeIsNamed(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.addPeer("you", peerMAC)
	f.cordon("you", true)
	f.conflict(peerMAC)
	if f.logged("claimed by node you") != 1 {
		t.Errorf("the log has\n%s", f.Log)
	}
}

// S3: the new owner of a planned move may announce before the old one has decided about the change.
// Then the old one decides first, and does not move clients back.
func TestAClaimBeforeTheDecision(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.addPeer("you", peerMAC) // which has the highest weight
	if got := f.conflict(peerMAC); got != "silence 10.0.0.100" {
		t.Errorf("actions on the claim: %q", got)
	}
	f.expect(releaseVIP4)
}

// S3: a node with a stale view yields, and stays away until its view is fresh.
func TestAStaleOwnerYields(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.advanceRunning(time.Minute)
	f.reconcile()
	if got := f.conflict(peerMAC); got != "" {
		t.Errorf("actions %q", got)
	}
	f.expect(releaseVIP4)
	f.advance(time.Second)
	f.expect("")
	f.renew()
	f.expect("protect [10.0.0.100], add 10.0.0.100, announce 10.0.0.100")
}

// S3, S6: an adopted address is released, whatever the view.
func TestAnAdoptedAddressIsYielded(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.restart()
	f.reconcile()
	f.conflict(foreignMAC)
	if got := f.reconcile(); !strings.Contains(got, "remove 10.0.0.100") {
		t.Errorf("actions %q", got)
	}
	const yielded = "another host claims an address that no fresh view has confirmed; " +
		"releasing it until one does"
	if f.logged(yielded) != 1 {
		t.Errorf("the log has\n%s", f.Log)
	}
}

func TestClaimsFromBeforeAreIgnored(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.speaker.handleConflict(arp.Conflict{Addr: vip4, MAC: peerMAC, At: f.clock() - time.Second})
	f.speaker.handleConflict(arp.Conflict{Addr: vip6, MAC: peerMAC, At: f.clock()}) // not owned
	if got := f.journal.drain(); got != "" {
		t.Errorf("actions %q", got)
	}
}

// A flood of invented MACs does not fill the memory.
func TestAFloodOfForeignHosts(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	for i := range 3 * maxConflictsLogged {
		mac := append([]byte{}, foreignMAC...)
		mac[3], mac[4] = byte(i>>8), byte(i)
		f.conflict(mac)
	}
	if n := len(f.speaker.recorder.conflicts); n > maxConflictsLogged+1 {
		t.Errorf("%d foreign hosts are remembered", n)
	}
}
