package vip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/netaddr"
)

// Lifetimes of the addresses of Services (S8).
const (
	DefaultServiceLifetime = 120 * time.Second
	MinServiceLifetime     = 60 * time.Second
)

// ServiceOwnerConfig configures a ServiceOwner. The zero value is valid.
type ServiceOwnerConfig struct {
	// Kernel keeps the addresses; nil means Netlink().
	Kernel Kernel
	// Clock measures lifetimes; nil means boottime.Now.
	Clock boottime.Clock
	// Log receives warnings that do not fail a call; nil discards them.
	Log *slog.Logger
	// Lifetime is what each write gives an address: whole seconds, at least
	// MinServiceLifetime. 0 means DefaultServiceLifetime.
	Lifetime time.Duration
	// Known returns the addresses of Services. Kernels before 5.18 need it, as they do not keep
	// the mark. Nil means none.
	Known func() map[netip.Addr]bool
	// DestroySockets destroys this host's TCP connections of those vips that are not on this
	// host and returns how many. Nil means the kernel's sock_diag(7).
	DestroySockets func(vips []netip.Addr) (int, error)
}

// ServiceOwner has the addresses of Services on this host: many, with long lifetimes and
// without a fence. An address outlives a restart of the process (S6), and expires if the
// process does not return. Its methods may be called from any goroutine. They run one after
// the other. At most one may run in a network namespace: see LockServices.
//
// IPv6 is expensive: with each address that is written or refreshed the kernel walks all
// multicast groups of the link (ipv6_mc_up), and each address has one. 1000 addresses cost
// 0.3 s of one processor per Lifetime/2, 4000 cost 5 s. The same numbers of IPv4 addresses
// cost 10 and 80 ms.
type ServiceOwner struct {
	cfg      ServiceOwnerConfig
	mu       sync.Mutex
	schedule *refreshSchedule
}

