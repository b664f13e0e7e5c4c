// Package fence limits, in the kernel and to milliseconds, how long this host answers for virtual
// IPs (F9). A table of nftables drops ARP requests, neighbour solicitations and packets for an
// address on its link, and what this host sends from it there, unless the address is an element of
// a set. The kernel removes the element when its lifetime ends. A process that is killed, frozen or
// late prolongs nothing.
//
// A renewal does not use netlink, which waits for the transactions of all other programs. A marked
// frame on the loopback link meets a rule that updates the element (dynset, nft(8)). Each renewal
// has three steps: a first frame puts a ticket that lasts 10 ms, the clock is read, and a second
// frame renews the element by a lifetime that ends before the deadline. The kernel accepts the
// second one only while the ticket lasts, so that a process that stood still between its look at
// the clock and the second frame changes nothing.
//
// The table drops only while a guard element stands, which outlives the address by 10 s: a table
// that a killed process leaves behind harms no other program. Traffic of the host with itself does
// not pass the link, and is left alone.
package fence

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/netaddr"
	"github.com/kvip/kvip/pkg/netdev"
)

// Lag is how long after its deadline an address may answer at most: the life of a ticket, and the
// grain of the kernel's timeouts (CONFIG_HZ=100).
const Lag = ticketLifetime + 10*time.Millisecond

// guardOutlives is how much longer the guard element lives than the address.
const guardOutlives = 10 * time.Second

// Errors of a Fence.
var (
	// ErrMissing: another program removed the table, or the link was replaced. An address on the
	// link is not fenced: delete it before the table is attached again.
	ErrMissing = errors.New("the nftables table that fences the address is gone")
	// ErrDeferred: the kernel handles a frame later than it may be. Try again.
	ErrDeferred = errors.New("the kernel defers the frames that renew the fence")
	// ErrOpen: the kernel answers for longer than it should.
	ErrOpen = errors.New("the fence did not shut")
)

// Config of a Fence.
type Config struct {
	// VIPs are the addresses. At least one. Required.
	VIPs []netip.Addr
	// Longest is the longest time that a renewal has to cover. From 20 ms to an hour. Required.
	Longest time.Duration
	// Clock reads CLOCK_BOOTTIME. Required.
	Clock boottime.Clock
	// Log receives a message for each table that is built; nil discards it.
	Log *slog.Logger
}

// Fence has one table for each address. Extend, Shut, Silence, Serve and Announced may be called
// from one goroutine while another one calls the other methods. Make it with New.
type Fence struct {
	cfg     Config
	variant Variant
	members []*member
	device  string // to which the tables are attached; empty for none
}

// member is the fence of one address.
type member struct {
	layout layout
	table  *netdev.Table
	frames *frameSender
	serves serves // what the table has for the service of packets from relays
}

