package netlab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// dropTable is what the switch drops now, for each pair of hosts and direction.
type dropTable struct {
	mu    sync.Mutex
	rules map[[2]*Host]drop // from and to
	down  map[*Host]bool    // unplugged, or with a link that is down
}

// drop is what is dropped between two hosts.
type drop struct {
	ports   []uint16 // TCP and UDP; none for everything
	percent int      // of the frames, at random; 0 for all
}

func newDropTable() *dropTable {
	return &dropTable{rules: map[[2]*Host]drop{}, down: map[*Host]bool{}}
}

// Drop makes the switch drop frames from one host to another, in that direction only: all of them,
// or with ports only TCP and UDP from or to these. It replaces an earlier Drop of the same pair.
func (l *Lab) Drop(from, to *Host, ports ...uint16) error {
	return l.set(from, to, drop{ports: ports})
}

// Lose makes the switch drop a percentage of the frames from one host to another, in that direction
// only, at random. It replaces an earlier Lose or Drop of the same pair.
func (l *Lab) Lose(percent int, from, to *Host) error {
	if percent < 1 || percent > 99 {
		return fmt.Errorf("lose %d %% of the frames: want 1 to 99", percent)
	}
	return l.set(from, to, drop{percent: percent})
}

func (l *Lab) set(from, to *Host, d drop) error {
	l.sw.drops.mu.Lock()
	defer l.sw.drops.mu.Unlock()
	l.sw.drops.rules[[2]*Host{from, to}] = d
	return l.sw.apply(to)
}

// Heal ends every Drop, Lose and Partition.
func (l *Lab) Heal() error {
	l.sw.drops.mu.Lock()
	defer l.sw.drops.mu.Unlock()
	touched := map[*Host]bool{}
	for pair := range l.sw.drops.rules {
		touched[pair[1]] = true
	}
	clear(l.sw.drops.rules)
	var errs []error
	for to := range touched {
		errs = append(errs, l.sw.apply(to))
	}
	return errors.Join(errs...)
}

// Partition drops all frames between a host and the others.
func (l *Lab) Partition(h *Host, others ...*Host) error {
	for _, o := range others {
		if err := errors.Join(l.Drop(h, o), l.Drop(o, h)); err != nil {
			return err
		}
	}
	return nil
}

// PartitionPorts drops only TCP and UDP from or to the ports between a host and the others. Other
// hosts, such as a client, still reach all of them.
func (l *Lab) PartitionPorts(h *Host, ports []uint16, others ...*Host) error {
	for _, o := range others {
		if err := errors.Join(l.Drop(h, o, ports...), l.Drop(o, h, ports...)); err != nil {
			return err
		}
	}
	return nil
}

// apply sets the filter of a host's switch port. The caller holds the lock.
func (f *networkSwitch) apply(to *Host) error {
	var rules []dropRule
	for pair, d := range f.drops.rules {
		if pair[1] == to {
			rules = append(rules, dropRule{from: pair[0].MAC, drop: d})
		}
	}
	slices.SortFunc(rules, func(a, b dropRule) int { return bytes.Compare(a.from, b.from) })
	return f.setFilter(to.port, rules)
}

// Reachable reports whether two hosts can exchange frames in both directions now. A drop of single
// ports, or of some frames, does not count: the hosts still share the segment.
func (l *Lab) Reachable(a, b *Host) bool {
	l.sw.drops.mu.Lock()
	defer l.sw.drops.mu.Unlock()
	if l.sw.drops.down[a] || l.sw.drops.down[b] {
		return false
	}
	for _, pair := range [][2]*Host{{a, b}, {b, a}} {
		if d, ok := l.sw.drops.rules[pair]; ok && len(d.ports) == 0 && d.percent == 0 {
			return false
		}
	}
	return true
}

// Unplug disconnects the host's cable: its link loses the carrier and keeps its addresses.
func (h *Host) Unplug() error {
	h.markDown(true)
	return h.lab.sw.setPort(h.Name, false)
}

// Plug connects the cable again.
func (h *Host) Plug() error {
	defer h.markDown(false)
	return h.lab.sw.setPort(h.Name, true)
}

// LinkDown sets the host's link down. The kernel removes its IPv6 addresses.
func (h *Host) LinkDown() error {
	h.markDown(true)
	return h.setLink(LinkName, false)
}

// LinkUp sets the link up and restores the host's own addresses.
func (h *Host) LinkUp() error {
	defer h.markDown(false)
	return errors.Join(h.setLink(LinkName, true), h.RestoreAddrs())
}

// Flush removes every address from the host's link except link-local ones, also the host's own.
func (h *Host) Flush() error {
	return h.removeAddrs(func(*net.IPNet) bool { return true })
}

// RemoveAddedAddrs removes all addresses that are not the host's own, as a reboot does.
func (h *Host) RemoveAddedAddrs() error {
	return h.removeAddrs(func(n *net.IPNet) bool {
		return !slices.ContainsFunc(h.Addrs,
			func(own netip.Prefix) bool { return own.String() == n.String() })
	})
}

func (h *Host) removeAddrs(match func(*net.IPNet) bool) error {
	link, err := h.nl.LinkByName(LinkName)
	if err != nil {
		return err
	}
	addrs, err := h.nl.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of host %s: %w", h.Name, err)
	}
	var errs []error
	for _, a := range addrs {
		if a.IP.IsLinkLocalUnicast() || !match(a.IPNet) {
			continue
		}
		if err := h.nl.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, fmt.Errorf("flush %s of host %s: %w", a.IPNet, h.Name, err))
		}
	}
	return errors.Join(errs...)
}

// PowerOff models the loss of power: the cable is unplugged first, so that no peer sees the sockets
// close, then all processes are killed and the addresses that they added are removed.
func (h *Host) PowerOff() error {
	err := h.Unplug()
	h.KillAll()
	return errors.Join(err, h.RemoveAddedAddrs())
}

func (h *Host) markDown(down bool) {
	h.lab.sw.drops.mu.Lock()
	defer h.lab.sw.drops.mu.Unlock()
	if down {
		h.lab.sw.drops.down[h] = true
	} else {
		delete(h.lab.sw.drops.down, h)
	}
}
