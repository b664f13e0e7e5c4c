package speaker

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/liveness"
	"github.com/kvip/kvip/pkg/placement"
)

// TestTransition shows what becomes of one address (S2, S3, S6, S7).
func TestTransition(t *testing.T) {
	const now = 100 * time.Second
	mine := placement.Decision{Node: "me", Link: "eth0", Reason: placement.ReasonChosen}
	moved := placement.Decision{Node: "me", Link: "eth1", Reason: placement.ReasonChosen}
	yours := placement.Decision{Node: "you", Link: "eth0", Reason: placement.ReasonChosen}
	none := placement.Decision{Reason: placement.ReasonNotAlive}
	held := func(p phase) assigned { return newAssigned(vip4, "eth0", p, time.Second) }
	started := newAssigned(vip4, "eth0", owned, now)
	onEth1 := newAssigned(vip4, "eth1", owned, now)
	overlapping := held(owned).leave(now + overlap)
	going, gone := held(owned).leave(now+1), held(owned).leave(now)
	fresh := liveness.View{Fresh: true, Alive: []string{"me", "you"}}
	stale := liveness.View{Alive: fresh.Alive}
	for _, row := range []struct {
		name   string
		view   liveness.View
		have   *assigned
		decide *placement.Decision
		want   *assigned
	}{
		{"a new one", fresh, nil, &mine, &started},
		{"one that stays", fresh, ptr(held(owned)), &mine, ptr(held(owned))},
		{"one on another link", fresh, ptr(held(owned)), &moved, &onEth1},
		{"S6: an adopted one is confirmed", fresh, ptr(held(adopted)), &mine, ptr(held(owned))},
		{"S3, S7: another's by plan is kept for the overlap",
			fresh, ptr(held(owned)), &yours, &overlapping},
		{"S3: and no longer", fresh, &gone, &yours, nil},
		{"S3: the overlap does not start again", fresh, &going, &yours, &going},
		{"S6: an adopted one of another node as well", fresh, ptr(held(adopted)), &yours, &overlapping},
		{"one that comes back while leaving is a new one", fresh, &going, &mine, &started},
		{"one without a node goes at once", fresh, ptr(held(owned)), &none, nil},
		{"one without a Service goes at once", fresh, ptr(held(owned)), nil, nil},
		{"a shared one of another node goes at once", fresh, ptr(held(shared)), &yours, nil},
		{"another node's was never here", fresh, nil, &yours, nil},
		{"S2: with a stale view nothing comes", stale, nil, &mine, nil},
		{"S2: and nothing goes", stale, ptr(held(owned)), &yours, ptr(held(owned))},
		{"S2: not even one without a Service", stale, ptr(held(owned)), nil, ptr(held(owned))},
		{"S2: before the first view",
			liveness.View{Fresh: true}, ptr(held(adopted)), nil, ptr(held(adopted))},
		{"S2, S3: what is leaving still goes", liveness.View{}, &gone, nil, nil},
		{"S3: and not before its time", liveness.View{}, &going, nil, &going},
	} {
		have, decisions := assignments{}, map[netip.Addr]placement.Decision{}
		if row.have != nil {
			have[vip4] = *row.have
		}
		if row.decide != nil {
			decisions[vip4] = *row.decide
		}
		next := transition(have, decisions, snapshot{node: "me", view: row.view}, now)
		got, present := next[vip4]
		got.reason = ""
		if present != (row.want != nil) || present && !reflect.DeepEqual(got, *row.want) {
			t.Errorf("%s: %v %+v, want %+v", row.name, present, got, row.want)
		}
	}
}

func ptr[T any](v T) *T { return &v }

// The control plane's address is shared where the control plane has it.
func TestTransitionOfTheControlPlanesAddress(t *testing.T) {
	s := snapshot{
		node: "me", view: liveness.View{Fresh: true, Alive: []string{"me"}},
		controlPlane: map[netip.Addr]string{vip4: "me"},
	}
	mine := map[netip.Addr]placement.Decision{vip4: {Node: "me"}}
	next := transition(nil, mine, s, time.Second)
	if next[vip4].phase != shared || len(next.list()) != 0 {
		t.Errorf("assigned %+v", next[vip4])
	}
	s.controlPlane[vip4] = "you"
	yours := map[netip.Addr]placement.Decision{vip4: {Node: "you"}}
	if next = transition(next, yours, s, time.Second); len(next) > 0 {
		t.Errorf("after its holder changed: %+v", next)
	}
}

