package vip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/link"
)

// Lifetimes of the addresses of Services (S8).
const (
	DefaultServiceLifetime = 120 * time.Second
	MinServiceLifetime     = 60 * time.Second
)

// ServiceOwnerConfig says how a Roster works. The zero value is good.
type ServiceOwnerConfig struct {
	// Kernel keeps the addresses; nil means NetlinkBulk().
	Kernel BulkKernel
	// Clock is what lifetimes are measured on; nil means boottime.Boottime.
	Clock boottime.Clock
	// Log receives what is no error of a call; nil discards.
	Log *slog.Logger
	// Lifetime is what each write gives an address: whole seconds, at least
	// MinServiceLifetime; 0 means DefaultServiceLifetime.
	Lifetime time.Duration
	// Known returns the addresses of Services, on kernels before 5.18, which do not keep the mark that says
	// so; nil knows none.
	Known func() map[netip.Addr]bool
	// Sockets destroys this host's dead TCP connections of addresses that it no longer has
	// and returns how many; nil means DestroyAll.
	Sockets func(vips []netip.Addr) (int, error)
}

// ServiceOwner keeps the addresses of Services on this host: many, for long lifetimes, without
// a fence. An address outlives a restart of the process (S6), and when the process is gone
// for good it goes, too. Its methods may be called from any goroutine and run one after
// the other. Only one may be in a network namespace: see LockServices.
//
// IPv6 has its price: with each address that is written or renewed the kernel goes through
// all multicast groups of the link (ipv6_mc_up), one per address. 1000 addresses cost 0.3 s
// of one processor per Lifetime/2, 4000 cost 5 s; as many IPv4 addresses 10 and 80 ms.
type ServiceOwner struct {
	cfg  ServiceOwnerConfig
	mu   sync.Mutex
	rota *rota
}

