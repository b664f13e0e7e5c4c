package nftfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/netaddr"
)

// elements are the elements of each set, by the set's name.
type elements map[string][]nftables.SetElement

// encode turns assignments into keys as the kernel compares them. It leaves out addresses and
// ports without a valid key and names them in its error, so that one bad entry does not remove
// the protection of the others.
func encode(list []assignment.Assignment) (elements, error) {
	result := elements{}
	var errs []error
	for _, a := range list {
		addr := a.Addr.Unmap()
		if err := netaddr.Check(addr); err != nil {
			errs = append(errs, fmt.Errorf("protect address: %w", err))
			continue
		}
		f := familyOf(addr)
		result.add(f.addresses, addr.AsSlice())
		for _, p := range a.Ports {
			key, err := portKey(addr, p)
			if err != nil {
				errs = append(errs, fmt.Errorf("allow port %d at %s: %w", p.Port, addr, err))
				continue
			}
			result.add(f.ports, key)
		}
	}
	return result, errors.Join(errs...)
}

func (e elements) add(set string, key []byte) {
	e[set] = append(e[set], nftables.SetElement{Key: key})
}

// portKey returns address . protocol . port, each padded to the four bytes of a register.
func portKey(addr netip.Addr, p assignment.Port) ([]byte, error) {
	var protocol byte
	switch {
	case p.Port == 0:
		return nil, errors.New("no such port: use 1 to 65535")
	case p.Protocol == "TCP":
		protocol = unix.IPPROTO_TCP
	case p.Protocol == "UDP":
		protocol = unix.IPPROTO_UDP
	case p.Protocol == "SCTP":
		protocol = unix.IPPROTO_SCTP
	default:
		return nil, fmt.Errorf("unknown protocol %q: use TCP, UDP or SCTP", p.Protocol)
	}
	key := append(addr.AsSlice(), protocol, 0, 0, 0)
	return append(binary.BigEndian.AppendUint16(key, p.Port), 0, 0), nil
}

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return family4
	}
	return family6
}
