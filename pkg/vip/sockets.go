package vip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/link"
)

// connectionStates are the states of linux/tcp.h, as bits of idiag_states, in which a process
// waits for a peer. Listeners are kept, and there can be thousands of sockets in TIME_WAIT or
// CLOSE, which no process has.
const connectionStates = ^uint32(1<<link.StateTimeWait | 1<<link.StateClose | 1<<link.StateListen)

// socketsPerExchange limits the requests in memory: there may be tens of thousands of
// connections.
const socketsPerExchange = 16 * batch

// destroySockets destroys the TCP connections of this network namespace that broke when the
// vips left it, and returns how many: those with one of the vips as local address (a process
// here that connects to a local VIP gets it as source, too) and their other ends. The
// processes get ECONNABORTED at once, where they would hang in retransmissions. It keeps
// connections from here to the VIP on another host, and listening sockets. It does nothing for
// a VIP that is on this host, since its connections work.
//
// It needs NET_ADMIN and CONFIG_INET_DIAG_DESTROY (sock_diag(7), kernel 4.5).
func destroySockets(vips []netip.Addr) (int, error) {
	host, err := link.Addresses()
	if err != nil || len(vips) == 0 {
		return 0, err
	}
	gone := map[netip.Addr]bool{}
	for _, vip := range vips {
		gone[vip.Unmap()] = true
	}
	for _, h := range host {
		delete(gone, h.Prefix.Addr())
	}
	if len(gone) == 0 {
		return 0, nil
	}
	var all []link.Socket
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, err := link.Sockets(family, connectionStates, 0)
		if err != nil {
			return 0, fmt.Errorf("list connections: %w", err)
		}
		all = append(all, list...)
	}
	return destroyAll(brokenBy(gone, all))
}

// Connections returns the TCP connections that other hosts have to the VIPs here. Those of IPv4 and
// of IPv6 are listed one after the other.
func (o *Owner) Connections() (list []link.Socket, err error) {
	host, err := link.Addresses()
	if err != nil {
		return nil, err
	}
	here := func(a netip.Addr) bool { // a process here that connects to a VIP gets it as source
		return slices.Contains(o.cfg.VIPs, a) ||
			slices.ContainsFunc(host, func(h link.HostAddr) bool { return h.Prefix.Addr() == a })
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		all, err := link.Sockets(family, connectionStates, 0)
		if err != nil {
			return nil, fmt.Errorf("list connections: %w", err)
		}
		for _, s := range all {
			if slices.Contains(o.cfg.VIPs, s.Local.Addr()) && !here(s.Remote.Addr()) {
				list = append(list, s)
			}
		}
	}
	return list, nil
}

// destroyAndLog destroys connections of vips with destroy. Failures are logged.
func destroyAndLog(log *slog.Logger, destroy func([]netip.Addr) (int, error), vips []netip.Addr) {
	if len(vips) == 0 {
		return
	}
	count, err := destroy(vips)
	if err != nil {
		log.Warn("cannot destroy connections to removed addresses", "err", err)
	}
	if count > 0 {
		log.Info("destroyed connections to removed addresses", "count", count)
	}
}

// brokenBy returns the connections with a local address in gone, and their other ends.
func brokenBy(gone map[netip.Addr]bool, all []link.Socket) []link.Socket {
	type pair struct{ local, remote netip.AddrPort }
	broken := map[pair]bool{}
	for _, c := range all {
		if gone[c.Local.Addr()] {
			broken[pair{c.Local, c.Remote}] = true
		}
	}
	var result []link.Socket
	for _, c := range all {
		if gone[c.Local.Addr()] || broken[pair{c.Remote, c.Local}] {
			result = append(result, c)
		}
	}
	return result
}

// destroyAll returns the number of destroyed connections. One that was closed meanwhile is not
// an error. A failure ends it after the connections of the same exchange.
func destroyAll(list []link.Socket) (int, error) {
	count := 0
	for part := range slices.Chunk(list, socketsPerExchange) {
		destroyed, err := destroySome(part)
		count += destroyed
		if err != nil {
			return count, err
		}
	}
	return count, nil
}

func destroySome(list []link.Socket) (int, error) {
	requests := make([]*nl.NetlinkRequest, len(list))
	for i, c := range list {
		requests[i] = nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
		requests[i].AddRawData(link.SocketRequest(c.Family, 0, c.ID))
	}
	count := 0
	var errs []error
	for i, a := range exchange(unix.NETLINK_INET_DIAG, requests) {
		switch {
		case a.err == nil:
			count++
		case errors.Is(a.err, unix.EOPNOTSUPP):
			return count, fmt.Errorf(
				"destroy connections: %w (the kernel lacks CONFIG_INET_DIAG_DESTROY)", a.err)
		case errors.Is(a.err, errNoAnswer): // like all later ones
			return count, fmt.Errorf("destroy connections: %w", a.err)
		case !errors.Is(a.err, unix.ENOENT):
			errs = append(errs, fmt.Errorf("destroy connection %s to %s: %w",
				list[i].Local, list[i].Remote, a.err))
		}
	}
	return count, errors.Join(errs[:min(len(errs), batch)]...)
}
