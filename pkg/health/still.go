package health

import (
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/link"
)

// The looks at the server's sockets while it is silent (E7).
const (
	lookPeriod     = 100 * time.Millisecond
	lateLookPeriod = 500 * time.Millisecond // once a stop should have been proven
	lookCost       = 5                      // a look that takes long is followed by this many times its length of rest
	maxLookGap     = time.Second            // looks further apart are no proof
	minLooks       = 5
)

// stillness tells a process that stands still from one that is slow, by the sockets of its
// server. A stopped process takes nothing: the kernel accepts connections and data, and
// both pile up. A process that gets a little of the CPU takes something now and then. It
// is pure; the zero value is ready for use.
type stillness struct {
	first, last time.Time // of the looks in a row without a sign of life
	looks       int
	known       map[link.SocketID]link.Socket
}

// look adds what the kernel shows of the server at now. It reports whether the process has
// done anything since the last look. A nil list shows nothing and proves nothing.
func (s *stillness) look(now time.Time, list []link.Socket) (alive bool) {
	before := s.known
	s.known = make(map[link.SocketID]link.Socket, len(list))
	waiting := false
	for _, socket := range list {
		s.known[socket.ID] = socket
		waiting = waiting || socket.State == link.StateListen && socket.Unread > 0
		if before != nil {
			old, known := before[socket.ID]
			alive = alive || acted(old, known, socket)
		}
	}
	switch {
	case !waiting:
		*s = stillness{}
	case alive || s.looks == 0 || now.Sub(s.last) > maxLookGap:
		s.first, s.last, s.looks = now, now, 1
	default:
		s.last = now
		s.looks++
	}
	return alive
}

// lasted returns for how long the process is known to stand still, 0 if it is not.
func (s *stillness) lasted() time.Duration {
	if s.looks < minLooks {
		return 0
	}
	return s.last.Sub(s.first)
}

// acted reports whether the process did something with a socket that was seen as old before,
// if known, and is now: accepted it, read from it, wrote to it or closed it.
func acted(old link.Socket, known bool, now link.Socket) bool {
	if !known {
		return now.State == link.StateListen || now.Attached && isOpen(now)
	}
	return now.Unread < old.Unread || now.Unsent > old.Unsent || now.Attached && !old.Attached ||
		isOpen(old) && !isOpen(now)
}

// isOpen reports whether the process has not closed its end of a connection.
func isOpen(s link.Socket) bool {
	return s.State == link.StateEstablished || s.State == link.StateCloseWait
}

// ofServer picks the sockets of the server that answers at an address: its listening
// sockets and the connections that came in through them. It returns nil if none listens.
func ofServer(list []link.Socket, server netip.AddrPort) (own []link.Socket) {
	var listening []netip.Addr
	for _, s := range list {
		if s.State == link.StateListen && s.Local.Port() == server.Port() {
			listening = append(listening, s.Local.Addr())
		}
	}
	at, ok := listenerFor(server.Addr(), listening)
	if !ok {
		return nil
	}
	for _, s := range list {
		if s.Local.Port() != server.Port() {
			continue
		}
		through := s.Local.Addr()
		if s.State != link.StateListen {
			through, _ = listenerFor(through, listening)
		}
		if through == at {
			own = append(own, s)
		}
	}
	return own
}

// listenerFor returns the address of the listening socket that gets connections to an
// address: the one bound to it, else one bound to any address, of its family first.
func listenerFor(to netip.Addr, listening []netip.Addr) (best netip.Addr, ok bool) {
	rank := 0
	for _, at := range listening {
		fits := 0
		switch {
		case at == to.Unmap():
			fits = 3
		case at.IsUnspecified() && at.Is4() == to.Unmap().Is4():
			fits = 2
		case at == netip.IPv6Unspecified():
			fits = 1
		}
		if fits > rank {
			best, rank = at, fits
		}
	}
	return best, rank > 0
}
