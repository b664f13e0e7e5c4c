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

// writeTime is what Update allows for one write when it chooses the lifetime, so that an
// ordinary write is never found too late. A slower one is found and corrected.
const writeTime = 10 * time.Millisecond

// shortenWithin is part of what KernelLag has in excess of what was measured, which is what
// an address may gain where its lifetime is written anew on the basis of a listing.
const shortenWithin = 100 * time.Millisecond

// deleteRounds is how often a deletion is tried before it counts as not confirmed.
const deleteRounds = 3

// Config says what an Owner owns.
type Config struct {
	// VIPs are the addresses, at least one, none twice.
	VIPs []netip.Addr
	// Kernel keeps them; nil means Netlink(VIPs).
	Kernel Kernel
	// Clock is what deadlines are measured on; nil means boottime.Boottime.
	Clock boottime.Clock
	// Log receives what is no error of a call; nil discards.
	Log *slog.Logger
	// Sockets destroys this host's dead TCP connections of a VIP that it no longer has
	// and returns how many; nil means DestroySockets.
	Sockets func(vip netip.Addr) (int, error)
}

// Owner keeps the virtual IPs on this host or off it. Its methods may be called from any
// goroutine and run one after the other.
type Owner struct {
	cfg Config
	mu  sync.Mutex
	// last is where each VIP was written last. It is deleted there even if it lost its mark.
	last map[netip.Addr]Address
	// sockets is held while connections are destroyed.
	sockets sync.Mutex
}

// New returns an Owner that has touched nothing yet.
func New(cfg Config) (*Owner, error) {
	vips, err := distinct(cfg.VIPs)
	if err != nil {
		return nil, err
	}
	cfg.VIPs = vips
	if cfg.Kernel == nil {
		cfg.Kernel = Netlink(vips)
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Sockets == nil {
		cfg.Sockets = DestroySockets
	}
	return &Owner{cfg: cfg, last: map[netip.Addr]Address{}}, nil
}

func distinct(vips []netip.Addr) ([]netip.Addr, error) {
	if len(vips) == 0 {
		return nil, errors.New("make address owner: no VIP given")
	}
	var result []netip.Addr
	for _, vip := range vips {
		vip = vip.Unmap()
		if !vip.IsValid() || vip.Zone() != "" || slices.Contains(result, vip) {
			return nil, fmt.Errorf("make address owner: VIP %v is invalid, has a zone or is given twice", vip)
		}
		result = append(result, vip)
	}
	return result, nil
}

// Update puts every VIP on the link, or refreshes it there, so that the kernel removes it
// by the deadline, an instant of Clock (E1). The deadline is checked before and after
// every write (E4): the process may have been frozen in between. When it has passed the
// VIPs are deleted at once and the error is ErrDeadline.
//
// Within the last KernelLag + 1 s before the deadline nothing is written: the result is nil if the
// VIPs are there and ErrDeadline if not. Either way it is the caller who deletes at the
// deadline. Any other error leaves VIPs that may or may not be there, never beyond the
// deadline.
//
// One window remains: a process frozen between check and write, thawed for just the write
// and frozen again before the check that follows leaves an address with its full lifetime.
func (o *Owner) Update(l link.Link, deadline time.Duration) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var errs []error
	for _, vip := range o.cfg.VIPs {
		err := o.hold(Address{VIP: vip, LinkIndex: l.Index, LinkName: l.Name}, deadline)
		if errors.Is(err, errOutlives) {
			return errors.Join(fmt.Errorf("hold %s on %s: %w: %w", vip, l.Name, ErrDeadline, err), o.delete())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("hold %s on %s: %w", vip, l.Name, err))
		}
	}
	return errors.Join(errs...)
}

// errOutlives says that an address is, or may be, on this host for longer than it may be.
var errOutlives = errors.New("the address outlives its deadline")

// hold writes one VIP. A write that took so long that its lifetime would end after the
// deadline is done again with less, until there is less than a second left.
func (o *Owner) hold(a Address, deadline time.Duration) error {
	for written := false; ; written = true {
		now := o.cfg.Clock()
		valid := ValidLifetime(deadline, now+writeTime)
		switch {
		case now >= deadline, written && valid == 0: // E4: before the write
			return errOutlives
		case valid == 0:
			return o.remains(a, deadline)
		}
		o.last[a.VIP] = a
		err := o.cfg.Kernel.Replace(a, valid)
		after := o.cfg.Clock()
		late := ValidLifetime(deadline, after) < valid
		switch {
		case after >= deadline, err != nil && (late || written):
			// E4: after the write. A failed one may have been applied, and one that was to
			// shorten a lifetime has not done so.
			if err != nil {
				return fmt.Errorf("%w: %w", errOutlives, err)
			}
			return errOutlives
		case !late:
			return err
		}
		o.cfg.Log.Warn("wrote the address late, shortening its lifetime",
			"vip", a.VIP, "link", a.LinkName, "reason", fmt.Sprintf("the write took %v", after-now))
	}
}

// remains checks that an address that is not refreshed any more is there and does not
// stay beyond the deadline. The kernel rounds what is left up to whole seconds.
func (o *Owner) remains(a Address, deadline time.Duration) error {
	list, err := o.cfg.Kernel.List()
	if err != nil {
		return err
	}
	now := o.cfg.Clock()
	for _, m := range list {
		if m.VIP != a.VIP || m.LinkIndex != a.LinkIndex {
			continue
		}
		if now >= deadline || m.ValidLft-time.Second > deadline-now-KernelLag {
			return errOutlives
		}
		return nil
	}
	return ErrDeadline // E1: an expiry is never undone
}

