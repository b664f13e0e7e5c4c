package vip

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/link"
)

var (
	vip4 = netip.MustParseAddr("10.9.0.100")
	vip6 = netip.MustParseAddr("2001:db8:9::100")
	eth0 = link.Link{Index: 2, Name: "eth0"}
	eth1 = link.Link{Index: 3, Name: "eth1"}

	errBroken = errors.New("broken")
)

const second = time.Second

// fixture is an Owner of vip4 and vip6 on a Fake with a manual clock.
type fixture struct {
	*Fake
	*Owner
	now     time.Duration
	sockets []netip.Addr
}

func newFixture(t *testing.T, vips ...netip.Addr) *fixture {
	t.Helper()
	if len(vips) == 0 {
		vips = []netip.Addr{vip4, vip6}
	}
	r := &fixture{now: 1000 * second}
	clock := func() time.Duration { return r.now }
	r.Fake = NewFake(clock)
	owner, err := New(Config{VIPs: vips, Kernel: r.Fake, Clock: clock,
		DestroySockets: func(vips []netip.Addr) (int, error) {
			r.sockets = append(r.sockets, vips...)
			return 1, errBroken // never fatal
		}})
	if err != nil {
		t.Fatal(err)
	}
	r.Owner = owner
	return r
}

// marked is an address on eth0.
func marked(vip netip.Addr, valid time.Duration) Marked {
	return Marked{Address: at(eth0, vip), ValidLft: valid}
}

// cleanUpControlPlane is the control plane's part of Cleanup.
func cleanUpControlPlane(k Kernel, vips []netip.Addr,
	destroy func([]netip.Addr) (int, error)) ([]Marked, error) {
	return cleanup{k, unmapped(vips), destroy}.removeControlPlane()
}

// remove deletes one address.
func remove(k Kernel, a Address) error { return deleteAll(k, []Change{{Address: a}}) }

// freeze moves the clock once, at the next operation of that kind, as a process does that
// is stopped between its check and the write.
func (r *fixture) freeze(at Op, pause time.Duration) {
	r.Hook(func(op Op, _ Address) {
		if op == at {
			r.Hook(nil)
			r.now += pause
		}
	})
}

