package vip

import (
	"fmt"
	"net/netip"

	"github.com/kvip/kvip/pkg/link"
	"golang.org/x/sys/unix"
)

// States of linux/tcp.h, as bits of idiag_states, in which no process waits for a peer:
// listeners stay, and what only TIME_WAIT or CLOSE is left of can be thousands of sockets.
const statesAlive = ^uint32(1<<link.StateTimeWait | 1<<link.StateClose | 1<<link.StateListen)

// DestroySockets destroys the TCP connections of this network namespace that died when
// the VIP left it, and returns how many: those whose local address is the VIP (a process
// here that dials the VIP while it is here gets it as source, too) and their other ends.
// The processes get ECONNABORTED at once where they would hang in retransmissions.
// A connection from here to the VIP on another host lives on, and listening sockets stay.
// While the VIP is an address of this host nothing has died, and nothing is destroyed.
//
// It needs NET_ADMIN and CONFIG_INET_DIAG_DESTROY (sock_diag(7), kernel 4.5).
func DestroySockets(vip netip.Addr) (int, error) { return DestroyAll([]netip.Addr{vip}) }

// DestroyAll does the same for many addresses, at the cost of one.
func DestroyAll(vips []netip.Addr) (int, error) {
	addresses, err := link.Addresses()
	if err != nil || len(vips) == 0 {
		return 0, err
	}
	here := map[netip.Addr]bool{}
	for _, h := range addresses {
		here[h.Prefix.Addr()] = true
	}
	var gone []netip.Addr
	for _, vip := range vips {
		if !here[vip.Unmap()] {
			gone = append(gone, vip.Unmap())
		}
	}
	if len(gone) == 0 {
		return 0, nil
	}
	var all []link.Socket
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, err := link.Sockets(family, statesAlive, 0)
		if err != nil {
			return 0, fmt.Errorf("list connections: %w", err)
		}
		all = append(all, list...)
	}
	return destroy(dead(all, gone...))
}

// dead picks the connections with one of the VIPs as local address, and their other ends.
func dead(all []link.Socket, vips ...netip.Addr) []link.Socket {
	gone := make(map[netip.Addr]bool, len(vips))
	for _, vip := range vips {
		gone[vip] = true
	}
	type pair struct{ local, remote netip.AddrPort }
	atVIP := map[pair]bool{}
	for _, c := range all {
		if gone[c.Local.Addr()] {
			atVIP[pair{c.Local, c.Remote}] = true
		}
	}
	var result []link.Socket
	for _, c := range all {
		if gone[c.Local.Addr()] || atVIP[pair{c.Remote, c.Local}] {
			result = append(result, c)
		}
	}
	return result
}