// Delete removes the VIPs wherever kvip put them and reads back that they are gone. An
// error means that the deletion is not confirmed: the lease must not be released before the kernel lifetime has ended (E5).
func (o *Owner) Delete() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.delete()
}

func (o *Owner) delete() error {
	for _, a := range o.last {
		if err := o.cfg.Kernel.Delete(a); err != nil {
			o.cfg.Log.Warn("delete failed, trying again", "vip", a.VIP, "link", a.LinkName, "reason", err)
		}
	}
	_, err := sweep(o.cfg.Kernel, o.configured)
	for _, a := range o.last {
		err = errors.Join(err, o.confirm(a))
	}
	if err == nil {
		clear(o.last)
	}
	return err
}

// confirm makes sure that an address is not where it was written last, also if it has lost its mark, so
// that no listing of marked ones shows it.
func (o *Owner) confirm(a Address) error {
	var failures []error
	for range deleteRounds {
		there, err := o.cfg.Kernel.There(a)
		if err == nil && !there {
			return nil
		}
		if err == nil {
			err = o.cfg.Kernel.Delete(a)
		}
		failures = append(failures, err)
	}
	if there, err := o.cfg.Kernel.There(a); err == nil && !there {
		return nil
	}
	failures = append([]error{ErrUnconfirmed}, failures...)
	return fmt.Errorf("delete %s from %s, where it still is or may be (see ip address): %w", a.VIP, a.LinkName, errors.Join(failures...))
}

// DestroySockets destroys this host's dead connections to the VIPs that it does not have now. It is
// apart from Delete because it may take a while, and a release must not wait for it. It is best
// effort: what fails costs local clients a timeout, not safety.
func (o *Owner) DestroySockets() {
	o.sockets.Lock()
	defer o.sockets.Unlock()
	for _, vip := range o.cfg.VIPs {
		count, err := o.cfg.Sockets(vip)
		if err != nil {
			o.cfg.Log.Warn("could not destroy connections to the address", "vip", vip, "reason", err)
		}
		if count > 0 {
			o.cfg.Log.Info("destroyed connections to the address", "vip", vip, "count", count)
		}
	}
}

// Prune removes kvip's marked addresses that are not among the configured VIPs, except
// those that another kvip in this network namespace serves; with keep false it removes
// the configured ones as well, as Delete does.
func (o *Owner) Prune(keep bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, err := sweep(o.cfg.Kernel, func(m Marked) bool { return !o.configured(m) && !served(m.VIP) })
	if !keep {
		err = errors.Join(err, o.delete())
	}
	return err
}

// Present returns the configured VIPs that are on this host with kvip's mark, left by an
// earlier run, to be adopted or deleted (E8).
func (o *Owner) Present() ([]Marked, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	list, err := o.cfg.Kernel.List()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list, func(m Marked) bool { return !o.configured(m) }), nil
}

// Shorten makes the addresses that Present returns end within limit, whole seconds of at
// least 1, and returns when the last is certainly gone, counted from now; 0 if there is none.
// The lease that they belonged to may have been longer than the one that is to keep them
// (E8). Where it takes so long that an address could be brought back after its end, they are
// deleted.
func (o *Owner) Shorten(limit time.Duration) (time.Duration, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	began := o.cfg.Clock()
	list, err := o.cfg.Kernel.List()
	if err != nil {
		return 0, err
	}
	gone := time.Duration(0)
	for _, m := range list {
		if !o.configured(m) {
			continue
		}
		if m.ValidLft > limit {
			if err = o.cfg.Kernel.Replace(m.Address, limit); err != nil || o.cfg.Clock()-began > shortenWithin {
				return 0, errors.Join(err, o.delete())
			}
		}
		gone = max(gone, min(m.ValidLft, limit)+KernelLag)
	}
	return gone, nil
}

func (o *Owner) configured(m Marked) bool { return slices.Contains(o.cfg.VIPs, m.VIP) }

// sweep deletes the marked addresses that match until a listing shows none (E5) and
// returns them. The error says which are still there, or that nobody knows.
func sweep(kernel Kernel, match func(Marked) bool) ([]Marked, error) {
	var removed []Marked
	var failures []error
	for round := 0; ; round++ {
		list, err := kernel.List()
		if err != nil {
			failures = append(failures, err)
		}
		list = slices.DeleteFunc(list, func(m Marked) bool { return !match(m) })
		if err == nil && len(list) == 0 {
			return removed, nil
		}
		if round == deleteRounds {
			failures = append([]error{ErrUnconfirmed}, failures...)
			return removed, fmt.Errorf("delete addresses%s (see ip address): %w", names(list), errors.Join(failures...))
		}
		for _, m := range list {
			if err := kernel.Delete(m.Address); err != nil {
				failures = append(failures, err)
			}
			if !slices.ContainsFunc(removed, func(r Marked) bool { return r.Address == m.Address }) {
				removed = append(removed, m)
			}
		}
	}
}

func names(list []Marked) string {
	text := ""
	for _, m := range list {
		text += fmt.Sprintf(", %s is still on %s", m.VIP, m.LinkName)
	}
	return text
}
