package vip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/link"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// attrProto is IFA_PROTO of linux/if_addr.h, which the netlink package does not know (E10).
const attrProto = 11

// Netlink returns the kernel of the calling thread's network namespace.
func Netlink() Kernel { return netlinkKernel{} }

type netlinkKernel struct{}

var _ Kernel = netlinkKernel{}

// Addresses implements Kernel.
func (netlinkKernel) Addresses() ([]link.HostAddr, error) { return link.Addresses() }

// KeepsMarks implements Kernel. The kernel marks its own IPv6 addresses, such as ::1, from
// release 5.18 on, which brought the mark.
func (netlinkKernel) KeepsMarks(host []link.HostAddr) bool {
	marked := func(h link.HostAddr) bool { return h.Proto != 0 }
	return slices.ContainsFunc(host, marked) || since518(release())
}

// Apply implements Kernel.
func (netlinkKernel) Apply(changes []Change) []error {
	errs := make([]error, len(changes))
	requests := make([]*nl.NetlinkRequest, 0, len(changes))
	sent := make([]int, 0, len(changes))
	for i, c := range changes {
		if errs[i] = c.check(); errs[i] != nil {
			continue
		}
		request := deleteRequest(c.Address)
		if c.Valid > 0 {
			request = writeRequest(c)
		}
		requests, sent = append(requests, request), append(sent, i)
	}
	var added []netip.Addr
	for k, a := range exchange(unix.NETLINK_ROUTE, requests) {
		c := changes[sent[k]]
		switch {
		case a.err != nil && c.Valid > 0:
			errs[sent[k]] = fmt.Errorf("write: %w%s", a.err, hint(a.err))
		case a.err != nil && !isMissing(a.err):
			errs[sent[k]] = fmt.Errorf("delete: %w%s", a.err, hint(a.err))
		case c.New && c.Valid > 0 && c.Addr.Is6():
			added = append(added, c.Addr)
		}
	}
	waitForLocalRoutes(added)
	return errs
}

// isMissing reports whether a deletion failed because the address or its link is missing.
func isMissing(err error) bool {
	return errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV)
}

// hint returns the remedy for an error, if there is a known one.
func hint(err error) string {
	switch {
	case errors.Is(err, unix.EPERM):
		return " (kvip needs the capability NET_ADMIN)"
	case errors.Is(err, unix.EACCES):
		return " (IPv6 is disabled on the link, see sysctl net.ipv6.conf)"
	case errors.Is(err, unix.ENODEV):
		return " (the link was removed; a new one of that name has a new index)"
	}
	return ""
}

// writeRequest returns the message that creates or refreshes an address, with E10's
// attributes. IPv6 with a preferred lifetime of 0 is not selected as a source, and without
// duplicate detection it is usable at once. The lifetimes are always sent: without them the
// address would be permanent.
func writeRequest(c Change) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(unix.RTM_NEWADDR,
		unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	flags := uint32(unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_NODAD)
	if c.Addr.Is4() {
		flags = unix.IFA_F_NOPREFIXROUTE
	}
	addHeader(request, c.Address, c.Scope)
	request.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(flags)))
	cacheInfo := make([]byte, unix.SizeofIfaCacheinfo) // ifa_prefered stays 0
	binary.NativeEndian.PutUint32(cacheInfo[4:], uint32(c.Valid/time.Second))
	request.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, cacheInfo))
	request.AddData(nl.NewRtAttr(attrProto, []byte{c.Proto}))
	if c.Label != "" {
		request.AddData(nl.NewRtAttr(unix.IFA_LABEL, nl.ZeroTerminated(c.Label)))
	}
	return request
}

// deleteRequest returns the message that deletes an address from its link.
func deleteRequest(a Address) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(unix.RTM_DELADDR, unix.NLM_F_ACK)
	addHeader(request, a, 0)
	return request
}

// addHeader adds struct ifaddrmsg and the address (rtnetlink(7)).
func addHeader(request *nl.NetlinkRequest, a Address, scope uint8) {
	header := nl.NewIfAddrmsg(unix.AF_INET6)
	if a.Addr.Is4() {
		header.Family = unix.AF_INET
	}
	header.Prefixlen = uint8(a.Addr.BitLen())
	header.Scope = scope
	header.Index = uint32(a.LinkIndex)
	request.AddData(header)
	request.AddData(nl.NewRtAttr(unix.IFA_LOCAL, a.Addr.AsSlice()))
	request.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, a.Addr.AsSlice()))
}

// localRouteTime limits the wait for the local route of one address, and localRoutesTime that
// for many, counted from the last route that was added. On a link that is down none is.
const (
	localRouteTime  = 250 * time.Millisecond
	localRoutesTime = time.Second
)

// waitForLocalRoutes waits until the kernel delivers packets for new IPv6 addresses. The
// kernel acknowledges an address first and adds its local route later, in a work queue
// (addrconf_dad_work), which takes milliseconds on a busy machine. A host that received an
// announcement before that would send packets which are not delivered.
func waitForLocalRoutes(vips []netip.Addr) {
	limit := min(time.Duration(len(vips))*localRouteTime, localRoutesTime)
	for end := time.Now().Add(limit); len(vips) > 0; {
		missing := withoutLocalRoute(vips)
		if len(missing) < len(vips) {
			end = time.Now().Add(limit)
		}
		vips = missing
		if time.Now().After(end) {
			return
		}
		if len(vips) > 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// withoutLocalRoute returns the IPv6 addresses that have no local route.
func withoutLocalRoute(vips []netip.Addr) []netip.Addr {
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

func release() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

func since518(release string) bool {
	var major, minor int
	_, err := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return err == nil && (major > 5 || major == 5 && minor >= 18)
}
