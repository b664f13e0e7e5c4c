package vip

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/test/testutil"
	"golang.org/x/sys/unix"
)

// serviceFixture is a ServiceOwner on a Fake with a clock that moves only by hand.
type serviceFixture struct {
	*Fake
	*ServiceOwner
	kernel  *recordingKernel
	now     time.Duration
	sockets []netip.Addr
}

func newServiceFixture(t *testing.T) *serviceFixture {
	t.Helper()
	c := &serviceFixture{now: time.Hour}
	c.Fake = NewFake(func() time.Duration { return c.now })
	c.kernel = &recordingKernel{Kernel: c.Fake}
	c.restart(t)
	return c
}

// restart replaces the ServiceOwner as a new process would.
func (c *serviceFixture) restart(t *testing.T) {
	t.Helper()
	var err error
	c.ServiceOwner, err = NewServiceOwner(ServiceOwnerConfig{
		Kernel: c.kernel, Clock: func() time.Duration { return c.now },
		Log: slog.New(slog.DiscardHandler),
		DestroySockets: func(vips []netip.Addr) (int, error) {
			c.sockets = append(c.sockets, vips...)
			return 1, errBroken // never fatal
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// idle has the ServiceOwner renew for a while.
func (c *serviceFixture) idle(t *testing.T, d time.Duration) {
	t.Helper()
	for end := c.now + d; c.now < end; {
		next, err := c.Refresh(c.now)
		if err != nil {
			t.Fatal(err)
		}
		c.now = min(next, end)
	}
}

func (c *serviceFixture) sync(t *testing.T, want ...Address) (added, removed []Address) {
	t.Helper()
	added, removed, err := c.kernel.sync(c.ServiceOwner, want)
	if err != nil {
		t.Fatal(err)
	}
	return added, removed
}

// recordingKernel records the changes that succeed.
type recordingKernel struct {
	Kernel
	done []Change
}

func (k *recordingKernel) Apply(changes []Change) []error {
	errs := k.Kernel.Apply(changes)
	for i, err := range errs {
		if err == nil {
			k.done = append(k.done, changes[i])
		}
	}
	return errs
}

// sync calls Sync of an owner of this kernel. It returns what was written and what was deleted; an
// address that moved is in both.
func (k *recordingKernel) sync(o *ServiceOwner, want []Address) (
	added, removed []Address, err error,
) {
	k.done = nil
	err = o.Sync(assigned(want))
	for _, c := range k.done {
		if c.Valid > 0 {
			added = append(added, c.Address)
		}
	}
	for _, c := range k.done {
		if c.Valid == 0 && !slices.Contains(added, c.Address) {
			removed = append(removed, c.Address)
		}
	}
	return added, removed, err
}

func host(prefix string, on link.Link, proto uint8) link.HostAddr {
	return link.HostAddr{
		Prefix: netip.MustParsePrefix(prefix), Link: on.Name, Index: on.Index, Proto: proto,
		ValidLft: link.Forever, PreferredLft: link.Forever,
	}
}

func TestNewServiceOwnerRefusesBadLifetimes(t *testing.T) {
	for _, lifetime := range []time.Duration{-1, time.Second, 59 * time.Second, 60*time.Second + 1} {
		if _, err := NewServiceOwner(ServiceOwnerConfig{Lifetime: lifetime}); err == nil {
			t.Errorf("S8: lifetime %v is accepted", lifetime)
		}
	}
	r, err := NewServiceOwner(ServiceOwnerConfig{})
	if err != nil || r.cfg.Lifetime != DefaultServiceLifetime || r.cfg.Kernel == nil ||
		r.cfg.Clock == nil || r.cfg.Log == nil || r.cfg.DestroySockets == nil {
		t.Errorf("defaults: %+v, %v", r, err)
	}
}

func TestSync(t *testing.T) {
	c := newServiceFixture(t)
	a, b, d := at(eth0, nth(1)), at(eth0, vip6), at(eth1, nth(1))
	for _, step := range []struct {
		desc                 string
		want, added, removed []Address
	}{
		{"nothing", nil, nil, nil},
		{"both", []Address{a, b}, []Address{a, b}, nil},
		{"again", []Address{a, b}, nil, nil},
		{"moved", []Address{d, b}, []Address{d}, []Address{a}},
		{"one", []Address{d}, nil, []Address{b}},
		{"mapped", []Address{{netip.MustParseAddr("::ffff:10.20.0.1"), 3, "eth1"}}, nil, nil},
		{"none", nil, nil, []Address{d}},
	} {
		added, removed := c.sync(t, step.want...)
		if !slices.Equal(added, step.added) || !slices.Equal(removed, step.removed) {
			t.Errorf("%s: added %v, removed %v; want %v and %v", step.desc, added, removed, step.added,
				step.removed)
		}
	}
	if want := []netip.Addr{nth(1), vip6, nth(1)}; !slices.Equal(c.sockets, want) {
		t.Errorf("connections to %v were destroyed; want %v", c.sockets, want)
	}
}

// S6: an agent that was restarted finds its addresses, takes them over without a write and
// renews them in time.
func TestS6Restart(t *testing.T) {
	c := newServiceFixture(t)
	var want []Address
	for i := range 500 {
		want = append(want, at(eth0, nth(i)))
	}
	c.sync(t, want...)
	c.idle(t, 5*time.Minute)
	c.now += 50 * time.Second // no process refreshes them meanwhile
	before := len(c.Calls())
	c.restart(t)
	present, err := c.Present()
	if err != nil || len(present) != len(want) {
		t.Fatalf("%d of %d are present: %v", len(present), len(want), err)
	}
	if added, removed := c.sync(t, want...); len(added)+len(removed) != 0 || len(c.Calls()) != before {
		t.Errorf("the restarted agent added %v and removed %v", added, removed)
	}
	c.idle(t, 10*time.Minute)
	for _, a := range want {
		if !c.Has(a.Addr) {
			t.Fatalf("%v has expired", a.Addr)
		}
	}
	c.restart(t) // and for good
	c.now += 121 * time.Second
	if present, err := c.Present(); err != nil || len(present) != 0 {
		t.Errorf("%d addresses outlive kvip by more than their lifetime, %v", len(present), err)
	}
}

// What another program put on this host is refused by name and never touched; the other
// addresses are served.
func TestSyncRefuses(t *testing.T) {
	c := newServiceFixture(t)
	c.Put(host("10.20.0.1/24", eth0, 0))
	c.Put(host("10.20.0.2/32", eth1, 0))
	c.Put(host("10.20.0.3/32", eth0, ControlPlaneProto))
	c.Put(host("10.20.0.4/24", eth0, ServiceProto))
	labelled := host("10.20.0.5/32", eth0, 0)
	labelled.Label = "eth0:kvip"
	c.Put(labelled)
	c.FailAddress(nth(6), errBroken)
	good := at(eth0, nth(9))
	added, removed, err := c.kernel.sync(c.ServiceOwner, []Address{
		at(eth0, nth(1)), at(eth0, nth(2)), at(eth0, nth(3)), at(eth0, nth(4)), at(eth0, nth(5)),
		at(eth0, nth(6)),
		at(eth0, netip.MustParseAddr("fe80::1%eth0")), at(eth0, netip.Addr{}), {Addr: nth(8)}, good, good,
	})
	if !slices.Equal(added, []Address{good}) || len(removed) != 0 {
		t.Errorf("added %v, removed %v", added, removed)
	}
	want := []struct {
		vip   netip.Addr
		cause error
	}{
		{nth(1), ErrForeign}, {nth(2), ErrForeign}, {nth(3), ErrControlPlane}, {nth(4), ErrForeign},
		{nth(5), ErrControlPlane},
		{netip.MustParseAddr("fe80::1%eth0"), nil}, {netip.Addr{}, nil}, {nth(8), nil}, {nth(9), nil},
		{nth(6), errBroken},
	}
	got := AddressErrors(err)
	if len(got) != len(want) {
		t.Fatalf("%d errors: %v", len(got), err)
	}
	for i, w := range want {
		if got[i].Address.Addr != w.vip || w.cause != nil && !errors.Is(got[i], w.cause) ||
			!strings.Contains(got[i].Error(), w.vip.String()) {
			t.Errorf("error %d is %v; want %v, %v", i, got[i], w.vip, w.cause)
		}
	}
	for _, change := range c.Calls() {
		if change.Addr != nth(9) && change.Addr != nth(6) {
			t.Errorf("touched %v", change)
		}
	}
	if AddressErrors(errBroken) != nil || AddressErrors(nil) != nil {
		t.Error("an error that is of no address has one")
	}
}

// An address whose own kind appears beside it with a network's prefix is given up.
func TestSyncGivesWayToTheNode(t *testing.T) {
	c := newServiceFixture(t)
	c.sync(t, at(eth0, nth(1)))
	c.Put(host("10.20.0.1/24", eth1, 0))
	_, removed, err := c.kernel.sync(c.ServiceOwner, []Address{at(eth0, nth(1))})
	if !errors.Is(err, ErrForeign) || !slices.Equal(removed, []Address{at(eth0, nth(1))}) {
		t.Errorf("removed %v, %v", removed, err)
	}
}

// A move whose write fails leaves the address where it was.
func TestMoveThatFails(t *testing.T) {
	c := newServiceFixture(t)
	c.sync(t, at(eth0, nth(1)))
	c.FailAddress(nth(1), errBroken)
	_, removed, err := c.kernel.sync(c.ServiceOwner, []Address{at(eth1, nth(1))})
	if len(AddressErrors(err)) != 1 || len(removed) != 0 || !c.Has(nth(1)) {
		t.Errorf("removed %v, %v", removed, err)
	}
	c.FailAddress(nth(1), nil)
	added, removed := c.sync(t, at(eth1, nth(1)))
	if !slices.Equal(added, []Address{at(eth1, nth(1))}) ||
		!slices.Equal(removed, []Address{at(eth0, nth(1))}) {
		t.Errorf("added %v, removed %v", added, removed)
	}
}

// What another program changed about an address is put right.
func TestSyncPutsRight(t *testing.T) {
	for desc, change := range map[string]func(*link.HostAddr){
		"permanent": func(h *link.HostAddr) { h.ValidLft = link.Forever },
		"preferred": func(h *link.HostAddr) { h.PreferredLft = 10 },
		"scope":     func(h *link.HostAddr) { h.Scope = unix.RT_SCOPE_LINK },
		"route":     func(h *link.HostAddr) { h.Flags &^= unix.IFA_F_NOPREFIXROUTE },
	} {
		c := newServiceFixture(t)
		a := at(eth0, nth(1))
		c.sync(t, a)
		list, err := c.Fake.Addresses()
		if err != nil {
			t.Fatal(err)
		}
		change(&list[0])
		c.Put(list[0])
		if added, removed := c.sync(t, a); !slices.Equal(added, []Address{a}) || len(removed) != 0 {
			t.Errorf("%s: added %v, removed %v", desc, added, removed)
		}
		if added, _ := c.sync(t, a); len(added) != 0 {
			t.Errorf("%s: it is written again and again", desc)
		}
	}
}

// E10: beside the node's own address the scope is the same and the place in the list after it.
func TestPlanFollowsTheNodesOwn(t *testing.T) {
	c := newServiceFixture(t)
	a, other := at(eth0, nth(1)), at(eth1, nth(2))
	c.sync(t, a, other)
	c.Put(host("10.20.9.1/24", eth0, 0)) // comes later
	added, _ := c.sync(t, a, other)
	list, err := c.Fake.Addresses()
	if err != nil || !slices.Equal(added, []Address{a}) {
		t.Fatalf("added %v, %v", added, err)
	}
	last := list[len(list)-1]
	if last.Prefix.Addr() != nth(1) || last.Scope != unix.RT_SCOPE_UNIVERSE ||
		list[0].Scope != unix.RT_SCOPE_HOST {
		t.Errorf("the list is %+v", list)
	}
	secondary := host("10.20.9.2/24", eth0, 0)
	secondary.Flags = unix.IFA_F_SECONDARY
	c.Put(secondary)
	if added, _ := c.sync(t, a, other); len(added) != 0 {
		t.Errorf("a secondary address has %v written again", added)
	}
}

// An expiry is not undone by a process that stood still: that takes a Sync, whose caller has
// looked.
func TestRefreshRevivesNothing(t *testing.T) {
	c := newServiceFixture(t)
	c.sync(t, at(eth0, nth(1)))
	c.now += 3 * time.Minute
	before := len(c.Calls())
	_, err := c.Refresh(c.now)
	if list := AddressErrors(err); len(list) != 1 || !errors.Is(err, ErrExpired) ||
		list[0].Address.Addr != nth(1) {
		t.Errorf("Refresh: %v", err)
	}
	if len(c.Calls()) != before || c.Has(nth(1)) {
		t.Error("the address is back")
	}
	if added, _ := c.sync(t, at(eth0, nth(1))); len(added) != 1 || !c.Has(nth(1)) {
		t.Error("the next Sync does not bring it back")
	}
}

func TestRefreshReportsFailures(t *testing.T) {
	c := newServiceFixture(t)
	c.sync(t, at(eth0, nth(1)), at(eth0, nth(2)))
	c.FailAddress(nth(1), errBroken)
	failures := 0
	for end := c.now + 90*time.Second; c.now < end; {
		next, err := c.Refresh(c.now)
		for _, e := range AddressErrors(err) {
			if e.Address.Addr != nth(1) || !errors.Is(e, errBroken) {
				t.Errorf("unexpected: %v", e)
			}
			failures++
		}
		c.now = next
	}
	c.FailAddress(nth(1), nil)
	c.idle(t, 5*time.Minute)
	if failures == 0 || !c.Has(nth(1)) || !c.Has(nth(2)) {
		t.Errorf("%d failures, there: %v, %v", failures, c.Has(nth(1)), c.Has(nth(2)))
	}
}

func TestClear(t *testing.T) {
	c := newServiceFixture(t)
	c.sync(t, at(eth0, nth(1)), at(eth0, nth(2)))
	c.Put(host("10.20.0.3/32", eth0, ControlPlaneProto))
	c.FailAddress(nth(1), errBroken)
	if err := c.Clear(); !errors.Is(err, ErrUnconfirmed) || !errors.Is(err, errBroken) ||
		!strings.Contains(err.Error(), nth(1).String()) {
		t.Errorf("Clear that fails: %v", err)
	}
	c.FailAddress(nth(1), nil)
	if err := c.Clear(); err != nil || c.Has(nth(1)) || c.Has(nth(2)) || !c.Has(nth(3)) {
		t.Errorf("Clear: %v", err)
	}
	if _, err := c.Refresh(c.now + time.Minute); err != nil || c.Has(nth(1)) {
		t.Errorf("Refresh after Clear: %v", err)
	}
	c.Fail(OpList, errBroken)
	if err := c.Clear(); !errors.Is(err, ErrUnconfirmed) || !errors.Is(err, errBroken) {
		t.Errorf("Clear that cannot read back: %v", err)
	}
	if _, err := c.Present(); !errors.Is(err, errBroken) {
		t.Errorf("Present: %v", err)
	}
	if err := c.Sync(nil); !errors.Is(err, errBroken) || AddressErrors(err) != nil {
		t.Errorf("Sync: %v", err)
	}
}

// Whatever is wanted and whichever program interferes, after a Sync without errors the kernel has
// exactly what is wanted, what others put there is untouched, and a second Sync writes nothing.
func TestSyncIsExact(t *testing.T) {
	for _, seed := range seeds(30) {
		rng := rand.New(rand.NewPCG(seed, 0))
		c := newServiceFixture(t)
		c.Put(host("10.20.9.1/24", eth0, 0))
		for range 30 {
			want := map[netip.Addr]Address{}
			for range rng.IntN(40) {
				on := []link.Link{eth0, eth1}[rng.IntN(2)]
				want[nth(rng.IntN(60))] = Address{Addr: netip.Addr{}, LinkIndex: on.Index, LinkName: on.Name}
			}
			var list []Address
			for vip, a := range want {
				a.Addr = vip
				list = append(list, a)
			}
			if rng.IntN(3) == 0 {
				c.Remove(nth(rng.IntN(60)))
			}
			if rng.IntN(4) == 0 {
				c.restart(t)
			}
			c.sync(t, list...)
			present, err := c.Present()
			if err != nil || len(present) != len(list) || !c.Has(netip.MustParseAddr("10.20.9.1")) {
				t.Fatalf("-vip.seed=%d: %d present of %d, %v", seed, len(present), len(list), err)
			}
			for _, m := range present {
				if !slices.Contains(list, m.Address) || m.ValidLft > DefaultServiceLifetime {
					t.Fatalf("-vip.seed=%d: %+v is present", seed, m)
				}
			}
			if added, removed := c.sync(t, list...); len(added)+len(removed) > 0 {
				t.Fatalf("-vip.seed=%d: a second Sync added %v, removed %v", seed, added, removed)
			}
			c.idle(t, time.Duration(rng.IntN(300))*time.Second)
		}
	}
}

// cleanUpServices is the part of Cleanup for Services.
func cleanUpServices(k Kernel, vips []netip.Addr,
	destroy func([]netip.Addr) (int, error)) ([]Marked, error) {
	return cleanup{k, unmapped(vips), destroy}.removeServices()
}

// Cleanup takes what a killed agent left, unless another one runs.
func TestCleanupOfServices(t *testing.T) {
	c := newServiceFixture(t)
	ignore := func([]netip.Addr) (int, error) { return 0, nil }
	if removed, err := cleanUpServices(c.Fake, nil, ignore); err != nil || len(removed) != 0 {
		t.Errorf("with nothing there: %v, %v", removed, err)
	}
	c.sync(t, at(eth0, nth(1)), at(eth0, nth(2)), at(eth0, nth(3)))
	lock, err := LockServices()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LockServices(); !errors.Is(err, ErrLocked) {
		t.Errorf("a second lock: %v", err)
	}
	if removed, err := cleanUpServices(c.Fake, nil, ignore); !errors.Is(err, ErrLocked) ||
		len(removed) != 0 || !c.Has(nth(1)) {
		t.Errorf("while an agent runs: %v, %v", removed, err)
	}
	lock.Close()
	removed, err := cleanUpServices(c.Fake, []netip.Addr{netip.MustParseAddr("::ffff:10.20.0.2")},
		ignore)
	if err != nil || len(removed) != 1 || removed[0].Addr != nth(2) || c.Has(nth(2)) ||
		!c.Has(nth(1)) {
		t.Errorf("one: %v, %v", removed, err)
	}
	_, err = cleanUpServices(c.Fake, nil, func([]netip.Addr) (int, error) { return 0, errBroken })
	if !errors.Is(err, errBroken) || c.Has(nth(1)) || c.Has(nth(3)) {
		t.Errorf("all: %v", err)
	}
	c.Fail(OpList, errBroken)
	if _, err := cleanUpServices(c.Fake, nil, ignore); !errors.Is(err, errBroken) {
		t.Errorf("without a listing: %v", err)
	}
}

// kube-proxy in IPVS mode puts each address of a status on a link of its own, on every node, before
// kvip writes it there or after. That entry is not the host's address: it stays, and so does
// kvip's.
func TestAnAddressOnAnIsolatedLinkIsNotForeign(t *testing.T) {
	isolated := func(prefix, name string, proto uint8) link.HostAddr {
		h := host(prefix, link.Link{Index: 90, Name: name}, proto)
		h.Isolated = true
		return h
	}
	c := newServiceFixture(t)
	c.Put(isolated("10.20.0.1/32", "kube-ipvs0", 0)) // before kvip
	c.sync(t, at(eth0, nth(1)), at(eth0, nth(2)))
	c.Put(isolated("10.20.0.2/32", "kube-ipvs0", 0)) // after kvip
	if added, removed := c.sync(t, at(eth0, nth(1)), at(eth0, nth(2))); len(added) != 0 ||
		len(removed) != 0 {
		t.Errorf("added %v, removed %v", added, removed)
	}
	c.sync(t)
	if !c.Has(nth(1)) || !c.Has(nth(2)) {
		t.Error("the entries of kube-proxy are gone")
	}
	c.Put(isolated("10.20.0.3/32", "down0", ControlPlaneProto))
	c.Put(isolated("10.20.0.4/32", eth0.Name, 0))
	if err := c.Sync(assigned([]Address{at(eth0, nth(3)),
		{Addr: nth(4), LinkIndex: 90, LinkName: eth0.Name}})); len(AddressErrors(err)) != 2 {
		t.Errorf("the control plane's address and another program's on the same link: %v", err)
	}
}

// A kernel before 5.18 keeps no mark: the ServiceOwner identifies its addresses by their
// attributes, and by what it wants, has written, or knows as a Service's.
func TestAKernelWithoutMarks(t *testing.T) {
	c := newServiceFixture(t)
	c.DropMarks()
	keeps, err := c.ServiceOwner.KeepsMarks()
	if keeps || err != nil {
		t.Fatalf("it keeps marks: %v, %v", keeps, err)
	}
	// the control plane's, of another process, unknown to this one
	others := host("10.20.0.9/32", eth0, 0)
	others.ValidLft, others.PreferredLft, others.Flags = 4, 0,
		unix.IFA_F_NOPREFIXROUTE|unix.IFA_F_DEPRECATED
	labelled := others
	labelled.Prefix, labelled.Label = netip.MustParsePrefix("10.20.0.8/32"), "eth0:kvip"
	c.sync(t, at(eth0, nth(1)), at(eth0, nth(2)))
	if added, removed := c.sync(t, at(eth0, nth(1)), at(eth0, nth(2))); len(added)+len(removed) > 0 {
		t.Errorf("again: added %v, removed %v", added, removed)
	}
	c.idle(t, 5*DefaultServiceLifetime)
	c.Put(others)
	c.Put(labelled)
	if _, removed := c.sync(t, at(eth1, nth(1))); len(removed) != 2 || !c.Has(nth(1)) ||
		c.Has(nth(2)) || !c.Has(nth(9)) {
		t.Errorf("moved and given up: removed %v", removed)
	}
	if err := c.Sync(assigned([]Address{at(eth0, nth(8)), at(eth1, nth(1))})); !errors.Is(err,
		ErrControlPlane) {
		t.Errorf("the control plane's address: %v", err)
	}

	c.restart(t)
	if present, _ := c.Present(); len(present) != 0 {
		t.Errorf("nothing is known, and present is %v", present)
	}
	c.ServiceOwner.cfg.Known = func() map[netip.Addr]bool { return map[netip.Addr]bool{nth(1): true} }
	if present, _ := c.Present(); len(present) != 1 || present[0].Addr != nth(1) {
		t.Errorf("present is %v", present)
	}
	if err := c.Clear(); err != nil || c.Has(nth(1)) || !c.Has(nth(8)) {
		t.Errorf("cleared: %v", err)
	}
}

func TestCleanupOnAKernelWithoutMarks(t *testing.T) {
	testutil.NewNetns(t)
	c := newServiceFixture(t)
	c.DropMarks()
	c.sync(t, at(eth0, nth(1)), at(eth0, nth(2)))
	ignore := func([]netip.Addr) (int, error) { return 0, nil }
	if removed, err := cleanUpServices(c.Fake, nil, ignore); len(removed) != 0 || err != nil {
		t.Errorf("without a name: %v, %v", removed, err)
	}
	if removed, err := cleanUpServices(c.Fake, []netip.Addr{nth(1)}, ignore); len(removed) != 1 ||
		err != nil || c.Has(nth(1)) || !c.Has(nth(2)) {
		t.Errorf("by name: %v, %v", removed, err)
	}
}

// assigned returns the Assignments that Sync takes.
func assigned(list []Address) []assignment.Assignment {
	all := make([]assignment.Assignment, len(list))
	for i, a := range list {
		all[i] = assignment.Assignment{
			Addr: a.Addr, Link: link.Link{Index: a.LinkIndex, Name: a.LinkName},
		}
	}
	return all
}
