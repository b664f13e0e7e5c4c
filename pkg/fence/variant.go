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
// Versions of kernels say little: distributions backport and leave out.
func probe() (Variant, error) {
	var errs []error
	for _, v := range []Variant{Full, Flushable, IngressOnly} {
		err := v.try()
		if err == nil {
			return v, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", v, err))
		if errors.Is(err, unix.EPERM) {
			break
		}
	}
	return Lifetimes, fmt.Errorf("fence addresses by nftables: %w", errors.Join(errs...))
}

// try reports what fails with a variant.
func (v Variant) try() (err error) {
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
	for _, step := range []struct {
		code uint16
		open bool
	}{{codeRenew + 9, false}, {codeTicket, false}, {codeRenew + 9, true}, {codeClose, false}} {
		if err := m.frames.send(step.code); err != nil {
			return err
		}
		left, err := m.table.Remaining(setAlive, m.layout.vip)
		if err != nil {
			return err
		}
		if open := left > 0; open != step.open {
			return fmt.Errorf("after frame %#x the element is there: %t, want %t",
				step.code, open, step.open)
		}
	}
	return nil
}
