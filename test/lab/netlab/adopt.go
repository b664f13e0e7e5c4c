package netlab

import (
	"fmt"
	"net/netip"
	"os"
)

// Adopt returns a host that this package did not make: the network namespace of a process, such
// as a container's first. Only what needs no switch works with it: Do, Dial, AddRoute, StartClient,
// StartCapture, AddBehind and SampleAdopted. Release it when done: it keeps the namespace alive.
func Adopt(name string, pid int, addrs ...netip.Prefix) (*Host, error) {
	return adopt(name, fmt.Sprintf("/proc/%d/ns/net", pid), addrs)
}

// AdoptPath does the same with the path of a network namespace, as in /run/netns/NAME.
func AdoptPath(name, path string) (*Host, error) { return adopt(name, path, nil) }

func adopt(name, path string, addrs []netip.Prefix) (*Host, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace of %s: %w", name, err)
	}
	return &Host{Name: name, Addrs: addrs, Dir: os.TempDir(), ns: netns{file}, procs: map[*Process]struct{}{}}, nil
}

// Close lets go of the namespace of a host that no lab closes: an adopted one, or one behind a router.
func (h *Host) Close() error { return h.close() }

// SampleAdopted starts a Sampler of adopted hosts. Dead says which of them reach nobody, so that
// an address they still have is no second holder.
func SampleAdopted(vips []netip.Addr, dead func(*Host) bool, hosts ...*Host) (*Sampler, error) {
	return newSampler(func(a, b *Host) bool { return !dead(a) && !dead(b) }, vips, hosts)
}
