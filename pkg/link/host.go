package link

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// HostMACs returns the Ethernet addresses of all links of this host.
func HostMACs() ([]net.HardwareAddr, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var macs []net.HardwareAddr
	for _, l := range links {
		if len(l.HardwareAddr) == 6 {
			macs = append(macs, l.HardwareAddr)
		}
	}
	return macs, nil
}

// LinkLocal returns an IPv6 link-local address of the link with that index, without its zone. The
// zero Addr means that there is none, or that it cannot be read.
func LinkLocal(index int) netip.Addr {
	l, err := net.InterfaceByIndex(index)
	if err != nil {
		return netip.Addr{}
	}
	addrs, err := l.Addrs()
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && prefix.Addr().Is6() && prefix.Addr().IsLinkLocalUnicast() {
			return prefix.Addr().WithZone("")
		}
	}
	return netip.Addr{}
}

// Forwards reports whether this host forwards packets between its links (ip-sysctl of the Linux
// documentation): where kube-proxy sends them to pods on other nodes, it must.
func Forwards(family4 bool) (bool, error) {
	path := "/proc/sys/net/ipv6/conf/all/forwarding"
	if family4 {
		path = "/proc/sys/net/ipv4/ip_forward"
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	return strings.TrimSpace(string(content)) != "0", nil
}

// NetnsInode returns the inode of the calling thread's network namespace, which is the program's
// if it never changes it. With BootID it distinguishes nodes that share one kernel, and it is the
// same after a restart of kvip (E8).
func NetnsInode() (uint64, error) {
	const path = "/proc/thread-self/ns/net"
	var info unix.Stat_t
	if err := unix.Stat(path, &info); err != nil {
		return 0, fmt.Errorf("read network namespace %s: %w", path, err)
	}
	return info.Ino, nil
}

// BootID returns the random identity of this boot of the kernel (random(4)), part of a node's
// identity (E8).
func BootID() (string, error) {
	const path = "/proc/sys/kernel/random/boot_id"
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(content)), nil
}
