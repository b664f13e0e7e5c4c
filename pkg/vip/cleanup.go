package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Cleanup removes what a killed kvip left on this host: the given VIPs where they carry
// kvip's mark, or with no vips every address that carries it, and this host's dead
// connections to them. It returns what it removed. The addresses of a kvip that runs now
// stay, and each is an error that wraps ErrLocked.
func Cleanup(vips []netip.Addr) ([]Marked, error) {
	return cleanup(Netlink(vips), vips, DestroySockets)
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
