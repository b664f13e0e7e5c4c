package agent

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/vip"
	"github.com/kvip/kvip/test/testutil"
)

// TestIdentity is E8: node name, boot and network namespace, the same after a restart and
// another one in another namespace.
func TestIdentity(t *testing.T) {
	outside, err := identity("node-a")
	if err != nil {
		t.Fatal(err)
	}
	boot, err := link.BootID()
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := identity("node-a"); again != outside {
		t.Errorf("%s, and then %s", outside, again)
	}
	if !strings.HasPrefix(outside, "node-a_"+boot[:13]+"_") || election.NodeName(outside) != "node-a" || len(outside) > 128 {
		t.Errorf("identity %s", outside)
	}
	testutil.NewNetns(t)
	if inside, err := identity("node-a"); err != nil || inside == outside || election.NodeName(inside) != "node-a" {
		t.Errorf("%s in another namespace, %s here: %v", inside, outside, err)
	}
}

func TestTwinIsAnotherOfTheSameName(t *testing.T) {
	for holder, want := range map[string]bool{"": false, self: false, other: false, "node-a_boot_9": true, "node-a": true, "node": false} {
		if got := twin(holder, self); got != want {
			t.Errorf("%q: %v", holder, got)
		}
	}
}

// leftover makes a machine on a host where an earlier agent left marks.
func leftover(t *testing.T, r *rig, marks ...vip.Marked) (*election.Machine, error) {
	t.Helper()
	for _, m := range marks {
		r.kernel.Put(m)
	}
	return newMachine(r.l.cfg, self, r.l.owner.(*vip.Owner))
}

func mark(addr netip.Addr, left time.Duration) vip.Marked {
	return vip.Marked{Address: vip.Address{VIP: addr, LinkIndex: 7, LinkName: "eth0"}, ValidLft: left}
}

// TestE8Leftovers are left alone until the lease has been read; but an address that is not
// this agent's to serve goes at once, and so does one that nothing would ever end.
func TestE8Leftovers(t *testing.T) {
	foreign := netip.MustParseAddr("10.0.0.200")
	for _, c := range []struct {
		name  string
		marks []vip.Marked
		stay  []netip.Addr
	}{
		{"None", nil, nil},
		{"Finite", []vip.Marked{mark(vip4, 3*time.Second), mark(vip6, 2*time.Second)}, []netip.Addr{vip4, vip6}},
		{"OfAnotherConfiguration", []vip.Marked{mark(foreign, 3*time.Second)}, nil},
		{"WithoutEnd", []vip.Marked{mark(vip4, vip.Forever)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				m, err := leftover(t, r, c.marks...)
				if err != nil {
					t.Fatal(err)
				}
				m.Step(election.Tick{}, r.l.now())
				for _, a := range []netip.Addr{vip4, vip6, foreign} {
					if r.kernel.Has(a) != slices.Contains(c.stay, a) {
						t.Errorf("%s is there: %v", a, r.kernel.Has(a))
					}
				}
			})
		})
	}
}

// TestE8NetlinkFailsAtTheStart is an error: whoever restarts the agent tells.
func TestE8NetlinkFailsAtTheStart(t *testing.T) {
	for _, op := range []vip.Op{vip.OpList, vip.OpDelete} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.kernel.Fail(op, errNetlink)
			if _, err := leftover(t, r, mark(vip4, vip.Forever)); err == nil || !strings.Contains(err.Error(), errNetlink.Error()) {
				t.Errorf("%s: %v", op, err)
			}
		})
	}
}

// TestE8Restart has the lease name this agent while its address is still there: adopted by
// one renewal, without a gap and without a probe. Under another's lease it is deleted.
func TestE8Restart(t *testing.T) {
	for holder, did := range map[string]string{self: "replace announce", other: "hush delete"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			var err error
			if r.l.machine, err = leftover(t, r, mark(vip4, 3*time.Second), mark(vip6, 3*time.Second)); err != nil {
				t.Fatal(err)
			}
			r.start()
			defer r.end()
			r.did("")
			r.edit(func(l *election.Record) {
				*l = election.Record{Exists: true, Version: l.Version, Holder: holder, Term: 4, Duration: lease, Seq: 3}
			})
			r.pass(time.Second / 2)
			r.did(did)
			if r.has() != (holder == self) {
				t.Errorf("held by %s: the address is there: %v", holder, r.has())
			}
		})
	}
}

// TestRunEndsEverything in the right order: what runs beside the loop ends after the lease
// was released, not before.
func TestRunEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		a := &agent{cfg: r.l.cfg, log: r.l.log, loop: r.l}
		for range 3 {
			a.beside = append(a.beside, func(ctx context.Context) error {
				<-ctx.Done()
				r.journal.add("end")
				return nil
			})
		}
		ended := make(chan error)
		go func() { ended <- a.run(ctx) }()
		r.send(election.Link{Usable: true})
		r.send(election.Health{Verdict: election.Healthy})
		r.observe()
		r.pass(time.Second / 2)
		r.journal.take()
		r.hold()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		r.did("hush delete release end")
		if !r.logged("kvip stopped") {
			t.Error("the end is not told")
		}
	})
}

// TestLockAll admits one agent for an address in a network namespace; the second says why
// it waits, goes on when the first ends, and gives up when it is told to (E8).
func TestLockAll(t *testing.T) {
	testutil.NewNetns(t)
	cfg := config.Default()
	cfg.VIPs = []netip.Addr{vip4, vip6}
	p := newPages(cfg, Build{}, self, nil, discard)
	unlock := lockAll(t.Context(), cfg, p, discard)
	if p.notReady() != "starting" {
		t.Errorf("with the locks: %s", p.notReady())
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	lockAll(ended, cfg, p, discard)()
	if !strings.Contains(p.notReady(), "another kvip on this host serves the address") {
		t.Errorf("without the locks: %s", p.notReady())
	}
	unlock()
	lockAll(t.Context(), cfg, p, discard)()
	if p.notReady() != "starting" {
		t.Errorf("with the locks again: %s", p.notReady())
	}
}
