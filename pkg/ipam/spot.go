package ipam

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// seat is a tenant at one address, and on what terms.
type seat struct {
	*tenant
	key   string
	ports []Port
	// had are ports that the ledger has it with there.
	had []Port
	// settled says that the ledger has it there beside others, with this key.
	settled bool
	// within says that it wants no more there than the ledger says that it has.
	within bool
	// agreed says that the ledger has it there beside others, with the terms that it has.
	agreed bool
}

// spot is an address and who has it: one, or several that all give the same key and whose ports differ.
type spot struct {
	seats      []seat
	namespaces []string      // of the seats, each once
	ports      map[Port]seat // made when a second one comes
	unreadable bool          // a request there cannot be read
	unsettled  bool          // somebody there came in this Plan
}

func (s *spot) add(new seat) {
	s.seats = append(s.seats, new)
	s.unreadable = s.unreadable || new.bad != nil
	s.unsettled = s.unsettled || !new.settled
	if !slices.Contains(s.namespaces, new.Namespace) {
		s.namespaces = append(s.namespaces, new.Namespace)
	}
	if s.ports != nil {
		s.index(new)
	}
}

func (s *spot) index(one seat) {
	for _, port := range one.ports {
		s.ports[port] = one
	}
}

// without is the spot after t has left, nil if that leaves nobody.
func (s *spot) without(t *tenant) *spot {
	var rest *spot
	for _, one := range s.seats {
		if one.tenant != t {
			if rest == nil {
				rest = &spot{}
			}
			rest.add(one)
		}
	}
	return rest
}

// objection is what the others at the spot have against new. Without keys, those settled there stay
// together whatever became of the pool; to come together they need a Shared one, which shared tells.
func (s *spot) objection(new seat, shared func() bool) clash {
	first := s.seats[0]
	switch taken := (clash{reason: AddressTaken, holder: string(first.Owner)}); {
	case new.key == first.key && !new.settled && s.unreadable:
		taken.unreadable = true
		return taken
	case new.key != first.key && new.key != "":
		taken.reason = ShareKeyMismatch
		return taken
	case new.key != first.key, new.key == "" && (s.unsettled || !new.settled) && !shared():
		return taken
	}
	if c := s.unwelcome(new); c.reason != "" {
		return c
	}
	if s.ports == nil {
		s.ports = map[Port]seat{}
		for _, one := range s.seats {
			s.index(one)
		}
	}
	for _, port := range new.ports {
		if one, ok := s.ports[port]; ok {
			return clash{reason: PortClash, holder: string(one.Owner), port: port}
		}
	}
	return s.full(new)
}

// clash is why a seat cannot be had; without a reason it can.
type clash struct {
	reason     Reason
	holder     string
	port       Port
	unreadable bool // the holder's request is
	byKey      bool // any key is enough
}

// text says what is in the way at a, and fix what to do about it.
func (c clash) text(a netip.Addr) string {
	if c.reason == PortClash {
		return c.port.String() + " at " + a.String() + " belongs to " + c.holder
	}
	return a.String() + " belongs to " + c.holder
}

func (c clash) fix(fields Fields) string {
	switch {
	case c.reason == PortClash:
		return "change the port, or use another address"
	case c.reason == NodeAddress || c.reason == SubnetAddress:
		return "use another address"
	case c.reason == PolicyMismatch:
		return "to share it both need externalTrafficPolicy Cluster or the same selector, and the newcomer no other interface: use another address"
	case c.reason == LimitExceeded:
		return fmt.Sprintf("an address is shared by at most %d Services with %d ports in all: use another address", MaxHolders, MaxPorts)
	case c.unreadable:
		return "correct the request of that one first, or use another address"
	case c.byKey:
		return "give a value in " + fields.shareKey() + " to share it, or use another address"
	}
	return "give both the same value in " + fields.shareKey() + ", or use another address"
}

// objection is what stands against a seat at a reserved address.
func (r Reservation) objection(new seat) clash {
	switch {
	case r.Owner != ControlPlane:
		return clash{reason: cmp.Or(r.Reason, NodeAddress), holder: r.Holder}
	case new.key == "":
		return clash{reason: AddressTaken, holder: cmp.Or(r.Holder, string(ControlPlane)), byKey: true}
	case !new.within && len(new.ports)+len(r.Ports) > MaxPorts:
		return clash{reason: LimitExceeded, holder: cmp.Or(r.Holder, string(ControlPlane))}
	}
	for _, port := range new.ports {
		if slices.Contains(r.Ports, port) {
			return clash{reason: PortClash, holder: cmp.Or(r.Holder, string(ControlPlane)), port: port}
		}
		if isHostPort(port) && !slices.Contains(new.had, port) {
			return clash{reason: PortClash, holder: "the hosts of the control plane", port: port}
		}
	}
	return clash{}
}
