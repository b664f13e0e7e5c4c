package servicelab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/lab/netlab"
)

const (
	// askEvery and askAtOnce pace the questions: what many hosts on two cores can hear beside their
	// work.
	askEvery  = 25 * time.Millisecond
	askAtOnce = 200
)

// Answer is who said first that it has an address, and when.
type Answer struct {
	From string // a MAC
	At   time.Time
}

// ARPClient asks the wire by ARP who has addresses, again and again until each was answered.
type ARPClient struct {
	host    *netlab.Host
	sender  netip.Addr
	fd      int
	index   int
	workers sync.WaitGroup

	mu      sync.Mutex
	pending []netip.Addr // in turn
	not     string       // a MAC whose answers do not count
	answers map[netip.Addr]Answer
	err     error
}

// StartARPClient asks from a host, under one of its addresses, until ctx ends. Call Close after
// that.
func StartARPClient(ctx context.Context, h *netlab.Host, sender netip.Addr) (*ARPClient, error) {
	a := &ARPClient{host: h, sender: sender, answers: map[netip.Addr]Answer{}}
	if err := h.Do(a.open); err != nil {
		return nil, fmt.Errorf("open socket for ARP: %w", err)
	}
	ended := make(chan struct{})
	a.workers.Go(func() { a.sendRequests(ctx); close(ended) })
	a.workers.Go(func() { a.listen(ended) })
	return a, nil
}

// Close returns when nothing is asked any more, which is when the context has ended.
func (a *ARPClient) Close() { a.workers.Wait() }

func (a *ARPClient) open() error {
	link, err := net.InterfaceByName(netlab.LinkName)
	if err != nil {
		return err
	}
	const protocol = unix.ETH_P_ARP&0xff<<8 | unix.ETH_P_ARP>>8 // network byte order
	if a.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	a.index = link.Index
	short := unix.NsecToTimeval((50 * time.Millisecond).Nanoseconds())
	err = errors.Join(unix.SetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
		unix.SetsockoptTimeval(a.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &short),
		unix.Bind(a.fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: link.Index}))
	if err != nil {
		return errors.Join(err, unix.Close(a.fd))
	}
	return nil
}

// Query begins to ask for an address.
func (a *ARPClient) Query(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending = append(a.pending, addr)
}

// QueryAgain forgets all answers and asks for addresses, whose answers by one MAC do not count.
func (a *ARPClient) QueryAgain(addrs []netip.Addr, not string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending, a.not, a.answers = slices.Clone(addrs), not, map[netip.Addr]Answer{}
}

// Wait returns the answers once there are so many of them.
func (a *ARPClient) Wait(ctx context.Context, count int) (map[netip.Addr]Answer, error) {
	for {
		a.mu.Lock()
		all, err := maps.Clone(a.answers), a.err
		a.mu.Unlock()
		have := len(all)
		switch {
		case err != nil:
			return nil, err
		case have >= count:
			return all, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for answers to ARP: %d of %d came: %w", have, count, ctx.Err())
		case <-time.After(askEvery):
		}
	}
}

// sendRequests sends what is due until ctx ends.
func (a *ARPClient) sendRequests(ctx context.Context) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, addr := range a.next() {
			if err := unix.Sendto(a.fd, a.request(addr), 0,
				&unix.SockaddrLinklayer{Ifindex: a.index}); err != nil && !errors.Is(err, unix.ENOBUFS) {
				a.fail(fmt.Errorf("send ARP request: %w", err))
				return
			}
		}
	}
}

// next takes the first of those without an answer and puts them behind the others.
func (a *ARPClient) next() []netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending = slices.DeleteFunc(a.pending,
		func(addr netip.Addr) bool { return a.answers[addr].From != "" })
	n := min(askAtOnce, len(a.pending))
	due := slices.Clone(a.pending[:n])
	a.pending = append(a.pending[n:len(a.pending):len(a.pending)], due...)
	return due
}

// request is an ARP request (RFC 826) from the host.
func (a *ARPClient) request(target netip.Addr) []byte {
	b := slices.Concat(bytes.Repeat([]byte{0xff}, 6), a.host.MAC,
		[]byte{0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1},
		a.host.MAC, a.sender.AsSlice(), make([]byte, 6), target.AsSlice())
	return append(b, make([]byte, 60-len(b))...)
}

// listen notes answers until ended is closed, and then closes the socket.
func (a *ARPClient) listen(ended <-chan struct{}) {
	defer func() { _ = unix.Close(a.fd) }()
	frame := make([]byte, 128)
	for {
		select {
		case <-ended:
			return
		default:
		}
		n, _, err := unix.Recvfrom(a.fd, frame, 0)
		switch {
		case err == nil:
			a.record(frame[:n], time.Now())
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) &&
			!errors.Is(err, unix.ENETDOWN):
			a.fail(fmt.Errorf("read ARP: %w", err))
			<-ended
			return
		}
	}
}

// record keeps the first answer for an address: a reply to this host, so no announcement.
func (a *ARPClient) record(frame []byte, at time.Time) {
	if len(frame) < 42 || binary.BigEndian.Uint16(frame[20:]) != 2 ||
		!bytes.Equal(frame[38:42], a.sender.AsSlice()) {
		return
	}
	from := net.HardwareAddr(frame[22:28]).String()
	addr := netip.AddrFrom4([4]byte(frame[28:32]))
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.answers[addr]; !known && from != a.not {
		a.answers[addr] = Answer{from, at}
	}
}

func (a *ARPClient) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = errors.Join(a.err, err)
}

// Known are all answers so far.
func (a *ARPClient) Known() map[netip.Addr]Answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.answers)
}
