package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/link"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// BulkKernel is the part of the kernel that a Roster uses, made for thousands of addresses.
// NetlinkBulk is the real one and FakeBulk one in memory.
type BulkKernel interface {
	// Addresses lists every address of this host, whoever put it there, in the kernel's order.
	Addresses() ([]link.HostAddr, error)
	// Apply carries out the changes one after the other, whatever becomes of the others, and
	// returns an error or nil for each. To delete what is not there is no error. When it
	// returns the kernel delivers packets to the new addresses.
	Apply(changes []Change) []error
	// KeepsMarks reports whether the kernel tells of an address who put it there (IFA_PROTO, Linux 5.18);
	// host is a listing.
	KeepsMarks(host []link.HostAddr) bool
}

// Change is one write of an address with the Services mark.
type Change struct {
	Address
	// Valid is the lifetime to write, whole seconds of at least 1; 0 deletes the address.
	Valid time.Duration
	// Scope is an RT_SCOPE_ value of rtnetlink(7); of no meaning to a deletion.
	Scope uint8
	// New says that the address was not on its link before, or was taken away first.
	New bool
}

// AddressError is what went wrong with one of many addresses.
type AddressError struct {
	Address Address
	Err     error
}

// Error implements error.
func (e *AddressError) Error() string {
	return fmt.Sprintf("address %s on %s: %v", e.Address.VIP, e.Address.LinkName, e.Err)
}

// Unwrap returns the cause.
func (e *AddressError) Unwrap() error { return e.Err }

// AddressErrors picks the errors of single addresses out of an error of a Roster. None in an
// error means that it concerns all of them.
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

// NetlinkBulk returns the kernel of the calling thread's network namespace.
func NetlinkBulk() BulkKernel { return netlinkBulk{} }

type netlinkBulk struct{}

// Addresses implements BulkKernel.
func (netlinkBulk) Addresses() ([]link.HostAddr, error) { return link.Addresses() }

// KeepsMarks implements BulkKernel.
func (netlinkBulk) KeepsMarks(host []link.HostAddr) bool { return keepsProto(host) }

// Apply implements BulkKernel.
func (netlinkBulk) Apply(changes []Change) []error {
	requests := make([]*nl.NetlinkRequest, len(changes))
	for i, c := range changes {
		requests[i] = deleteRequest(c.Address)
		if c.Valid > 0 {
			requests[i] = writeRequest(c.Address, c.Scope, uint32(c.Valid/time.Second), ServiceProto)
		}
	}
	errs := make([]error, len(changes))
	var fresh []netip.Addr
	for i, a := range exchange(unix.NETLINK_ROUTE, requests) {
		c := changes[i]
		switch {
		case a.err != nil && !(c.Valid == 0 && notThere(a.err)):
			errs[i] = fmt.Errorf("%s: %w%s", c.verb(), a.err, hint(a.err))
		case c.New && c.Valid > 0 && c.VIP.Is6():
			fresh = append(fresh, c.VIP)
		}
	}
	settleAll(fresh)
	return errs
}

func (c Change) verb() string {
	if c.Valid == 0 {
		return "delete"
	}
	return "write"
}

// settleAllWithin ends settleAll when nothing was added for so long: on a link that is down
// no route comes.
const settleAllWithin = time.Second

// settleAll waits, once for all, until the kernel delivers packets to new IPv6 addresses,
// for the reason that settle gives.
func settleAll(vips []netip.Addr) {
	for end := time.Now().Add(settleAllWithin); len(vips) > 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		missing := notLocal(vips)
		if len(missing) < len(vips) {
			end = time.Now().Add(settleAllWithin)
		}
		vips = missing
	}
}

// notLocal returns those to which the kernel has no local route.
func notLocal(vips []netip.Addr) []netip.Addr {
	requests := make([]*nl.NetlinkRequest, len(vips))
	for i, vip := range vips {
		requests[i] = nl.NewNetlinkRequest(unix.RTM_GETROUTE, 0)
		requests[i].AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6, Dst_len: 128}})
		requests[i].AddData(nl.NewRtAttr(unix.RTA_DST, vip.AsSlice()))
	}
	var missing []netip.Addr
	for i, a := range exchange(unix.NETLINK_ROUTE, requests) {
		const kind = 7 // rtm_type in struct rtmsg
		if a.err != nil || len(a.body) <= kind || a.body[kind] != unix.RTN_LOCAL {
			missing = append(missing, vips[i])
		}
	}
	return missing
}

var _ BulkKernel = netlinkBulk{}