// Of what a node has, only owned addresses are announced.
func TestStateFollowsThePhase(t *testing.T) {
	for p, want := range map[phase]assignment.State{
		owned: assignment.Announced, adopted: assignment.Silent, leaving: assignment.Silent,
		shared: assignment.Silent,
	} {
		if got := newAssigned(vip4, "eth0", p, 0).State; got != want {
			t.Errorf("%s is %s, want %s", p, got, want)
		}
	}
}

// E9: a freeze makes owned addresses unconfirmed, and no others.
func TestMarkUnconfirmed(t *testing.T) {
	for p, want := range map[phase]phase{
		owned: adopted, adopted: adopted, leaving: leaving, shared: shared,
	} {
		all := only(newAssigned(vip4, "eth0", p, time.Second))
		all.markAdopted()
		if a := all[vip4]; a.phase != want || a.since != time.Second || a.State == assignment.Announced {
			t.Errorf("%s becomes %+v, want %s", p, a, want)
		}
	}
}

func TestSetsOfAssignments(t *testing.T) {
	before := only(newAssigned(vip4, "eth0", owned, 1))
	next := assignments{vip6: newAssigned(vip6, "eth1", owned, 1)}
	if got := next.missing(before); !slices.Equal(got, []netip.Addr{vip6}) {
		t.Errorf("gained %v", got)
	}
	if got := before.missing(next); !slices.Equal(got, []netip.Addr{vip4}) {
		t.Errorf("lost %v", got)
	}
	if all := before.union(next); len(all) != 2 || len(before) != 1 || len(next) != 1 {
		t.Errorf("union %v of %v and %v", all, before, next)
	}
	both := before.union(assignments{vip4: newAssigned(vip4, "eth9", owned, 2)})
	if both[vip4].Link.Name != "eth9" {
		t.Errorf("the later one does not win: %+v", both[vip4])
	}
	if before.anyLeaving() || before.anyExpired(time.Hour) {
		t.Error("an owned address is leaving")
	}
	all := only(before[vip4].leave(5))
	if !all.anyLeaving() || all.anyExpired(4) || !all.anyExpired(5) || len(all.unexpired(5)) != 0 {
		t.Errorf("an address that leaves at 5: %+v", all)
	}
	list := before.union(next).list()
	if len(list) != 2 || list[0].Addr != vip4 || list[1].Addr != vip6 {
		t.Errorf("the list is %+v", list)
	}
}

// S2, S3: whatever happens in whatever order, an owned address is one that was decided, nothing
// comes without a fresh view, and an address that leaves is gone after the overlap.
func TestTransitionsInAnyOrder(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		have, now := assignments{}, time.Second
		for step := range 200 {
			now += time.Duration(rng.Int64N(int64(overlap)))
			decisions := map[netip.Addr]placement.Decision{}
			for i := range 4 {
				addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
				if node := []string{"me", "you", "", "-"}[rng.IntN(4)]; node != "-" {
					decisions[addr] = placement.Decision{Node: node, Link: "eth0"}
				}
			}
			view := liveness.View{Fresh: rng.IntN(3) > 0, Alive: []string{"me", "you"}}
			next := transition(have, decisions, snapshot{node: "me", view: view}, now)
			if err := checkTransition(have, next, decisions, view.Fresh, now); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
			have = next
		}
	}
}

func checkTransition(have, next assignments, decisions map[netip.Addr]placement.Decision,
	fresh bool, now time.Duration) error {
	for addr, a := range next {
		before, had := have[addr]
		switch {
		case !fresh && !had:
			return fmt.Errorf("%v came with a stale view", addr)
		case fresh && a.phase == owned && decisions[addr].Node != "me":
			return fmt.Errorf("%v is owned, and decided are %+v", addr, decisions[addr])
		case a.phase == leaving && (now >= a.until || a.until > now+overlap):
			return fmt.Errorf("%v leaves at %v, now is %v", addr, a.until, now)
		case a.phase == leaving && before.phase == leaving && a.until != before.until:
			return fmt.Errorf("the time of %v to leave changed", addr)
		}
	}
	for addr, a := range have {
		if !fresh && !next.has(addr) && !a.expired(now) {
			return fmt.Errorf("%v went with a stale view", addr)
		}
	}
	return nil
}
