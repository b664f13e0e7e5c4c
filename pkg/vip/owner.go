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
	"github.com/kvip/kvip/pkg/fence"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/netaddr"
	"github.com/kvip/kvip/pkg/required"
)

// writeTime is what Update allows for one write when it computes the lifetime, so that a
// normal write is never late. A slower one is detected and corrected.
const writeTime = 10 * time.Millisecond

// shortenWithin is a part of KernelLag's margin over the measured lag: an address may gain it
// when Shorten writes its lifetime on the basis of a listing.
const shortenWithin = 100 * time.Millisecond

// lateWrite is how long the writes of an Update may take before the fence's guard is renewed. It is
// a part of what the guard lives longer than an address.
const lateWrite = time.Second

// deleteRounds limits the attempts of a deletion before it counts as not confirmed.
const deleteRounds = 3

// Config configures an Owner.
type Config struct {
	// VIPs are the addresses: at least one, without duplicates.
	VIPs []netip.Addr
	// Kernel keeps them; nil means Netlink().
	Kernel Kernel
	// Clock measures deadlines; nil means boottime.Now.
	Clock boottime.Clock
	// Log receives warnings that do not fail a call; nil discards them.
	Log *slog.Logger
	// DestroySockets destroys this host's TCP connections of those vips that are not on this
	// host and returns how many. Nil means the kernel's sock_diag(7).
	DestroySockets func(vips []netip.Addr) (int, error)
}

// Fence limits in the kernel how long the addresses are answered for; *fence.Fence.
type Fence interface {
	// Attach ensures that addresses on a link are fenced for as long as they may be there. It returns
	// fence.ErrMissing if they were, and are not any more.
	Attach(device string, lifetime time.Duration) error
	// VerifyShut ensures that the addresses are not answered for.
	VerifyShut() error
}

// Owner has the virtual IPs of the control plane on this host, or removes them. Its methods may
// be called from any goroutine. They run one after the other.
type Owner struct {
	cfg Config
	mu  sync.Mutex
	// fence ends the answers at the deadline; nil: only the lifetimes of the addresses do.
	fence Fence
	// shut means that shutFirst is done.
	shut bool
	// last is the link that each VIP was last written to. Delete checks it even if the address
	// has lost its mark.
	last map[netip.Addr]Address
	// sockets is held while connections are destroyed.
	sockets sync.Mutex
}

// New returns an Owner. It does not access the kernel.
func New(cfg Config) (*Owner, error) {
	if err := required.Fields("address owner", map[string]bool{
		"VIPs": len(cfg.VIPs) == 0,
	}); err != nil {
		return nil, err
	}
	cfg.VIPs = unmapped(cfg.VIPs)
	for i, vip := range cfg.VIPs {
		if err := netaddr.Check(vip); err != nil {
			return nil, fmt.Errorf("configure address owner: VIP %w", err)
		}
		if slices.Contains(cfg.VIPs[:i], vip) {
			return nil, fmt.Errorf("configure address owner: VIP %s is given twice", vip)
		}
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
	return &Owner{cfg: cfg, last: map[netip.Addr]Address{}}, nil
}

// PrepareFence builds the fence on a link, closed, before the addresses come there for the first
// time: the next holder then need not wait for it. Without a fence it does nothing. The caller
// knows that no address of an earlier agent is left.
func (o *Owner) PrepareFence(l link.Link) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fence == nil {
		return nil
	}
	return o.fence.Attach(l.Name, 0)
}

// UseFence makes the Owner use a fence from the next Update on.
func (o *Owner) UseFence(f Fence) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fence = f
}

// Update writes every VIP to the link, or refreshes it there. With a fence the address outlives the
// deadline, an instant of Clock, by one to two seconds in which the fence is shut; the caller
// extends the fence (F9). Without one the kernel removes the address by the deadline (E1), and
// Update checks the deadline before and after every write (E4), since the process may be frozen in
// between. If the deadline has passed, Update deletes the VIPs at once and returns ErrDeadline.
//
// Without a fence, it writes nothing within the last KernelLag + 1 s before the deadline: it
// returns nil if the VIPs are on the link and ErrDeadline otherwise. In both cases the caller must
// delete them at the deadline. After any other error the VIPs may be on the link, but never beyond
// the deadline. One window remains: a process that is frozen between check and write, thawed for
// the write alone and frozen again before the next check leaves an address with its full lifetime.
func (o *Owner) Update(l link.Link, deadline time.Duration) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fence != nil {
		return o.updateFenced(l, deadline)
	}
	return o.holdAll(l, deadline)
}

// UpdateUnfenced is Update for a host that answers for the VIPs on another link as well: the fence
// is on the one, and the addresses end by the deadline as if there was none.
func (o *Owner) UpdateUnfenced(l link.Link, deadline time.Duration) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fence != nil {
		if err := o.ensureFence(l, fencedLifetime(deadline, o.cfg.Clock())); err != nil {
			return err
		}
	}
	return o.holdAll(l, deadline)
}

