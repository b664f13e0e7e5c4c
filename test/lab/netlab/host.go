package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LinkName is the name of every host's link to the switch.
const LinkName = "eth0"

// HostConfig describes a host. Name is required: at most 15 characters, as it also names the switch
// port.
type HostConfig struct {
	Name string
	// Addrs are the host's own addresses, one per family at most, with their on-link prefix.
	Addrs []netip.Prefix
	// Forward turns on ip_forward and its IPv6 counterpart. A former holder of an address then
	// forwards stale traffic, which hides a missing announcement.
	Forward bool
}

// Host is a machine in the lab: a network namespace with lo and one link, a directory that its
// processes see as /etc, and those processes.
type Host struct {
	Name  string
	Addrs []netip.Prefix
	MAC   net.HardwareAddr
	// Dir is the host's own directory, for data and logs.
	Dir string
	// Etc is what processes of the host see as /etc.
	Etc string

	lab  *Lab
	ns   netns
	nl   *netlink.Handle
	port int // index of the switch port

	mu    sync.Mutex
	procs map[*Process]struct{}
}

// AddHost creates a host, connects it to the switch and adds its addresses.
func (l *Lab) AddHost(cfg HostConfig) (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.hosts) + 1
	dir := filepath.Join(l.Dir, cfg.Name)
	h := &Host{
		Name: cfg.Name, Addrs: cfg.Addrs, Dir: dir, Etc: filepath.Join(dir, "etc"),
		MAC: net.HardwareAddr{0x02, 0x6b, 0x76, 0x69, 0x70, byte(n)},
		lab: l, procs: map[*Process]struct{}{},
	}
	if err := h.create(cfg.Forward); err != nil {
		return nil, errors.Join(fmt.Errorf("create host %s: %w", cfg.Name, err), h.close())
	}
	l.hosts = append(l.hosts, h)
	return h, nil
}

func (h *Host) create(forward bool) (err error) {
	if err := h.writeEtc(); err != nil {
		return err
	}
	if h.ns, err = newNetns(); err != nil {
		return err
	}
	if h.nl, err = handle(h.ns); err != nil {
		return err
	}
	if err := h.setSysctls(forward); err != nil {
		return err
	}
	if err := h.lab.sw.plug(h.Name, h.MAC, h.ns); err != nil {
		return err
	}
	port, err := h.lab.sw.nl.LinkByName(h.Name)
	if err != nil {
		return err
	}
	h.port = port.Attrs().Index
	if err := h.setLink("lo", true); err != nil {
		return err
	}
	if err := h.setLink(LinkName, true); err != nil {
		return err
	}
	return h.RestoreAddrs()
}