// NewServiceOwner returns a Roster that has touched nothing yet.
func NewServiceOwner(cfg ServiceOwnerConfig) (*ServiceOwner, error) {
	if cfg.Lifetime == 0 {
		cfg.Lifetime = DefaultServiceLifetime
	}
	if cfg.Lifetime < MinServiceLifetime || cfg.Lifetime%time.Second != 0 {
		return nil, fmt.Errorf("make roster: lifetime %v: want whole seconds, at least %v", cfg.Lifetime, MinServiceLifetime)
	}
	if cfg.Kernel == nil {
		cfg.Kernel = NetlinkBulk()
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Sockets == nil {
		cfg.Sockets = DestroyAll
	}
	if cfg.Known == nil {
		cfg.Known = func() map[netip.Addr]bool { return nil }
	}
	return &ServiceOwner{cfg: cfg, rota: newRota(cfg.Lifetime)}, nil
}

// Present returns the addresses on this host with the Services mark, also those left by an
// earlier run, to be wanted again or not (S6).
func (r *ServiceOwner) Present() ([]Marked, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	host, err := r.list(nil)
	return services(host), err
}

// KeepsMarks reports whether the kernel keeps the Services mark. Where it does not, an address is taken for a
// Service's by its attributes, if it is wanted, was written by this Roster, or is Known.
func (r *ServiceOwner) KeepsMarks() (bool, error) {
	host, err := r.cfg.Kernel.Addresses()
	return err == nil && r.cfg.Kernel.KeepsMarks(host), err
}

// list lists the addresses of this host, those of Services with the mark even if the kernel does not keep it.
func (r *ServiceOwner) list(want []Address) ([]link.HostAddr, error) {
	host, err := r.cfg.Kernel.Addresses()
	if err != nil || r.cfg.Kernel.KeepsMarks(host) {
		return host, err
	}
	known, wanted := r.cfg.Known(), make(map[netip.Addr]bool, len(want))
	for _, a := range want {
		wanted[a.VIP.Unmap()] = true
	}
	for i, h := range host {
		addr := h.Prefix.Addr()
		if asServices(h) && (wanted[addr] || r.rota.has(addr) || known[addr]) {
			host[i].Proto = ServiceProto
		}
	}
	return host, nil
}

// Sync makes the kernel have exactly the wanted addresses with the Services mark, found by
// listing, not by memory: it writes missing ones, moves those that are on another link
// and deletes the others. What is there already is left alone and renewed by Refresh from
// now on (S6). It returns what it wrote and what it deleted; an address that moved is in both.
//
// What is wrong with one address holds up no other: the error joins one *AddressError each
// (see AddressErrors), wrapping ErrForeign or ErrControlPlane if somebody else put the
// address on this host. What failed is not renewed; the next Sync tries again.
func (r *ServiceOwner) Sync(want []Address) (added, removed []Address, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.cfg.Clock()
	host, err := r.list(want)
	if err != nil {
		return nil, nil, err
	}
	p := newPlan(host, want, r.cfg.Lifetime)
	added, removed, errs := r.carryOut(p)
	r.remember(p.held, added, p.write, now)
	r.destroySockets(removed)
	return added, removed, errors.Join(append(p.refused, errs...)...)
}

// carryOut applies a plan. An address on another link stays there until it was written on
// the wanted one.
func (r *ServiceOwner) carryOut(p plan) (added, removed []Address, errs []error) {
	first := append(slices.Clone(p.clear), p.write...)
	done, errs := r.apply(first)
	var moved []Change
	for _, c := range done {
		if c.Valid == 0 {
			removed = append(removed, c.Address)
			continue
		}
		added = append(added, c.Address)
		moved = append(moved, p.moved[c.VIP]...)
	}
	for _, c := range p.held { // it was on two links
		moved = append(moved, p.moved[c.VIP]...)
	}
	done, more := r.apply(moved)
	for _, c := range done {
		removed = append(removed, c.Address)
	}
	return added, without(removed, added), append(errs, more...)
}

// without returns what of the list is not in the other: an address that was deleted to be
// written anew is not gone.
func without(list, other []Address) []Address {
	in := make(map[netip.Addr]int, len(other))
	for _, a := range other {
		in[a.VIP] = a.LinkIndex
	}
	return slices.DeleteFunc(list, func(a Address) bool { return in[a.VIP] == a.LinkIndex })
}

// apply returns the changes that were done, and the errors of the others.
func (r *ServiceOwner) apply(changes []Change) (done []Change, errs []error) {
	if len(changes) == 0 {
		return nil, nil
	}
	for i, err := range r.cfg.Kernel.Apply(changes) {
		if err == nil {
			done = append(done, changes[i])
		} else {
			errs = append(errs, &AddressError{changes[i].Address, err})
		}
	}
	return done, errs
}

// remember has Refresh renew what is here now, and nothing else.
func (r *ServiceOwner) remember(held []Change, added []Address, written []Change, now time.Duration) {
	here := make(map[Address]bool, len(held)+len(added))
	for _, a := range added {
		here[a] = true
	}
	for _, c := range held {
		here[c.Address] = true
	}
	r.rota.keep(func(a Address) bool { return here[a] })
	for _, c := range held {
		r.rota.found(c, now)
	}
	for _, c := range written {
		if here[c.Address] {
			r.rota.written(c, now)
		}
	}
}

// Refresh renews the lifetimes that are due at now, an instant of Clock, and returns when
// to call it again; call it after each Sync as well. Renewals are spread evenly over half a
// lifetime (S8). An address whose lifetime has ended, as the process stood still, is not
// brought back: it is an *AddressError that wraps ErrExpired, until the next Sync. Other
// failures are tried again.
func (r *ServiceOwner) Refresh(now time.Duration) (next time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	due, expired := r.rota.due(now)
	done, errs := r.apply(due)
	for _, c := range due {
		r.rota.failed(c.VIP, now)
	}
	for _, c := range done {
		r.rota.written(c, now)
	}
	for _, a := range expired {
		errs = append(errs, &AddressError{a, ErrExpired})
	}
	return r.rota.next(now), errors.Join(errs...)
}

// Clear deletes every address with the Services mark, reads back that they are gone, and
// destroys this host's dead connections to them. The error names those that are still
// there, or wraps ErrUnconfirmed alone if nobody knows.
func (r *ServiceOwner) Clear() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	removed, err := sweepServices(r.cfg.Kernel, func() ([]link.HostAddr, error) { return r.list(nil) })
	r.rota.keep(func(Address) bool { return false })
	gone := make([]Address, len(removed))
	for i, m := range removed {
		gone[i] = m.Address
	}
	r.destroySockets(gone)
	return err
}

// destroySockets is best effort: what fails costs local clients a timeout.
func (r *ServiceOwner) destroySockets(removed []Address) {
	if len(removed) == 0 {
		return
	}
	vips := make([]netip.Addr, len(removed))
	for i, a := range removed {
		vips[i] = a.VIP
	}
	count, err := r.cfg.Sockets(vips)
	if err != nil {
		r.cfg.Log.Warn("could not destroy connections to addresses of Services", "reason", err)
	}
	if count > 0 {
		r.cfg.Log.Info("destroyed connections to addresses of Services", "count", count)
	}
}

// sweepServices is sweep for the Services mark: it deletes until a listing shows none.
func sweepServices(kernel BulkKernel, listing func() ([]link.HostAddr, error)) ([]Marked, error) {
	var removed []Marked
	seen := map[Address]bool{}
	var failures []error
	for round := 0; ; round++ {
		host, err := listing()
		if err != nil {
			failures = append(failures, err)
		}
		list := services(host)
		if err == nil && len(list) == 0 {
			return removed, nil
		}
		if round == deleteRounds {
			failures = append([]error{ErrUnconfirmed}, failures...)
			return removed, fmt.Errorf("delete addresses of Services%s (see ip address): %w", names(list), errors.Join(failures...))
		}
		changes := make([]Change, len(list))
		for i, m := range list {
			changes[i] = Change{Address: m.Address}
			if !seen[m.Address] {
				seen[m.Address] = true
				removed = append(removed, m)
			}
		}
		for _, err := range kernel.Apply(changes) {
			if err != nil {
				failures = append(failures, err)
			}
		}
	}
}