// ensureFence ensures, before the first address of this process, that there is a fence and that it
// is shut.
func (o *Owner) ensureFence(l link.Link, valid time.Duration) error {
	if err := o.attachFence(l, valid); err != nil {
		return err
	}
	return o.shutFirst()
}

// holdAll writes the VIPs with lifetimes that end by the deadline.
func (o *Owner) holdAll(l link.Link, deadline time.Duration) error {
	var errs []error
	for _, vip := range o.cfg.VIPs {
		err := o.hold(Address{Addr: vip, LinkIndex: l.Index, LinkName: l.Name}, deadline)
		if err == nil {
			continue
		}
		if errors.Is(err, errOutlives) {
			err = fmt.Errorf("hold %s on %s: %w: %w", vip, l.Name, ErrDeadline, err)
			return errors.Join(err, o.delete())
		}
		errs = append(errs, fmt.Errorf("hold %s on %s: %w", vip, l.Name, err))
	}
	return errors.Join(errs...)
}

// updateFenced ensures that the fence is there before the address is written (F9).
func (o *Owner) updateFenced(l link.Link, deadline time.Duration) error {
	began := o.cfg.Clock()
	if began >= deadline {
		return errors.Join(fmt.Errorf("hold the VIP on %s: %w", l.Name, ErrDeadline), o.delete())
	}
	valid := fencedLifetime(deadline, began)
	if err := o.ensureFence(l, valid); err != nil {
		return err
	}
	var errs []error
	for _, vip := range o.cfg.VIPs {
		a := Address{Addr: vip, LinkIndex: l.Index, LinkName: l.Name}
		o.last[vip] = a
		if err := replace(o.cfg.Kernel, a, valid); err != nil {
			errs = append(errs, fmt.Errorf("hold %s on %s: %w", vip, l.Name, err))
		}
	}
	if o.cfg.Clock()-began > lateWrite { // the address may outlive its guard
		errs = append(errs, o.attachFence(l, valid))
	}
	return errors.Join(errs...)
}

// shutFirst ensures, before the first address of this process, that a fence which an earlier one
// left is shut: that process may have extended it in another tenure. An address that is on the host
// is adopted with its fence (E8).
func (o *Owner) shutFirst() error {
	if o.shut {
		return nil
	}
	present, err := o.marked(o.configured)
	if err == nil && len(present) == 0 {
		err = o.fence.VerifyShut()
	}
	if err != nil {
		return fmt.Errorf("shut the fence of an earlier agent: %w", err)
	}
	o.shut = true
	return nil
}

// attachFence ensures that the addresses are fenced on the link. If another program removed the
// fence, the addresses are deleted before there is a new one, which is closed.
func (o *Owner) attachFence(l link.Link, valid time.Duration) error {
	err := o.fence.Attach(l.Name, valid)
	if errors.Is(err, fence.ErrMissing) {
		o.cfg.Log.Warn("another program removed the fence; removing the address before building it",
			"link", l.Name, "err", err)
		if err := o.delete(); err != nil {
			return err
		}
		err = o.fence.Attach(l.Name, valid)
	}
	if err != nil {
		return fmt.Errorf("fence the VIP on %s: %w", l.Name, err)
	}
	return nil
}

// errOutlives: an address is, or may be, on this host for longer than the deadline allows.
var errOutlives = errors.New("the address outlives its deadline")

// hold writes one VIP. If the write took so long that the lifetime would end after the
// deadline, it writes a shorter one, until less than a second is left.
func (o *Owner) hold(a Address, deadline time.Duration) error {
	for written := false; ; written = true {
		now := o.cfg.Clock()
		valid := ValidLifetime(deadline, now+writeTime)
		switch {
		case now >= deadline, written && valid == 0: // E4: before the write
			return errOutlives
		case valid == 0:
			return o.checkRemaining(a, deadline)
		}
		o.last[a.Addr] = a
		err := replace(o.cfg.Kernel, a, valid)
		after := o.cfg.Clock()
		late := ValidLifetime(deadline, after) < valid
		switch {
		case after >= deadline, err != nil && (late || written):
			// E4: after the write. The kernel may have applied a failed write, and a failed
			// correction leaves the long lifetime.
			if err != nil {
				return fmt.Errorf("%w: %w", errOutlives, err)
			}
			return errOutlives
		case !late:
			return err
		}
		o.cfg.Log.Warn("wrote the address late, shortening its lifetime", "vip", a.Addr,
			"link", a.LinkName, "reason", fmt.Sprintf("the write took %v", after-now))
	}
}

// checkRemaining checks that an address that is not refreshed any more is on its link and ends
// by the deadline. The kernel rounds the remaining lifetime up to whole seconds.
func (o *Owner) checkRemaining(a Address, deadline time.Duration) error {
	list, err := ControlPlaneAddresses(o.cfg.Kernel, o.cfg.VIPs)
	if err != nil {
		return err
	}
	now := o.cfg.Clock()
	for _, m := range list {
		if m.Addr != a.Addr || m.LinkIndex != a.LinkIndex {
			continue
		}
		if now >= deadline || m.ValidLft-time.Second > deadline-now-KernelLag {
			return errOutlives
		}
		return nil
	}
	return ErrDeadline // E1: an expired address is not written again
}