// New validates the configuration and finds out what the kernel can do, with a table of its own
// that it removes. With the variant Lifetimes the error says what is missing, and the Fence must
// not be used.
func New(cfg Config) (*Fence, Variant, error) {
	if len(cfg.VIPs) == 0 {
		return nil, "", errors.New("configure fence: VIPs are required")
	}
	for _, a := range cfg.VIPs {
		if err := netaddr.Check(a); err != nil {
			return nil, "", fmt.Errorf("configure fence: %w", err)
		}
	}
	if cfg.Clock == nil {
		return nil, "", errors.New("configure fence: Clock is required")
	}
	if cfg.Longest < step || cfg.Longest > time.Hour {
		return nil, "", fmt.Errorf("configure fence: Longest is %v: want %v to 1h", cfg.Longest, step)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &Fence{cfg: cfg}
	var err error
	if f.variant, err = probe(); f.variant == Lifetimes {
		return nil, Lifetimes, err
	}
	if err != nil {
		cfg.Log.Info("a better fence does not work here", "fence", f.variant, "err", err)
	}
	for _, a := range cfg.VIPs {
		m, err := newMember(tableName(a.Unmap()), a.Unmap(), cfg.Longest)
		if err != nil {
			f.Close()
			return nil, Lifetimes, err
		}
		f.members = append(f.members, m)
	}
	return f, f.variant, nil
}

func newMember(table string, vip netip.Addr, longest time.Duration) (*member, error) {
	t, err := netdev.Open(table)
	if err != nil {
		return nil, err
	}
	s, err := newFrameSender(vip)
	if err != nil {
		t.Close()
		return nil, err
	}
	return &member{layout: newLayout(vip, longest), table: t, frames: s}, nil
}

// Attach ensures that there is a table for each address on a link, built or taken over from an
// earlier process, and that the addresses are guarded for as long as one of them may be there. An
// element that an earlier process put stays until its lifetime ends, if the table has the same
// layout and link; otherwise the address is closed. Attach returns ErrMissing, and builds nothing,
// if the tables were attached to this link before and one is gone.
func (f *Fence) Attach(device string, lifetime time.Duration) error {
	for _, m := range f.members {
		if err := f.attach(m, device); err != nil {
			return err
		}
		if err := m.frames.send(guardCode(lifetime + guardOutlives)); err != nil {
			return err
		}
	}
	f.device = device
	return nil
}

// attach takes the table of one address over, or builds it.
func (f *Fence) attach(m *member, device string) error {
	if err := m.table.Reconnect(); err != nil {
		return err
	}
	chain := m.layout.chainIn(device, f.variant.egress())
	found, err := m.table.Has(chain)
	switch {
	case err != nil || found && m.table.Owned():
		return err
	case !found && f.device == device:
		f.device = ""
		return fmt.Errorf("nftables table %s: %w", m.table.Name(), ErrMissing)
	}
	if err := m.table.Create(f.variant.flags()); err != nil || found {
		return err
	}
	if err := m.table.Remove(); err != nil { // another layout or link
		return err
	}
	if err := m.table.Create(f.variant.flags()); err != nil {
		return err
	}
	m.serves = serves{}
	if err := m.layout.build(m.table, device, f.variant.egress()); err != nil {
		return err
	}
	f.cfg.Log.Info("nftables table built", "table", m.table.Name(), "link", device, "fence", f.variant)
	return nil
}

// Extend lets the kernel answer for the addresses until a deadline, or for Longest if that is less,
// also if an earlier call gave more. Less than 20 ms before the deadline it changes nothing. While
// Cut is at work, and where the kernel defers a ticket, it returns ErrDeferred: the caller repeats
// it before long. It makes three system calls for each address and waits for 1 ms at most. It may
// be called while another goroutine calls Attach, Cut or VerifyShut.
func (f *Fence) Extend(deadline time.Duration) error {
	var deferred error
	var errs []error
	for _, m := range f.members {
		switch err := f.tryRenew(m, deadline); {
		case errors.Is(err, ErrDeferred):
			deferred = err
		default:
			errs = append(errs, err)
		}
	}
	return cmp.Or(errors.Join(errs...), deferred)
}

// tryRenew renews the element of an address, unless another goroutine is at it.
func (f *Fence) tryRenew(m *member, deadline time.Duration) error {
	if !m.frames.ticketing.TryLock() {
		return ErrDeferred
	}
	defer m.frames.ticketing.Unlock()
	return f.renew(m, deadline)
}

// renew renews the element of an address. The caller holds ticketing.
func (f *Fence) renew(m *member, deadline time.Duration) error {
	if err := m.frames.ticket(); err != nil {
		return err
	}
	i, ok := longestWithin(m.layout.lifetimes, deadline-f.cfg.Clock())
	if !ok {
		return nil
	}
	return m.frames.send(codeRenew + uint16(i))
}

// Shut ends the answers for all addresses at once, and the service of their packets. Like Extend it
// waits for nothing.
func (f *Fence) Shut() error { return f.sendAll(codeClose, codeStop) }

// sendAll sends frames for each address.
func (f *Fence) sendAll(codes ...uint16) error {
	var errs []error
	for _, m := range f.members {
		for _, c := range codes {
			errs = append(errs, m.frames.send(c))
		}
	}
	return errors.Join(errs...)
}

// Cut makes the answers end by a deadline, and verifies it: nothing that was given before lasts
// longer. The caller must not call Extend with a later deadline until Cut has returned.
func (f *Fence) Cut(deadline time.Duration) error {
	const tries = 3 // a frame may be late, and the kernel refuses it then
	for try := 1; ; try++ {
		for _, m := range f.members {
			m.frames.ticketing.Lock()
			err := f.renew(m, deadline)
			m.frames.ticketing.Unlock()
			if err != nil && !errors.Is(err, ErrDeferred) { // what counts is read back
				return err
			}
		}
		open, err := f.openAfter(deadline)
		switch {
		case err != nil:
			return err
		case open == nil:
			return nil
		case try == tries:
			return fmt.Errorf("nftables table %s: %w", open.table.Name(), ErrOpen)
		}
	}
}

// VerifyShut verifies that no address is answered for, and ends it where one is. A table that is
// gone is an error: nothing fences the addresses then.
func (f *Fence) VerifyShut() error {
	for range len(f.members) + 1 { // each try shuts one, at least
		open, err := f.openAfter(0)
		if err != nil || open == nil {
			return err
		}
		if open.table.Owned() {
			err = open.table.DeleteElement(setAlive, open.layout.vip)
		} else {
			err = open.frames.send(codeClose)
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("fence of %v: %w", f.cfg.VIPs, ErrOpen)
}

// openAfter returns the first member that the kernel answers for after an instant, nil if there is
// none.
func (f *Fence) openAfter(deadline time.Duration) (*member, error) {
	for _, m := range f.members {
		if err := m.table.Reconnect(); err != nil {
			return nil, err
		}
		before := f.cfg.Clock()
		left, err := m.table.Remaining(setAlive, m.layout.vip)
		switch {
		case err != nil:
			return nil, err
		case left > 0 && before+left > deadline+Lag:
			return m, nil
		}
	}
	return nil, nil
}

// Close closes the connections to the kernel. The tables stay: an element ends when its lifetime
// does.
func (f *Fence) Close() {
	for _, m := range f.members {
		m.frames.close()
		m.table.Close()
	}
	f.members = nil
}
