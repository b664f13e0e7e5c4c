package vip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/kvip/kvip/pkg/link"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Sizes and offsets of linux/inet_diag.h: struct inet_diag_req_v2 is 8 bytes and a struct
// inet_diag_sockid, struct inet_diag_msg starts with 4 bytes and one.
const (
	sockIDLen      = 48
	requestHeadLen = 8
	messageHeadLen = 4
)

// States of linux/tcp.h, as bits of idiag_states, in which no process waits for a peer:
// listeners stay, and what only TIME_WAIT or CLOSE is left of can be thousands of sockets.
const (
	stateTimeWait = 1 << 6
	stateClose    = 1 << 7
	stateListen   = 1 << 10
	statesAlive   = ^uint32(stateTimeWait | stateClose | stateListen)
)

// connection is one TCP socket that somebody may wait on.
type connection struct {
	family        uint8
	id            [sockIDLen]byte // struct inet_diag_sockid, sent back as it came
	local, remote netip.AddrPort  // IPv4-mapped addresses unmapped
}

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
	var all []connection
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, err := connections(family)
		if err != nil {
			return 0, fmt.Errorf("list connections: %w", err)
		}
		all = append(all, list...)
	}
	return destroy(dead(all, gone...))
}

// destroy returns how many it destroyed; one that was closed meanwhile is no error.
func destroy(list []connection) (int, error) {
	count := 0
	var errs []error
	for _, c := range list {
		err := c.destroy()
		switch {
		case err == nil:
			count++
		case !errors.Is(err, unix.ENOENT):
			errs = append(errs, fmt.Errorf("destroy connection %s to %s: %w", c.local, c.remote, err))
		}
	}
	return count, errors.Join(errs...)
}

// dead picks the connections with one of the VIPs as local address, and their other ends.
func dead(all []connection, vips ...netip.Addr) []connection {
	gone := make(map[netip.Addr]bool, len(vips))
	for _, vip := range vips {
		gone[vip] = true
	}
	type pair struct{ local, remote netip.AddrPort }
	atVIP := map[pair]bool{}
	for _, c := range all {
		if gone[c.local.Addr()] {
			atVIP[pair{c.local, c.remote}] = true
		}
	}
	var result []connection
	for _, c := range all {
		if gone[c.local.Addr()] || atVIP[pair{c.remote, c.local}] {
			result = append(result, c)
		}
	}
	return result
}

// connections dumps the TCP sockets of one family that somebody may wait on. IPv4
// connections of dual-stack sockets are among AF_INET6 with mapped addresses.
func connections(family uint8) ([]connection, error) {
	var messages [][]byte
	var err error
	for range dumpTries {
		request := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		request.AddRawData(diagRequest(family, statesAlive, [sockIDLen]byte{}))
		messages, err = request.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
		if !errors.Is(err, nl.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) { // most of them beat none
		return nil, err
	}
	var result []connection
	for _, message := range messages {
		if c, ok := parseConnection(message); ok {
			result = append(result, c)
		}
	}
	return result, nil
}

// dumpTries is how often a dump that changed under the reader is read again.
const dumpTries = 3

func (c connection) destroy() error {
	request := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	request.AddRawData(diagRequest(c.family, 0, c.id))
	_, err := request.Execute(unix.NETLINK_INET_DIAG, 0)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w (the kernel lacks CONFIG_INET_DIAG_DESTROY)", err)
	}
	return err
}

// diagRequest is struct inet_diag_req_v2: family, protocol, ext, pad, states, id.
func diagRequest(family uint8, states uint32, id [sockIDLen]byte) []byte {
	b := make([]byte, requestHeadLen, requestHeadLen+sockIDLen)
	b[0], b[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], states)
	return append(b, id[:]...)
}

// parseConnection decodes struct inet_diag_msg as far as it matters: family, state, timer,
// retrans, then the id: ports and addresses in network order (each 16 bytes, of which
// IPv4 uses 4), the interface and a cookie.
func parseConnection(b []byte) (connection, bool) {
	if len(b) < messageHeadLen+sockIDLen || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 || statesAlive&(1<<b[1]) == 0 {
		return connection{}, false
	}
	c := connection{family: b[0]}
	copy(c.id[:], b[messageHeadLen:])
	size := 16
	if c.family == unix.AF_INET {
		size = 4
	}
	c.local = addrPort(c.id[4:4+size], c.id[0:2])
	c.remote = addrPort(c.id[20:20+size], c.id[2:4])
	return c, true
}

func addrPort(addr, port []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}
