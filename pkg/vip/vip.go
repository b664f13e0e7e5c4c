// Package vip owns the virtual IPs on this host: it makes the kernel hold them for a
// bounded time, takes them away and proves that they are gone. Deciding who may hold an
// address and telling the network are not its job. An Owner keeps the few of the control
// plane, a Roster the many of Services.
//
// The fence: every address carries a kernel lifetime that ends before anyone else may
// claim it. If kvip is killed, frozen or wedged, the kernel removes the address.
package vip

import (
	"errors"
	"math"
	"net/netip"
	"time"
)

// Proto is the IFA_PROTO mark on kvip's addresses (linux/if_addr.h, kernel 5.18; E10).
// The kernel itself uses 1 to 3; 107 is in no rt_addrprotos file and is no routing
// daemon's number in rt_protos either.
const Proto uint8 = 107

// ServiceProto is the IFA_PROTO mark on the addresses of Services, so that neither the
// control plane's Owner nor a Roster, perhaps in another process, sweeps what is the other's.
const ServiceProto uint8 = 108

// Forever is the ValidLft of an address that does not expire. kvip never writes one.
const Forever = time.Duration(math.MaxInt64)

// KernelLag is how long after the end of its lifetime the kernel may still have an address
// (E1). The kernel looks at lifetimes at most once a second, and any address that anybody
// writes makes it look at once, which puts the next look off (check_lifetime in
// net/ipv4/devinet.c, addrconf_verify_rtnl in net/ipv6/addrconf.c). A lifetime of 2 s was
// measured to end after 2.99 s. The rest is for a kernel thread that is scheduled late.
const KernelLag = 1200 * time.Millisecond

// ErrDeadline says that the deadline of an Update has passed or leaves no time to put the
// address there. Where the deletion that follows is not confirmed, the error wraps
// ErrUnconfirmed as well.
var ErrDeadline = errors.New("the deadline leaves no time")

// ErrUnconfirmed says that reading back did not show that the addresses are gone (E5).
var ErrUnconfirmed = errors.New("the deletion is not confirmed")

// ErrForeign says that a virtual IP is an address of this host, with a network's prefix
// length, that kvip did not put there and does not touch.
var ErrForeign = errors.New("the address belongs to this host and is not kvip's")

// ErrControlPlane says that the control plane's kvip holds an address that a Roster is to hold.
var ErrControlPlane = errors.New("the control plane's kvip holds the address")

// ErrExpired says that an address was not renewed in time, so that the kernel has removed
// it. It comes back with the next Sync, whose caller knows whether it is still this node's.
var ErrExpired = errors.New("the lifetime of the address has ended")

// Address is a virtual IP on a link.
type Address struct {
	VIP       netip.Addr
	LinkIndex int
	// LinkName is for people; LinkIndex decides.
	LinkName string
}

// Marked is an address on this host that kvip put there.
type Marked struct {
	Address
	// ValidLft is what the kernel says is left, whole seconds rounded up, or Forever.
	ValidLft time.Duration
}

// Kernel is the part of the kernel that keeps addresses. Netlink is the real one and Fake
// one in memory.
type Kernel interface {
	// Replace makes a's VIP exist on a's link and on no other, to be removed by the
	// kernel after valid, whole seconds of at least 1. It creates a missing address: it
	// cannot refuse a stale refresh, its caller must (E4).
	Replace(a Address, valid time.Duration) error
	// Delete removes a's VIP from a's link. That it is not there, or its link, is no error.
	Delete(a Address) error
	// List returns the addresses with kvip's mark on any link.
	List() ([]Marked, error)
	// There reports whether a's VIP is on a's link as a host address, with kvip's mark or without.
	There(a Address) (bool, error)
}

// ValidLifetime is E1's arithmetic: the whole seconds left from now to the deadline after
// taking off KernelLag, and 0 when that is below one second, which must not be written (to
// the kernel it would mean a permanent address).
func ValidLifetime(deadline, now time.Duration) time.Duration {
	return max(0, (deadline-now-KernelLag)/time.Second*time.Second)
}
