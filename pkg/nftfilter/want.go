package nftfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Want is all that the table shall do. The order does not matter, nor do repetitions.
type Want struct {
	// Addresses are protected: what no Port allows is refused there.
	Addresses []netip.Addr
	// Ports are allowed. Those at an address that is not protected mean nothing.
	Ports []Port
}

// Port is one allowed port of a protected address.
type Port struct {
	// Addr is the address the port belongs to.
	Addr netip.Addr
	// Protocol is TCP, UDP or SCTP, as Kubernetes writes it.
	Protocol string
	// Port is its number, not 0.
	Port uint16
}

// content is the elements of each set, by the set's name.
type content map[string][]nftables.SetElement

// encode turns a Want into keys as the kernel compares them. It leaves out, and names in its
// error, what has no key, so that one bad entry takes no protection from the others.
func encode(w Want) (content, error) {
	result := content{}
	var errs []error
	add := func(set string, key []byte) { result[set] = append(result[set], nftables.SetElement{Key: key}) }
	for _, a := range w.Addresses {
		if err := check(a); err != nil {
			errs = append(errs, err)
			continue
		}
		add(familyOf(a).addresses, a.Unmap().AsSlice())
	}
	for _, p := range w.Ports {
		key, err := p.key()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		add(familyOf(p.Addr).ports, key)
	}
	return result, errors.Join(errs...)
}

// key is address . protocol . port, each padded to the four bytes of a register.
func (p Port) key() ([]byte, error) {
	protocol, known := map[string]byte{"TCP": unix.IPPROTO_TCP, "UDP": unix.IPPROTO_UDP, "SCTP": unix.IPPROTO_SCTP}[p.Protocol]
	switch {
	case !known:
		return nil, fmt.Errorf("allow port %d at %s: unknown protocol %q: use TCP, UDP or SCTP", p.Port, p.Addr, p.Protocol)
	case p.Port == 0:
		return nil, fmt.Errorf("allow port 0 of %s at %s: there is no such port: use 1 to 65535", p.Protocol, p.Addr)
	}
	if err := check(p.Addr); err != nil {
		return nil, err
	}
	key := append(p.Addr.Unmap().AsSlice(), protocol, 0, 0, 0)
	return append(binary.BigEndian.AppendUint16(key, p.Port), 0, 0), nil
}

// check refuses what is not one host's address, or only with a zone.
func check(a netip.Addr) error {
	if !a.IsValid() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
		return fmt.Errorf("protect address %s: it is not the address of a Service: use a unicast address without a zone", a)
	}
	return nil
}