// Delete removes the VIPs from every link and reads back that they are gone. An error means
// that the deletion is not confirmed: the lease must not be released before the kernel
// lifetime has ended (E5).
func (o *Owner) Delete() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.delete()
}

func (o *Owner) delete() error {
	for _, a := range o.last {
		if err := deleteAll(o.cfg.Kernel, []Change{{Address: a}}); err != nil {
			o.cfg.Log.Warn("cannot delete the VIP; trying again",
				"vip", a.Addr, "link", a.LinkName, "err", err)
		}
	}
	_, err := sweep(o.cfg.Kernel, func() ([]Marked, error) { return o.marked(o.configured) })
	for _, a := range o.last {
		err = errors.Join(err, o.confirm(a))
	}
	if err == nil {
		clear(o.last)
	}
	return err
}

// confirm ensures that an address is not on the link it was last written to, even if it has
// lost its mark and no listing of marked addresses shows it.
func (o *Owner) confirm(a Address) error {
	var failures []error
	for round := 0; ; round++ {
		present, err := o.isPresent(a)
		if err == nil && !present {
			return nil
		}
		if round == deleteRounds {
			failures = append([]error{ErrUnconfirmed}, failures...)
			return fmt.Errorf("delete %s from %s, it is or may be present (see ip address): %w",
				a.Addr, a.LinkName, errors.Join(failures...))
		}
		if err == nil {
			err = deleteAll(o.cfg.Kernel, []Change{{Address: a}})
		}
		failures = append(failures, err)
	}
}

// isPresent reports whether a's VIP is a host address on a's link, with or without a mark.
func (o *Owner) isPresent(a Address) (bool, error) {
	host, err := o.cfg.Kernel.Addresses()
	return slices.ContainsFunc(host, func(h link.HostAddr) bool {
		return h.Prefix.Addr() == a.Addr && h.Prefix.IsSingleIP() && h.Index == a.LinkIndex
	}), err
}

// DestroySockets destroys this host's dead connections to the VIPs that it does not have now.
// It is separate from Delete because it may take long, and a release must not wait for it. It
// is best effort: a failure costs local clients a timeout.
func (o *Owner) DestroySockets() {
	o.sockets.Lock()
	defer o.sockets.Unlock()
	destroyAndLog(o.cfg.Log, o.cfg.DestroySockets, o.cfg.VIPs)
}

// Prune removes addresses with the control plane's mark that are not among the configured VIPs,
// unless another kvip in this network namespace serves them. If keep is false, it removes the
// configured ones as well, as Delete does.
func (o *Owner) Prune(keep bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, err := sweep(o.cfg.Kernel, func() ([]Marked, error) {
		return o.marked(func(m Marked) bool { return !o.configured(m) && !isServed(m.Addr) })
	})
	if !keep {
		err = errors.Join(err, o.delete())
	}
	return err
}

// Present returns the configured VIPs that an earlier run left on this host, to be adopted or
// deleted (E8).
func (o *Owner) Present() ([]Marked, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.marked(o.configured)
}

// Shorten makes the addresses that Present returns end within limit, whole seconds of at least
// 1. It returns the time until the last one is certainly gone, or 0 if there is none. Their
// lease may have been longer than that of this run (E8). If Shorten takes so long that a write
// could bring an address back after its end, it deletes the addresses.
func (o *Owner) Shorten(limit time.Duration) (time.Duration, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	began := o.cfg.Clock()
	list, err := o.marked(o.configured)
	if err != nil {
		return 0, err
	}
	gone := time.Duration(0)
	for _, m := range list {
		if m.ValidLft > limit {
			err = replace(o.cfg.Kernel, m.Address, limit)
			if err != nil || o.cfg.Clock()-began > shortenWithin {
				return 0, errors.Join(err, o.delete())
			}
		}
		gone = max(gone, min(m.ValidLft, limit)+KernelLag)
	}
	return gone, nil
}

func (o *Owner) configured(m Marked) bool { return slices.Contains(o.cfg.VIPs, m.Addr) }

// marked returns the control plane's addresses that match.
func (o *Owner) marked(match func(Marked) bool) ([]Marked, error) {
	list, err := ControlPlaneAddresses(o.cfg.Kernel, o.cfg.VIPs)
	return slices.DeleteFunc(list, func(m Marked) bool { return !match(m) }), err
}

// addMissing appends the addresses that are not in list.
func addMissing(list, more []Marked) []Marked {
	known := make(map[Address]bool, len(list))
	for _, m := range list {
		known[m.Address] = true
	}
	for _, m := range more {
		if !known[m.Address] {
			list = append(list, m)
		}
	}
	return list
}
