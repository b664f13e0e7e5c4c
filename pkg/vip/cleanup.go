package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/kvip/kvip/pkg/link"
)

// Cleanup removes what a killed kvip left on this host: the given addresses where they
// carry the control plane's mark or that of Services, or with no vips every address that
// carries one, and this host's dead connections to them. It returns what it removed. The
// addresses of a kvip that runs now stay: each of the control plane, and those of Services
// together, are an error that wraps ErrLocked.
func Cleanup(vips []netip.Addr) ([]Marked, error) {
	removed, err := cleanup(Netlink(vips), vips, DestroySockets)
	more, errServices := cleanupServices(NetlinkBulk(), vips, DestroyAll)
	return append(removed, more...), errors.Join(err, errServices)
}

// cleanupServices removes addresses of Services, which outlive a kvip that was killed (S6).
func cleanupServices(kernel BulkKernel, vips []netip.Addr, sockets func([]netip.Addr) (int, error)) ([]Marked, error) {
	match := func(h link.HostAddr) bool {
		return len(vips) == 0 || slices.ContainsFunc(vips, func(vip netip.Addr) bool { return vip.Unmap() == h.Prefix.Addr() })
	}
	listing := func() ([]link.HostAddr, error) {
		host, err := kernel.Addresses()
		unmarked := len(vips) > 0 && !kernel.KeepsMarks(host) // then it takes a name to tell
		host = slices.DeleteFunc(host, func(h link.HostAddr) bool { return !match(h) })
		for i, h := range host {
			if unmarked && asServices(h) {
				host[i].Proto = ServiceProto
			}
		}
		return host, err
	}
	host, err := listing()
	if err != nil {
		return nil, fmt.Errorf("clean up addresses of Services: %w", err)
	}
	if len(services(host)) == 0 {
		return nil, nil
	}
	lock, err := LockServices()
	if err != nil {
		return nil, fmt.Errorf("clean up addresses of Services: %w", err)
	}
	defer lock.Close()
	removed, err := sweepServices(kernel, listing)
	gone := make([]netip.Addr, len(removed))
	for i, m := range removed {
		gone[i] = m.VIP
	}
	if _, errSockets := sockets(gone); errSockets != nil {
		err = errors.Join(err, fmt.Errorf("clean up connections to addresses of Services: %w", errSockets))
	}
	return removed, err
}

func cleanup(kernel Kernel, vips []netip.Addr, sockets func(netip.Addr) (int, error)) ([]Marked, error) {
	wanted := make([]netip.Addr, len(vips))
	for i, vip := range vips {
		wanted[i] = vip.Unmap()
	}
	running := map[netip.Addr]bool{}
	removed, err := sweep(kernel, func(m Marked) bool {
		if len(wanted) > 0 && !slices.Contains(wanted, m.VIP) {
			return false
		}
		running[m.VIP] = running[m.VIP] || served(m.VIP)
		return !running[m.VIP]
	})
	errs := []error{err}
	for vip, isRunning := range running {
		if isRunning {
			errs = append(errs, fmt.Errorf("clean up %s: %w: stop it first", vip, ErrLocked))
		}
	}
	for _, m := range removed {
		if _, err := sockets(m.VIP); err != nil {
			errs = append(errs, fmt.Errorf("clean up connections to %s: %w", m.VIP, err))
		}
	}
	return removed, errors.Join(errs...)
}