func (r *fixture) want(t *testing.T, desc string, there bool) {
	t.Helper()
	for _, vip := range r.cfg.VIPs {
		if r.Has(vip) != there {
			t.Errorf("%s: %s on this host: %v; want %v", desc, vip, !there, there)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for desc, vips := range map[string][]netip.Addr{
		"none": nil, "invalid": {{}}, "zone": {netip.MustParseAddr("fe80::1%eth0")},
		"twice": {vip4, netip.MustParseAddr("::ffff:10.9.0.100")},
	} {
		if _, err := New(Config{VIPs: vips}); err == nil {
			t.Errorf("%s: accepted", desc)
		}
	}
	if o, err := New(Config{VIPs: []netip.Addr{vip4}}); err != nil || o.cfg.Kernel == nil ||
		o.cfg.Clock == nil || o.cfg.Log == nil || o.cfg.DestroySockets == nil {
		t.Errorf("the zero values have no defaults: %+v, %v", o, err)
	}
}

// E1: whole seconds left after taking off 1.2 s, and nothing below 1.
func TestValidLifetime(t *testing.T) {
	for _, test := range []struct{ left, want time.Duration }{
		{4500 * time.Millisecond, 3 * second}, {4200 * time.Millisecond, 3 * second},
		{4199 * time.Millisecond, 2 * second}, {2500 * time.Millisecond, second},
		{2200 * time.Millisecond, second}, {2199 * time.Millisecond, 0},
		{1200 * time.Millisecond, 0}, {0, 0}, {-second, 0}, {-100 * second, 0},
	} {
		const now = 77 * second
		if got := ValidLifetime(now+test.left, now); got != test.want {
			t.Errorf("%v before the deadline: %v; want %v", test.left, got, test.want)
		}
	}
}

// E1: whatever is left when it is written, the address is gone at the deadline.
func TestUpdateNeverOutlivesTheDeadline(t *testing.T) {
	for left := -second; left < 6*second; left += 7 * time.Millisecond {
		r := newFixture(t)
		deadline := r.now + left
		err := r.Update(eth0, deadline)
		if (err == nil) != r.Has(vip4) || err != nil && !errors.Is(err, ErrDeadline) {
			t.Fatalf("%v left: error %v, present %v", left, err, r.Has(vip4))
		}
		r.now = max(r.now, deadline)
		r.want(t, "at the deadline with "+left.String()+" left", false)
	}
}

func TestUpdateWritesAndRefreshes(t *testing.T) {
	r := newFixture(t)
	for range 10 { // ten renewals, a second apart, of a 5 s lease
		if err := r.Update(eth0, r.now+4500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		r.now += second
		r.want(t, "between renewals", true)
	}
	for _, call := range r.Calls() {
		if call.Op != OpReplace || call.Valid != 3*second || call.Address.LinkIndex != 2 ||
			call.Address.LinkName != "eth0" {
			t.Fatalf("unexpected call %+v", call)
		}
	}
	r.now += 3*second + KernelLag - second // of which one has passed
	r.want(t, "after the last lifetime", false)
}

// E1: an expiry is never undone, and below one second nothing is written.
func TestUpdateInTheLastSecond(t *testing.T) {
	r := newFixture(t)
	deadline := r.now + 3500*time.Millisecond
	if err := r.Update(eth0, deadline); err != nil {
		t.Fatal(err)
	}
	r.now = deadline - 2100*time.Millisecond
	writes := len(r.Calls())
	if err := r.Update(eth0, deadline); err != nil || len(r.Calls()) != writes {
		t.Errorf("with the addresses there: %v and %d writes; want neither", err, len(r.Calls())-writes)
	}
	if err := r.Update(eth1, deadline); !errors.Is(err, ErrDeadline) || len(r.Calls()) != writes {
		t.Errorf("on another link: %v; want ErrDeadline and no write", err)
	}
	r.Remove(vip6)
	if err := r.Update(eth0, deadline); !errors.Is(err, ErrDeadline) || len(r.Calls()) != writes ||
		!strings.Contains(err.Error(), vip6.String()) {
		t.Errorf("with one removed: %v; want ErrDeadline naming it, and no write", err)
	}
	r.Fail(OpList, errBroken)
	if err := r.Update(eth0, deadline); !errors.Is(err, errBroken) {
		t.Errorf("with a listing that fails: %v", err)
	}
}

// A lifetime that cannot be shortened any more, from a longer lease before, is ended.
func TestUpdateInTheLastSecondEndsALongLifetime(t *testing.T) {
	for _, valid := range []time.Duration{10 * second, Forever} {
		r := newFixture(t, vip4)
		r.PutMarked(marked(vip4, valid))
		if err := r.Update(eth0, r.now+second); !errors.Is(err, ErrDeadline) {
			t.Errorf("%v: %v; want ErrDeadline", valid, err)
		}
		r.want(t, "lifetime "+valid.String(), false)
	}
}

// E4: a deadline that has passed deletes, also what an earlier Update put there.
func TestUpdateAfterTheDeadlineDeletes(t *testing.T) {
	r := newFixture(t)
	if err := r.Update(eth0, r.now+10*second); err != nil {
		t.Fatal(err)
	}
	if err := r.Update(eth0, r.now); !errors.Is(err, ErrDeadline) || errors.Is(err, ErrUnconfirmed) {
		t.Errorf("error %v; want ErrDeadline, confirmed", err)
	}
	r.want(t, "after a passed deadline", false)
}

// E4: the process is frozen between check and write; the kernel creates the address again
// and the check after the write takes it away.
func TestFrozenBetweenCheckAndWrite(t *testing.T) {
	r := newFixture(t)
	if err := r.Update(eth0, r.now+4500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	r.now += second
	deadline := r.now + 4500*time.Millisecond
	r.freeze(OpReplace, 60*second)
	if err := r.Update(eth0, deadline); !errors.Is(err, ErrDeadline) {
		t.Errorf("error %v; want ErrDeadline", err)
	}
	r.want(t, "after thawing", false)
	var created bool
	for _, call := range r.Calls() {
		created = created || call.Op == OpReplace && call.At > deadline
	}
	if !created {
		t.Error("no write was late: the test proves nothing")
	}
}

// E4: a freeze that ends before the deadline still leaves no lifetime beyond it.
func TestFrozenForLessThanTheDeadline(t *testing.T) {
	for pause := 5 * time.Millisecond; pause < 6*second; pause += 37 * time.Millisecond {
		for _, failing := range []error{nil, errBroken} {
			r := newFixture(t)
			deadline := r.now + 4500*time.Millisecond
			r.FailApplied(OpReplace, failing)
			r.freeze(OpReplace, pause)
			err := r.Update(eth0, deadline)
			if err == nil {
				r.want(t, "nil after a freeze of "+pause.String(), true)
			}
			if errors.Is(err, ErrDeadline) {
				r.want(t, "ErrDeadline after a freeze of "+pause.String(), false)
			}
			r.now = max(r.now, deadline)
			r.want(t, "at the deadline after a freeze of "+pause.String(), false)
		}
	}
}

// E4: a late write is to be corrected and the correction does not get through, or the late
// write itself reports a failure: the address must not stay with the long lifetime.
func TestFrozenAndFailing(t *testing.T) {
	for _, first := range []error{nil, errBroken} {
		r := newFixture(t, vip4)
		deadline := r.now + 4500*time.Millisecond
		r.FailApplied(OpReplace, first)
		replaces := 0
		r.Hook(func(op Op, _ Address) {
			if op != OpReplace {
				return
			}
			if replaces++; replaces == 1 {
				r.now += 2 * second
			} else {
				r.Fail(OpReplace, errBroken)
			}
		})
		err := r.Update(eth0, deadline)
		if !errors.Is(err, ErrDeadline) {
			t.Errorf("first write %v: error %v; want ErrDeadline", first, err)
		}
		r.want(t, "after it", false)
	}
}

// E4: the write of the second address is the late one; both go.
func TestFrozenAtTheSecondAddress(t *testing.T) {
	r := newFixture(t)
	count := 0
	r.Hook(func(op Op, a Address) {
		if count++; a.Addr == vip6 && op == OpReplace {
			r.now += 5 * second
		}
	})
	if err := r.Update(eth0, r.now+4500*time.Millisecond); !errors.Is(err, ErrDeadline) {
		t.Errorf("error %v; want ErrDeadline", err)
	}
	r.want(t, "after thawing", false)
}

// E4: frozen while the last second is looked at.
func TestFrozenWhileListing(t *testing.T) {
	r := newFixture(t)
	deadline := r.now + 2500*time.Millisecond
	if err := r.Update(eth0, deadline); err != nil {
		t.Fatal(err)
	}
	r.now += 500 * time.Millisecond
	r.freeze(OpList, 3*second)
	if err := r.Update(eth0, deadline); !errors.Is(err, ErrDeadline) {
		t.Errorf("error %v; want ErrDeadline", err)
	}
}

// Two address families fail apart: one error does not keep the other from being held.
func TestUpdateGoesOnAfterAnError(t *testing.T) {
	r := newFixture(t)
	r.Hook(func(op Op, a Address) {
		if a.Addr == vip4 {
			r.Fail(OpReplace, errBroken)
		} else {
			r.Fail(OpReplace, nil)
		}
	})
	err := r.Update(eth0, r.now+4500*time.Millisecond)
	if !errors.Is(err, errBroken) || errors.Is(err, ErrDeadline) ||
		!strings.Contains(err.Error(), "10.9.0.100 on eth0") ||
		strings.Contains(err.Error(), vip6.String()) {
		t.Errorf("error %v; want one for the IPv4 address alone", err)
	}
	if r.Has(vip4) || !r.Has(vip6) {
		t.Errorf("IPv4 %v, IPv6 %v; want only IPv6", r.Has(vip4), r.Has(vip6))
	}
}

func TestUpdateMovesToAnotherLink(t *testing.T) {
	r := newFixture(t, vip4)
	for _, l := range []link.Link{eth0, eth1} {
		if err := r.Update(l, r.now+4500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if list, err := r.Present(); err != nil || len(list) != 1 || list[0].LinkIndex != l.Index ||
			list[0].ValidLft != 3*second {
			t.Errorf("Present = %+v, %v; want %s alone", list, err, l.Name)
		}
	}
}

// E5: a deletion counts only when reading back shows that the address is gone.
func TestDeleteConfirms(t *testing.T) {
	for _, test := range []struct {
		desc      string
		arrange   func(*fixture)
		confirmed bool
	}{
		{"works", func(*fixture) {}, true},
		{"write fails", func(r *fixture) { r.Fail(OpDelete, errBroken) }, false},
		{"listing fails", func(r *fixture) { r.Fail(OpList, errBroken) }, false},
		{"answer lost", func(r *fixture) { r.FailApplied(OpDelete, errBroken) }, true},
		{"expired", func(r *fixture) { r.Fail(OpDelete, errBroken); r.now += 10 * second }, true},
		{"nothing there", func(r *fixture) { r.Remove(vip4); r.Remove(vip6) }, true},
		{"lost without an answer once", func(r *fixture) {
			deletes := 0
			r.Hook(func(op Op, _ Address) {
				if op != OpDelete {
					return
				}
				if deletes++; deletes <= 3 {
					r.Fail(OpDelete, errBroken)
				} else {
					r.Fail(OpDelete, nil)
				}
			})
		}, true},
	} {
		r := newFixture(t)
		if err := r.Update(eth0, r.now+4500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		test.arrange(r)
		err := r.Delete()
		if (err == nil) != test.confirmed || err != nil &&
			(!errors.Is(err, ErrUnconfirmed) || !errors.Is(err, errBroken)) {
			t.Errorf("%s: error %v; want confirmed %v", test.desc, err, test.confirmed)
		}
		if test.confirmed {
			r.want(t, test.desc, false)
		}
		if r.DestroySockets(); len(r.sockets) != 2 {
			t.Errorf("%s: destroyed the sockets of %v; want both addresses'", test.desc, r.sockets)
		}
	}
}

// ignoring is a kernel that reports success for deletions and does nothing.
type ignoring struct{ Kernel }

func (k ignoring) Apply(changes []Change) []error {
	errs := make([]error, len(changes))
	for i, c := range changes {
		if c.Valid > 0 {
			errs[i] = k.Kernel.Apply(changes[i : i+1])[0]
		}
	}
	return errs
}

// E5: the error names what is still there.
func TestDeleteNamesWhatIsLeft(t *testing.T) {
	r := newFixture(t, vip4)
	r.cfg.Kernel = ignoring{r.Fake}
	r.PutMarked(marked(vip4, Forever))
	if err := r.Delete(); !errors.Is(err, ErrUnconfirmed) ||
		!strings.Contains(err.Error(), "10.9.0.100 is still on eth0") {
		t.Errorf("error %v", err)
	}
}

// An address that lost its mark, by ip addr replace say, is deleted where it was written.
func TestDeleteWithoutTheMark(t *testing.T) {
	r := newFixture(t, vip4)
	r.cfg.Kernel = markless{r.Fake}
	if err := r.Update(eth0, r.now+4500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := r.Delete(); err != nil {
		t.Fatal(err)
	}
	r.want(t, "after Delete", false)
}

// E5: what lost its mark and cannot be deleted is in no listing of marked addresses, and is there.
func TestDeleteWithoutTheMarkFails(t *testing.T) {
	for _, op := range []Op{OpDelete, OpList} {
		r := newFixture(t, vip4)
		r.cfg.Kernel = markless{r.Fake}
		if err := r.Update(eth0, r.now+4500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		r.Fail(op, errBroken)
		if err := r.Delete(); !errors.Is(err, ErrUnconfirmed) || !errors.Is(err, errBroken) ||
			!strings.Contains(err.Error(), "10.9.0.100") {
			t.Errorf("%s fails: error %v; want ErrUnconfirmed naming the address", op, err)
		}
		r.Fail(op, nil)
		if err := r.Delete(); err != nil {
			t.Error(err)
		}
		r.want(t, "after another Delete", false)
	}
}

// E5: each deletion seems to succeed, and the address is present, as if another program added it
// again.
func TestDeleteOfWhatComesBack(t *testing.T) {
	r := newFixture(t, vip4)
	r.cfg.Kernel = ignoring{markless{r.Fake}}
	if err := r.Update(eth0, r.now+4500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := r.Delete(); !errors.Is(err, ErrUnconfirmed) || strings.Contains(err.Error(), "%!") {
		t.Errorf("error %v; want ErrUnconfirmed and nothing odd", err)
	}
}

// markless is a kernel that keeps marks, on a host where another program removed them.
type markless struct{ *Fake }

func (k markless) Addresses() ([]link.HostAddr, error) {
	host, err := k.Fake.Addresses()
	for i := range host {
		host[i].Proto, host[i].Label = 0, ""
	}
	return host, err
}

// E8: Present distinguishes the configured addresses from those of other runs.
func TestPresentAndPrune(t *testing.T) {
	stray := netip.MustParseAddr("10.9.0.222")
	for _, test := range []struct{ keep, configured bool }{{true, true}, {false, false}} {
		r := newFixture(t, vip4)
		r.PutMarked(marked(vip4, 3*second))
		r.PutMarked(marked(stray, 3*second))
		if list, err := r.Present(); err != nil || len(list) != 1 ||
			list[0] != (Marked{Address{vip4, 2, "eth0"}, 3 * second}) {
			t.Errorf("Present = %+v, %v", list, err)
		}
		if err := r.Prune(test.keep); err != nil {
			t.Fatal(err)
		}
		if r.Has(stray) || r.Has(vip4) != test.configured {
			t.Errorf("Prune(%v) left stray %v, configured %v", test.keep, r.Has(stray), r.Has(vip4))
		}
	}
	r := newFixture(t)
	r.Fail(OpList, errBroken)
	if _, err := r.Present(); !errors.Is(err, errBroken) {
		t.Errorf("Present hides the error: %v", err)
	}
	if err := r.Prune(true); !errors.Is(err, ErrUnconfirmed) {
		t.Errorf("Prune hides the error: %v", err)
	}
}

// E8: what a longer lease left ends as soon as a shorter one allows, and is never prolonged.
func TestShorten(t *testing.T) {
	for _, test := range []struct{ there, want time.Duration }{
		{0, 0}, {second, second + KernelLag}, {3 * second, 3*second + KernelLag},
		{4 * second, 3*second + KernelLag}, {26 * second, 3*second + KernelLag},
	} {
		r := newFixture(t, vip4)
		if test.there > 0 {
			r.PutMarked(marked(vip4, test.there))
		}
		left, err := r.Shorten(3 * second)
		if err != nil || left != test.want || r.Has(vip4) != (test.there > 0) {
			t.Errorf("%v there: Shorten = %v, %v; want %v", test.there, left, err, test.want)
		}
		r.now += test.want
		r.want(t, "after the shorter lifetime", false)
	}
	// frozen meanwhile: nothing is revived
	for op, pause := range map[Op]time.Duration{OpList: 28 * second, OpReplace: 27 * second} {
		r := newFixture(t, vip4)
		r.PutMarked(marked(vip4, 26*second))
		r.freeze(op, pause)
		if left, err := r.Shorten(3 * second); err != nil || left != 0 {
			t.Errorf("frozen at %s: %v, %v", op, left, err)
		}
		r.want(t, "frozen at "+string(op), false)
	}
	r := newFixture(t, vip4)
	r.PutMarked(marked(vip4, 26*second))
	r.Fail(OpReplace, errBroken)
	if _, err := r.Shorten(3 * second); !errors.Is(err, errBroken) {
		t.Errorf("Shorten hides the error: %v", err)
	}
	r.want(t, "that could not be shortened", false)
}

// E8: the addresses of another kvip that runs in this namespace are not swept.
func TestPruneAndCleanupLeaveARunningKvip(t *testing.T) {
	other := netip.MustParseAddr("10.9.0.223")
	lock, err := Lock(other)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	r := newFixture(t, vip4)
	r.PutMarked(marked(other, 3*second))
	r.PutMarked(marked(vip6, 3*second))
	if err := r.Prune(false); err != nil || !r.Has(other) || r.Has(vip6) {
		t.Errorf("Prune: %v, other there %v, stray there %v", err, r.Has(other), r.Has(vip6))
	}
	r.PutMarked(marked(vip6, 3*second))
	var killed []netip.Addr
	removed, err := cleanUpControlPlane(r.Fake, nil,
		func(vips []netip.Addr) (int, error) { killed = append(killed, vips...); return 0, nil })
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), other.String()) {
		t.Errorf("cleanup: error %v; want ErrLocked naming %s", err, other)
	}
	if len(removed) != 1 || removed[0].Addr != vip6 || !r.Has(other) || len(killed) != 1 ||
		killed[0] != vip6 {
		t.Errorf("cleanup removed %+v, sockets of %v, other there %v", removed, killed, r.Has(other))
	}
}

func TestCleanupOfNamedAddresses(t *testing.T) {
	r := newFixture(t)
	put := func() {
		r.PutMarked(marked(vip4, 3*second))
		r.PutMarked(marked(vip6, Forever))
	}
	put()
	ignore := func([]netip.Addr) (int, error) { return 0, nil }
	removed, err := cleanUpControlPlane(r.Fake, []netip.Addr{netip.MustParseAddr("::ffff:10.9.0.100")},
		ignore)
	if err != nil || len(removed) != 1 || r.Has(vip4) || !r.Has(vip6) {
		t.Errorf("removed %+v, %v", removed, err)
	}
	put()
	if removed, err := cleanUpControlPlane(r.Fake, nil, ignore); err != nil || len(removed) != 2 ||
		r.Has(vip6) {
		t.Errorf("removed %+v, %v; want both", removed, err)
	}
	if removed, err := cleanUpControlPlane(r.Fake, nil, ignore); err != nil || len(removed) != 0 {
		t.Errorf("a second time: removed %+v, %v", removed, err)
	}
	put()
	if _, err := cleanUpControlPlane(r.Fake, nil,
		func([]netip.Addr) (int, error) { return 0, errBroken }); !errors.Is(err, errBroken) {
		t.Errorf("cleanup hides that connections stay: %v", err)
	}
}