// writeEtc writes those files of /etc that programs need.
func (h *Host) writeEtc() error {
	if err := os.MkdirAll(h.Etc, 0o755); err != nil {
		return err
	}
	files := map[string]string{
		"hosts": "127.0.0.1 localhost\n::1 localhost\n", "hostname": h.Name + "\n", "resolv.conf": "",
		"passwd": "root:x:0:0:root:/root:/bin/sh\n", "group": "root:x:0:\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(h.Etc, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) setSysctls(forward bool) error {
	values := map[string]string{
		"net/ipv6/conf/default/accept_dad": "0", // own addresses are usable at once
		"net/ipv6/conf/default/accept_ra":  "0",
	}
	if forward {
		values["net/ipv4/ip_forward"], values["net/ipv6/conf/all/forwarding"] = "1", "1"
	}
	for key, value := range values {
		if err := h.ns.sysctl(key, value); err != nil {
			return err
		}
	}
	return nil
}

// Addr returns the host's own address of a family, or the zero Addr.
func (h *Host) Addr(is4 bool) netip.Addr {
	for _, p := range h.Addrs {
		if p.Addr().Is4() == is4 {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// RestoreAddrs adds the host's own addresses to its link, as a network manager would.
func (h *Host) RestoreAddrs() error {
	for _, p := range h.Addrs {
		if err := h.AddAddr(p); err != nil {
			return err
		}
	}
	return nil
}

// AddAddr adds an address to the host's link. It is idempotent.
func (h *Host) AddAddr(p netip.Prefix) error {
	link, err := h.nl.LinkByName(LinkName)
	if err != nil {
		return err
	}
	if err := h.nl.AddrReplace(link, addr(p)); err != nil {
		return fmt.Errorf("add address %s to host %s: %w", p, h.Name, err)
	}
	return nil
}

// DelAddr removes an address from the host's link.
func (h *Host) DelAddr(p netip.Prefix) error {
	link, err := h.nl.LinkByName(LinkName)
	if err != nil {
		return err
	}
	if err := h.nl.AddrDel(link, addr(p)); err != nil {
		return fmt.Errorf("delete address %s from host %s: %w", p, h.Name, err)
	}
	return nil
}

// Do runs f on a thread in the host's network namespace. Sockets that f opens stay in it.
// Goroutines that f starts do not run in it.
func (h *Host) Do(f func() error) error { return h.ns.do(f) }

// Dial connects from inside the host, as net.Dialer.DialContext does.
func (h *Host) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = h.ns.do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Sysctl writes a value below /proc/sys of the host, as in "net/ipv4/ip_forward".
func (h *Host) Sysctl(key, value string) error { return h.ns.sysctl(key, value) }

func (h *Host) setLink(name string, up bool) error {
	link, err := h.nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if up {
		return h.nl.LinkSetUp(link)
	}
	return h.nl.LinkSetDown(link)
}

func (h *Host) close() error {
	if h.nl != nil {
		h.nl.Close()
	}
	if h.ns.file != nil {
		return h.ns.file.Close()
	}
	return nil
}

// addr converts a prefix; IPv6 without duplicate address detection.
func addr(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: &net.IPNet{
		IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

// Adopt returns a host for the network namespace of a process that this package did not create,
// such as the first one of a container. Only methods that need no switch work: Do, Dial, AddRoute,
// StartClient, StartCapture, AddBehind and SampleAdopted. Close it at the end: it keeps the
// namespace alive.
func Adopt(name string, pid int, addrs ...netip.Prefix) (*Host, error) {
	return adopt(name, fmt.Sprintf("/proc/%d/ns/net", pid), addrs)
}

// AdoptPath returns a host for the network namespace at a path such as /run/netns/NAME, see Adopt.
func AdoptPath(name, path string) (*Host, error) { return adopt(name, path, nil) }

func adopt(name, path string, addrs []netip.Prefix) (*Host, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace of %s: %w", name, err)
	}
	return &Host{Name: name, Addrs: addrs, Dir: os.TempDir(), ns: netns{file},
		procs: map[*Process]struct{}{}}, nil
}

// wireFrom returns a wire to an adopted host, from the other end of its link, which is in another
// one's namespace.
func (h *Host) wireFrom(outside *Host, vips []netip.Addr) (*wire, error) {
	var port int
	err := h.ns.do(func() error {
		link, err := netlink.LinkByName(LinkName)
		if err == nil {
			port = link.Attrs().ParentIndex
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find link %s: %w", LinkName, err)
	}
	return newWire(outside.ns, port, vips)
}

// Close releases the namespace of a host that no lab closes: an adopted one, or one behind a
// router.
func (h *Host) Close() error { return h.close() }

// SampleAdopted starts a Sampler of adopted hosts, the other ends of whose links are in the
// namespace of outside. dead reports whether a host reaches no other: an address that it still has
// is not a second holder.
func SampleAdopted(vips []netip.Addr, dead func(*Host) bool, outside *Host,
	hosts ...*Host) (*Sampler, error) {
	reach := func(a, b *Host) bool { return !dead(a) && !dead(b) }
	open := func(h *Host) (*wire, error) { return h.wireFrom(outside, vips) }
	return newSampler(reach, open, vips, hosts)
}
