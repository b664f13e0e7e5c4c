package fence

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
)

// This file has what a holder does that leaves while it could still serve (F11): it answers for the
// addresses no more, and serves the packets of its connections, which the next holder relays.

// Silence ends the answers for all addresses at once, like Shut. Packets are still served: from all
// hosts for half a second, if the right has not ended, and from relays for two seconds. Like Extend
// it waits for 1 ms at most, and may leave out the half second.
func (f *Fence) Silence(right time.Duration) error {
	var errs []error
	for _, m := range f.members {
		errs = append(errs, m.frames.send(codeServe), f.linger(m, right), m.frames.send(codeClose))
	}
	return errors.Join(errs...)
}

// linger serves packets from all hosts for half a second.
func (f *Fence) linger(m *member, right time.Duration) error {
	if !m.frames.ticketing.TryLock() {
		return nil
	}
	defer m.frames.ticketing.Unlock()
	switch err := m.frames.ticket(); {
	case errors.Is(err, ErrDeferred):
		return nil
	case err != nil || f.cfg.Clock() >= right:
		return err
	}
	return m.frames.send(codeLinger)
}

// Serve goes on serving packets from relays for two seconds.
func (f *Fence) Serve() error { return f.sendAll(codeServe) }

// Announced ends the service of packets that are not from relays: the next holder has announced
// itself.
func (f *Fence) Announced() error { return f.sendAll(codeAnnounced) }

// SetRelays says from which hardware addresses relayed packets come, and by which addresses this
// host asks for neighbours meanwhile: at most one of each family. If that has changed it waits for
// the transactions of all other programs.
func (f *Fence) SetRelays(relays []net.HardwareAddr, own []netip.Addr) error {
	for _, m := range f.members {
		if err := m.setRelays(relays, own); err != nil {
			return err
		}
	}
	return nil
}

// serves is what a table has for the service of packets from relays.
type serves struct {
	written bool // by this process
	relays  []net.HardwareAddr
	own     []netip.Addr
}

func (m *member) setRelays(relays []net.HardwareAddr, own []netip.Addr) error {
	now := &m.serves
	same := slices.EqualFunc(now.relays, relays, slices.Equal) && slices.Equal(now.own, own)
	if now.written && same {
		return nil
	}
	*now = serves{}
	if err := m.writeRelays(relays, own); err != nil {
		return err
	}
	*now = serves{written: true, relays: slices.Clone(relays), own: slices.Clone(own)}
	return nil
}

func (m *member) writeRelays(relays []net.HardwareAddr, own []netip.Addr) error {
	if err := m.table.Reconnect(); err != nil {
		return err
	}
	ref := m.table.Ref()
	from := &nftables.Set{Table: ref, Name: setRelays, KeyType: nftables.TypeEtherAddr}
	names := m.layout.own(ref)
	m.table.Conn.FlushSet(from)
	m.table.Conn.FlushSet(names)
	var elements, owns []nftables.SetElement
	for _, mac := range relays {
		if len(mac) != 6 {
			return fmt.Errorf("relays of %s: %s is not a hardware address of Ethernet", m.layout.vip, mac)
		}
		elements = append(elements, nftables.SetElement{Key: mac})
	}
	for _, a := range own {
		if a.Is4() == m.layout.vip.Is4() {
			owns = append(owns, nftables.SetElement{Key: m.layout.vip.AsSlice(), Val: a.AsSlice()})
		}
	}
	err := errors.Join(m.table.Conn.SetAddElements(from, elements),
		m.table.Conn.SetAddElements(names, owns))
	if err != nil {
		return err
	}
	return m.table.Flush("set the relays of")
}
