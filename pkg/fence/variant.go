package fence

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/netdev"
)

// Variant says which fence a kernel gives.
type Variant string

// Variants, the best first.
const (
	// Full drops in both directions, and no other program can remove the table.
	Full Variant = "nftables"
	// Flushable is Full with a table that other programs can remove (kernels before 6.9).
	Flushable Variant = "nftables-flushable"
	// IngressOnly is Flushable without the egress hook (kernels before 5.16): connections that exist
	// go on sending.
	IngressOnly Variant = "nftables-ingress"
	// Lifetimes: only the lifetimes of addresses end them, with the kernel's lag.
	Lifetimes Variant = "lifetimes"
)

// Variants returns all variants.
func Variants() []string {
	return []string{string(Full), string(Flushable), string(IngressOnly), string(Lifetimes)}
}

func (v Variant) egress() bool { return v != IngressOnly }

func (v Variant) flags() uint32 {
	if v == Full {
		return netdev.FlagOwner | netdev.FlagPersist
	}
	return 0
}

// probeVIPs are addresses for documentation (RFC 5737, RFC 3849): those of no host.
var probeVIPs = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}

// probeMark precedes a random number in the names of the tables of a probe: probes in one network
// namespace do not meet.
const probeMark = "-probe-"

// probe builds the tables of probeVIPs on the loopback link, renews, closes, and removes them.
// Versions of kernels say little: distributions backport and leave out. The error says why a better
// variant, or any, does not work.
func probe() (Variant, error) {
	var errs []error
	for _, v := range []Variant{Full, Flushable, IngressOnly} {
		err := v.try()
		if err == nil {
			return v, errors.Join(errs...)
		}
		errs = append(errs, fmt.Errorf("%s: %w", v, err))
		if errors.Is(err, unix.EPERM) {
			break
		}
	}
	return Lifetimes, fmt.Errorf("fence addresses by nftables: %w", errors.Join(errs...))
}

// try reports what fails with a variant. A request that met a long transaction of another program
// may fail once.
func (v Variant) try() (err error) {
	for range 3 {
		err = v.tryOnce()
		if err == nil || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	return err
}

func (v Variant) tryOnce() (err error) {
	for _, vip := range probeVIPs {
		name := fmt.Sprintf("%s%s%08x", tableName(vip), probeMark, rand.Uint32())
		m, err := newMember(name, vip, time.Second)
		if err != nil {
			return err
		}
		err = v.tryAddress(m)
		m.frames.close()
		m.table.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (v Variant) tryAddress(m *member) (err error) {
	if err := m.table.Create(v.flags()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.table.Remove()) }()
	if err := m.layout.build(m.table, "lo", v.egress()); err != nil {
		return err
	}
	if err := m.expect(false, codeRenew+probeLifetime); err != nil { // without a ticket
		return err
	}
	for try := 1; ; try++ {
		err := m.frames.ticket()
		if err == nil {
			err = m.expect(true, codeRenew+probeLifetime)
		}
		if err == nil {
			break
		}
		if try == probeTries {
			return err
		}
	}
	return m.expect(false, codeClose)
}

const (
	// probeLifetime is the index of a lifetime of 200 ms.
	probeLifetime = 9
	// probeTries is how often a renewal is tried: on a busy node this process may stand still for
	// longer than a ticket or an element lasts, and the variant would be a lesser one until it ends.
	probeTries = 100
)

// expect sends frames and returns an error unless the address is then answered for, or is not.
func (m *member) expect(open bool, codes ...uint16) error {
	for _, code := range codes {
		if err := m.frames.send(code); err != nil {
			return err
		}
	}
	left, err := m.table.Remaining(setAlive, m.layout.vip)
	if err != nil {
		return err
	}
	if left > 0 != open {
		return fmt.Errorf("after frames %#x the element is there: %t, want %t", codes, left > 0, open)
	}
	return nil
}
