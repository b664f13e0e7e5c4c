// Package vip owns the virtual IPs on this host: it adds them with a lifetime, deletes them and
// verifies that they are gone. It does not decide which node may hold an address, and it does not
// announce addresses. An Owner has the few addresses of the control plane, a ServiceOwner the many
// of Services.
//
// Every address has a kernel lifetime: if kvip is killed, frozen or stuck, the kernel removes it.
// Where pkg/fence cannot end the answers for an address of the control plane, and for those of
// Services, the lifetime ends before another node may claim the address.
package vip

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/link"
)

// ControlPlaneProto is the IFA_PROTO mark of the control plane's addresses (linux/if_addr.h, kernel
// 5.18; E10). The kernel itself uses 1 to 3. 107 is in no rt_addrprotos file and is no routing
// daemon's number in rt_protos.
const ControlPlaneProto uint8 = 107

// ServiceProto is the IFA_PROTO mark of the addresses of Services. With two marks neither the
// control plane's Owner nor a ServiceOwner, possibly of another process, deletes addresses of
// the other.
const ServiceProto uint8 = 108

// Forever is the ValidLft of an address that does not expire. kvip never writes one.
const Forever = time.Duration(math.MaxInt64)

// KernelLag is how long the kernel may keep an address after the end of its lifetime (E1). The
// kernel checks lifetimes at most once a second, and every write of an address triggers a
// check, which delays the next one (check_lifetime in net/ipv4/devinet.c, addrconf_verify_rtnl
// in net/ipv6/addrconf.c). A lifetime of 2 s was measured to end after 2.99 s. The rest is for
// a kernel thread that is scheduled late.
const KernelLag = 1200 * time.Millisecond

// Errors of an Owner and a ServiceOwner.
var (
	// ErrDeadline: the deadline of an Update has passed or leaves no time for a write. If the
	// deletion that follows is not confirmed, the error wraps ErrUnconfirmed as well.
	ErrDeadline = errors.New("the deadline leaves no time")
	// ErrUnconfirmed: reading back did not show that the addresses are gone (E5).
	ErrUnconfirmed = errors.New("the deletion is not confirmed")
	// ErrForeign: a virtual IP is an address of this host that kvip did not write and does not
	// change.
	ErrForeign = errors.New("the address belongs to this host and is not kvip's")
	// ErrControlPlane: the control plane's kvip holds an address that a ServiceOwner is to write.
	ErrControlPlane = errors.New("the control plane's kvip holds the address")
	// ErrExpired: the kernel removed an address that was not refreshed in time. The next Sync
	// writes it again, as its caller knows whether this node is still the owner.
	ErrExpired = errors.New("the lifetime of the address has ended")
)

// Address is a virtual IP on a link.
type Address struct {
	Addr      netip.Addr
	LinkIndex int
	// LinkName is for messages; LinkIndex identifies the link.
	LinkName string
}

// Marked is an address that kvip wrote.
type Marked struct {
	Address
	// ValidLft is the lifetime that is left: whole seconds, rounded up by the kernel, or
	// Forever.
	ValidLft time.Duration
}

// Kernel is the part of the kernel that keeps addresses. Netlink is the real one, Fake one in
// memory.
type Kernel interface {
	// Addresses returns every address of this host, of all programs, in the kernel's order.
	Addresses() ([]link.HostAddr, error)
	// Apply makes the changes one after the other and returns an error or nil for each: a
	// failed change does not stop the others. To delete is idempotent: a missing address or
	// link is not an error. A write creates a missing address, so its caller must not repeat
	// an outdated one (E4). When Apply returns, the kernel delivers packets for the new
	// addresses.
	Apply(changes []Change) []error
	// KeepsMarks reports whether the kernel keeps IFA_PROTO (Linux 5.18). host is a result of
	// Addresses.
	KeepsMarks(host []link.HostAddr) bool
}

// Change writes or deletes one address.
type Change struct {
	Address
	// Valid is the lifetime to write, whole seconds of at least 1. 0 deletes the address, and
	// the other fields are not used.
	Valid time.Duration
	// Proto is the mark: ControlPlaneProto or ServiceProto.
	Proto uint8
	// Scope is an RT_SCOPE_ value of rtnetlink(7).
	Scope uint8
	// Label is the IFA_LABEL of an IPv4 address; empty means the link's name.
	Label string
	// New means that the address was not on its link before, or was deleted first.
	New bool
}

// check returns an error if the lifetime cannot be written.
func (c Change) check() error {
	if c.Valid < 0 || c.Valid%time.Second != 0 {
		return fmt.Errorf("lifetime %v: want whole seconds", c.Valid)
	}
	return nil
}

// AddressError is the error of one of many addresses.
type AddressError struct {
	Address Address
	Err     error
}

// Error implements error.
func (e *AddressError) Error() string {
	return fmt.Sprintf("address %s on %s: %v", e.Address.Addr, e.Address.LinkName, e.Err)
}

// Unwrap returns the cause.
func (e *AddressError) Unwrap() error { return e.Err }

// AddressErrors returns the errors of single addresses in an error of a ServiceOwner. An error
// without any concerns all addresses.
func AddressErrors(err error) []*AddressError {
	var one *AddressError
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*AddressError
		for _, e := range joined.Unwrap() {
			all = append(all, AddressErrors(e)...)
		}
		return all
	}
	if errors.As(err, &one) {
		return []*AddressError{one}
	}
	return nil
}

// ValidLifetime returns the lifetime to write at now so that the address is gone at the
// deadline (E1): the whole seconds left after KernelLag. It returns 0 if that is less than one
// second, which must not be written: to the kernel it means a permanent address.
func ValidLifetime(deadline, now time.Duration) time.Duration {
	return max(0, (deadline-now-KernelLag)/time.Second*time.Second)
}

// fencedLifetime returns the lifetime to write at now to an address whose fence closes at the
// deadline: one to two seconds more, in whole seconds.
func fencedLifetime(deadline, now time.Duration) time.Duration {
	return (deadline - now + 2*time.Second).Truncate(time.Second)
}