// NewServiceOwner returns a ServiceOwner. It does not access the kernel.
func NewServiceOwner(cfg ServiceOwnerConfig) (*ServiceOwner, error) {
	if cfg.Lifetime == 0 {
		cfg.Lifetime = DefaultServiceLifetime
	}
	if cfg.Lifetime < MinServiceLifetime || cfg.Lifetime%time.Second != 0 {
		return nil, fmt.Errorf(
			"configure service address owner: lifetime %v: want whole seconds, at least %v",
			cfg.Lifetime, MinServiceLifetime)
	}
	if cfg.Kernel == nil {
		cfg.Kernel = Netlink()
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.DestroySockets == nil {
		cfg.DestroySockets = destroySockets
	}
	if cfg.Known == nil {
		cfg.Known = func() map[netip.Addr]bool { return nil }
	}
	return &ServiceOwner{cfg: cfg, schedule: newRefreshSchedule(cfg.Lifetime)}, nil
}

// Present returns the addresses on this host with the mark of Services, also those that an
// earlier run left (S6).
func (o *ServiceOwner) Present() ([]Marked, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.present()
}

func (o *ServiceOwner) present() ([]Marked, error) {
	host, err := o.list(nil)
	return serviceAddresses(host), err
}

// KeepsMarks reports whether the kernel keeps the mark of Services. If it does not, the
// attributes of an address identify it as a Service's, provided that it is wanted, was written
// by this ServiceOwner, or is Known.
func (o *ServiceOwner) KeepsMarks() (bool, error) {
	host, err := o.cfg.Kernel.Addresses()
	return err == nil && o.cfg.Kernel.KeepsMarks(host), err
}

// list returns the addresses of this host. It adds the mark of Services if the kernel does not
// keep it.
func (o *ServiceOwner) list(want []Address) ([]link.HostAddr, error) {
	host, err := o.cfg.Kernel.Addresses()
	if err != nil || o.cfg.Kernel.KeepsMarks(host) {
		return host, err
	}
	known, wanted := o.cfg.Known(), make(map[netip.Addr]bool, len(want))
	for _, a := range want {
		wanted[a.Addr.Unmap()] = true
	}
	for i, h := range host {
		addr := h.Prefix.Addr()
		if looksLikeService(h) && (wanted[addr] || o.schedule.has(addr) || known[addr]) {
			host[i].Proto = ServiceProto
		}
	}
	return host, nil
}

// Sync makes the kernel have exactly the assigned addresses with the mark of Services. It
// compares with a listing, not with earlier calls: it writes missing addresses, moves those on
// another link and deletes the others. It does not write addresses that are present; Refresh
// refreshes them from now on (S6).
//
// The failure of one address does not stop the others: the error joins an *AddressError for
// each (see AddressErrors). It wraps ErrForeign or ErrControlPlane if another component has
// the address on this host. A failed address is not refreshed; the next Sync tries again.
func (o *ServiceOwner) Sync(list []assignment.Assignment) error {
	want := make([]Address, len(list))
	for i, a := range list {
		want[i] = Address{Addr: a.Addr, LinkIndex: a.Link.Index, LinkName: a.Link.Name}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.cfg.Clock()
	host, err := o.list(want)
	if err != nil {
		return err
	}
	p := newSyncPlan(host, want, o.cfg.Lifetime)
	added, removed, errs := o.execute(p)
	o.reschedule(p, added, now)
	o.destroySockets(removed)
	return errors.Join(append(p.refused, errs...)...)
}

// execute makes the changes of a plan. An address on another link stays there until it is
// written to the wanted one.
func (o *ServiceOwner) execute(p syncPlan) (added, removed []Address, errs []error) {
	done, errs := o.apply(append(slices.Clone(p.deletions), p.writes...))
	var moved []Change
	for _, c := range done {
		if c.Valid == 0 {
			removed = append(removed, c.Address)
			continue
		}
		added = append(added, c.Address)
		moved = append(moved, p.moved[c.Addr]...)
	}
	for _, c := range p.present { // it was on two links
		moved = append(moved, p.moved[c.Addr]...)
	}
	done, more := o.apply(moved)
	for _, c := range done {
		removed = append(removed, c.Address)
	}
	rewritten := make(map[netip.Addr]int, len(added)) // deleted first, and not gone
	for _, a := range added {
		rewritten[a.Addr] = a.LinkIndex
	}
	removed = slices.DeleteFunc(removed, func(a Address) bool {
		return rewritten[a.Addr] == a.LinkIndex
	})
	return added, removed, append(errs, more...)
}

// apply returns the changes that succeeded, and the errors of the others.
func (o *ServiceOwner) apply(changes []Change) (done []Change, errs []error) {
	if len(changes) == 0 {
		return nil, nil
	}
	for i, err := range o.cfg.Kernel.Apply(changes) {
		if err == nil {
			done = append(done, changes[i])
		} else {
			errs = append(errs, &AddressError{changes[i].Address, err})
		}
	}
	return done, errs
}

// reschedule makes Refresh refresh the addresses that are present now, and no others.
func (o *ServiceOwner) reschedule(p syncPlan, added []Address, now time.Duration) {
	present := make(map[Address]bool, len(p.present)+len(added))
	for _, a := range added {
		present[a] = true
	}
	for _, c := range p.present {
		present[c.Address] = true
	}
	o.schedule.retain(func(a Address) bool { return present[a] })
	for _, c := range p.present {
		o.schedule.found(c, now)
	}
	for _, c := range p.writes {
		if present[c.Address] {
			o.schedule.written(c, now)
		}
	}
}

// Refresh refreshes the lifetimes that are due at now, an instant of Clock, and returns when
// to call it again. It must also be called after each Sync. Refreshes are spread evenly over
// half a lifetime (S8). Refresh does not write an address again if its lifetime has ended
// because the process was stopped: the error has an *AddressError that wraps ErrExpired, once.
// It repeats other failures.
func (o *ServiceOwner) Refresh(now time.Duration) (next time.Duration, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	due, expired := o.schedule.due(now)
	done, errs := o.apply(due)
	for _, c := range due {
		o.schedule.failed(c.Addr, now)
	}
	for _, c := range done {
		o.schedule.written(c, now)
	}
	for _, a := range expired {
		errs = append(errs, &AddressError{a, ErrExpired})
	}
	return o.schedule.next(now), errors.Join(errs...)
}

// Clear deletes every address with the mark of Services, reads back that they are gone, and
// destroys this host's dead connections to them. The error names the addresses that are left,
// or wraps ErrUnconfirmed alone if they cannot be listed.
func (o *ServiceOwner) Clear() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	removed, err := sweep(o.cfg.Kernel, o.present)
	o.schedule.retain(func(Address) bool { return false })
	gone := make([]Address, len(removed))
	for i, m := range removed {
		gone[i] = m.Address
	}
	o.destroySockets(gone)
	return err
}

func (o *ServiceOwner) destroySockets(removed []Address) {
	vips := make([]netip.Addr, len(removed))
	for i, a := range removed {
		vips[i] = a.Addr
	}
	destroyAndLog(o.cfg.Log, o.cfg.DestroySockets, vips)
}

// syncPlan has the changes that turn a listing of this host into the wanted addresses.
type syncPlan struct {
	present   []Change // need no write; Valid is the lifetime left
	deletions []Change // of unwanted addresses, and before a write
	writes    []Change
	moved     map[netip.Addr][]Change // deletions from other links, after the write
	refused   []error                 // *AddressError
}

// newSyncPlan reads each argument once, since both may have thousands of addresses.
func newSyncPlan(host []link.HostAddr, want []Address, valid time.Duration) syncPlan {
	index := newHostIndex(host)
	p := syncPlan{moved: map[netip.Addr][]Change{}}
	granted := make(map[netip.Addr]bool, len(want))
	for _, a := range want {
		a.Addr = a.Addr.Unmap()
		err := netaddr.Check(a.Addr)
		switch {
		case err != nil:
		case a.LinkIndex <= 0:
			err = errors.New("no link is given")
		case granted[a.Addr]:
			err = errors.New("it is wanted twice")
		default:
			err = index.foreign(a)
		}
		if err != nil {
			p.refused = append(p.refused, &AddressError{a, err})
			continue
		}
		granted[a.Addr] = true
		p.add(index, a, valid)
	}
	for _, h := range host {
		if a := addressOf(h); isService(h) && !granted[a.Addr] {
			p.deletions = append(p.deletions, Change{Address: a})
		}
	}
	return p
}

// add plans the changes for one wanted address (E10).
func (p *syncPlan) add(index hostIndex, a Address, valid time.Duration) {
	c := Change{Address: a, Valid: valid, Proto: ServiceProto, Scope: index.scope(a), New: true}
	before, after := index.conflicting(a, c.Scope, isIsolatedCopy)
	p.deletions = append(p.deletions, before...)
	if len(after) > 0 {
		p.moved[a.Addr] = after
	}
	h, present := index.onLink(a)
	switch {
	case !present || len(before) > 0:
	case h.ValidLft == link.Forever || h.PreferredLft != 0:
		c.New = false // changed by another program; a write corrects it
	default:
		c.Valid = lifetime(h)
		p.present = append(p.present, c)
		return
	}
	p.writes = append(p.writes, c)
}
