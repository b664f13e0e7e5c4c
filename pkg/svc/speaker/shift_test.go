package speaker

import (
	"net/netip"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/liveness"
	"github.com/kvip/kvip/pkg/placement"
)

var vip4, vip6 = netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("fd00::100")

// one is holdings of vip4 alone.
func one(h held) holdings { return holdings{vip4: h} }

// TestShift tells what becomes of one address (S2, S3, S6, S7).
func TestShift(t *testing.T) {
	const now = 100 * time.Second
	ours := placement.Decision{Node: "me", Link: "eth0", Reason: placement.ReasonChosen}
	moved := placement.Decision{Node: "me", Link: "eth1", Reason: placement.ReasonChosen}
	theirs := placement.Decision{Node: "you", Link: "eth0", Reason: placement.ReasonChosen}
	nobody := placement.Decision{Reason: placement.ReasonNotAlive}
	since := held{link: "eth0", since: time.Second}
	adopted := held{link: "eth0", since: time.Second, adopted: true}
	leaving := held{link: "eth0", since: time.Second, leaving: true, until: now + 1}
	gone := held{link: "eth0", since: time.Second, leaving: true, until: now}
	fresh := liveness.View{Fresh: true, Alive: []string{"me", "you"}}
	for _, row := range []struct {
		name    string
		verdict liveness.View
		have    holdings
		decide  *placement.Decision
		want    *held // nil: not here
	}{
		{"a new one", fresh, nil, &ours, &held{link: "eth0", since: now}},
		{"one that stays", fresh, one(since), &ours, &since},
		{"one on another link", fresh, one(since), &moved, &held{link: "eth1", since: now}},
		{"S6: an adopted one is confirmed", fresh, one(adopted), &ours, &since},
		{"S3, S7: another's by plan is kept for the overlap", fresh, one(since), &theirs, &held{link: "eth0", since: time.Second, leaving: true, until: now + overlap}},
		{"S3: and no longer", fresh, one(gone), &theirs, nil},
		{"S3: the overlap is not begun anew", fresh, one(leaving), &theirs, &leaving},
		{"S6: an adopted one of another's as well", fresh, one(adopted), &theirs, &held{link: "eth0", since: time.Second, adopted: true, leaving: true, until: now + overlap}},
		{"one that comes back while leaving is a new one", fresh, one(leaving), &ours, &held{link: "eth0", since: now}},
		{"nobody's goes at once", fresh, one(since), &nobody, nil},
		{"one of no Service goes at once", fresh, one(since), nil, nil},
		{"another's was never here", fresh, nil, &theirs, nil},
		{"S2: without a fresh view nothing comes", liveness.View{Alive: fresh.Alive}, nil, &ours, nil},
		{"S2: and nothing goes", liveness.View{Alive: fresh.Alive}, one(since), &theirs, &since},
		{"S2: not even what is nobody's", liveness.View{Alive: fresh.Alive}, one(since), nil, &since},
		{"S2: before the first verdict", liveness.View{Fresh: true}, one(adopted), nil, &adopted},
		{"S2, S3: what is leaving goes all the same", liveness.View{}, one(gone), nil, nil},
		{"and not before its time", liveness.View{}, one(leaving), nil, &leaving},
	} {
		decisions := map[netip.Addr]placement.Decision{}
		if row.decide != nil {
			decisions[vip4] = *row.decide
		}
		next := shift(row.have, decisions, situation{self: "me", verdict: row.verdict}, now)
		got, here := next[vip4]
		got.decision = placement.Decision{}
		if here != (row.want != nil) || here && got != *row.want {
			t.Errorf("%s: %v %+v, want %+v", row.name, here, got, row.want)
		}
	}
}

// The control plane's address is protected where it is, and owned by others.
func TestShiftSharesTheControlPlanes(t *testing.T) {
	s := situation{self: "me", verdict: liveness.View{Fresh: true, Alive: []string{"me"}}, control: map[netip.Addr]string{vip4: "me"}}
	next := shift(nil, map[netip.Addr]placement.Decision{vip4: {Node: "me"}}, s, time.Second)
	if !next[vip4].shared || next[vip4].state() != "shared" {
		t.Errorf("it is %+v", next[vip4])
	}
	s.control[vip4] = "you"
	if next = shift(next, map[netip.Addr]placement.Decision{vip4: {Node: "you"}}, s, time.Second); len(next) > 0 {
		t.Errorf("after its holder changed: %+v", next)
	}
}

func TestDifference(t *testing.T) {
	before, next := holdings{vip4: {}}, holdings{vip6: {link: "eth1"}}
	gained, lost := difference(before, next)
	if len(gained) != 1 || gained[0] != vip6 || len(lost) != 1 || lost[0] != vip4 {
		t.Errorf("gained %v, lost %v", gained, lost)
	}
	if all := union(before, next); len(all) != 2 || len(before) != 1 {
		t.Errorf("union %v of %v", all, before)
	}
	if both := intersection(holdings{vip6: {}}, next); len(both) != 1 || both[vip6].link != "eth1" {
		t.Errorf("intersection %v", both)
	}
}
