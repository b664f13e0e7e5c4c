package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/kvip/kvip/pkg/link"
)

// Cleanup removes what a killed kvip left on this host: the addresses of vips with the mark of
// the control plane or of Services, or, without vips, every address with a mark, and this
// host's dead connections to them. It returns the removed addresses. It keeps addresses of a
// running kvip: each of the control plane, and those of Services together, are an error that
// wraps ErrLocked.
func Cleanup(vips []netip.Addr) ([]Marked, error) {
	c := cleanup{Netlink(), unmapped(vips), destroySockets}
	removed, err := c.removeControlPlane()
	more, errServices := c.removeServices()
	return append(removed, more...), errors.Join(err, errServices)
}

// cleanup has the parameters of a Cleanup.
type cleanup struct {
	kernel         Kernel
	vips           []netip.Addr
	destroySockets func([]netip.Addr) (int, error)
}

func (c cleanup) matches(vip netip.Addr) bool {
	return len(c.vips) == 0 || slices.Contains(c.vips, vip)
}

func (c cleanup) removeControlPlane() ([]Marked, error) {
	served := map[netip.Addr]bool{}
	removed, err := sweep(c.kernel, func() ([]Marked, error) {
		list, err := ControlPlaneAddresses(c.kernel, c.vips)
		return slices.DeleteFunc(list, func(m Marked) bool {
			if !c.matches(m.Addr) {
				return true
			}
			served[m.Addr] = served[m.Addr] || isServed(m.Addr)
			return served[m.Addr]
		}), err
	})
	errs := []error{err}
	for vip, running := range served {
		if running {
			errs = append(errs, fmt.Errorf("clean up %s: %w: stop it first", vip, ErrLocked))
		}
	}
	return removed, errors.Join(append(errs, c.destroyConnections(removed))...)
}

// removeServices removes the addresses of Services, which outlive a killed kvip (S6).
func (c cleanup) removeServices() ([]Marked, error) {
	host, err := c.listServices()
	if err != nil {
		return nil, fmt.Errorf("clean up addresses of Services: %w", err)
	}
	if len(host) == 0 {
		return nil, nil
	}
	lock, err := LockServices()
	if err != nil {
		return nil, fmt.Errorf("clean up addresses of Services: %w", err)
	}
	defer lock.Close()
	removed, err := sweep(c.kernel, c.listServices)
	return removed, errors.Join(err, c.destroyConnections(removed))
}

// listServices returns the addresses of Services. If the kernel keeps no marks, only those of
// vips can be identified.
func (c cleanup) listServices() ([]Marked, error) {
	host, err := c.kernel.Addresses()
	if err != nil {
		return nil, err
	}
	unmarked := len(c.vips) > 0 && !c.kernel.KeepsMarks(host)
	host = slices.DeleteFunc(host, func(h link.HostAddr) bool { return !c.matches(h.Prefix.Addr()) })
	for i, h := range host {
		if unmarked && looksLikeService(h) {
			host[i].Proto = ServiceProto
		}
	}
	return serviceAddresses(host), nil
}

func (c cleanup) destroyConnections(removed []Marked) error {
	if len(removed) == 0 {
		return nil
	}
	vips := make([]netip.Addr, len(removed))
	for i, m := range removed {
		vips[i] = m.Addr
	}
	if _, err := c.destroySockets(vips); err != nil {
		return fmt.Errorf("clean up connections to %v: %w", vips, err)
	}
	return nil
}
