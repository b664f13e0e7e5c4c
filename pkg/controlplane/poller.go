package controlplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/pkg/peer"
	"github.com/kvip/kvip/pkg/quorum"
)

// poller waits for datagrams and for wakes, and has the transport. All methods but wake belong to
// one goroutine.
type poller struct {
	id        string // of this agent
	transport *peer.Transport
	log       *slog.Logger
	events    []election.Event // that were received and not returned yet
	listing   kubelease.Listing
	listed    bool           // a listing was read
	local     netip.AddrPort // of this agent; not valid while it has no address
	problem   string         // why not all agents can be reached, "" if they can
	wakeFD    int            // eventfd(2)
}

func newPoller(id string, t *peer.Transport, log *slog.Logger) (*poller, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open eventfd: %w", err)
	}
	return &poller{id: id, transport: t, log: log, wakeFD: fd}, nil
}

func (p *poller) close() {
	p.transport.Close()
	_ = unix.Close(p.wakeFD)
}

func (p *poller) wake() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(p.wakeFD, one[:]) // EAGAIN: it is readable already
}

func (p *poller) wait(limit time.Duration) {
	sockets := p.transport.Descriptors()
	fds := make([]unix.PollFd, 0, len(sockets)+1)
	for _, fd := range append(sockets, p.wakeFD) {
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	timeout := unix.NsecToTimespec(limit.Nanoseconds())
	if _, err := unix.Ppoll(fds, &timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
		p.log.Error("cannot wait for datagrams", "err", err)
		time.Sleep(min(limit, time.Millisecond)) // bounded, whatever fails
	}
	var count [8]byte
	_, _ = unix.Read(p.wakeFD, count[:]) // EAGAIN: there was no wake
	p.transport.Read(func(from string, m quorum.Message) {
		p.events = append(p.events, election.Received{From: from, Message: m})
	}, p.refused)
}

func (p *poller) refused(agent string) {
	p.events = append(p.events, election.PortRefused{Agent: agent})
}

func (p *poller) received() (election.Event, bool) {
	if len(p.events) == 0 {
		return nil, false
	}
	ev := p.events[0]
	p.events = p.events[1:]
	return ev, true
}

func (p *poller) send(to string, m quorum.Message) { p.transport.Send(to, m, p.refused) }

// setListing takes the agents that have published themselves, and returns them for the machine.
func (p *poller) setListing(l kubelease.Listing) election.Event {
	p.listing, p.listed = l, true
	return p.connect()
}

// setLocal takes the address of this agent, and returns the agents that it reaches from there.
func (p *poller) setLocal(local netip.AddrPort) election.Event {
	p.local = local
	return p.connect()
}

// retry connects again if not all agents can be reached, and returns what setListing does, else
// nil.
func (p *poller) retry() election.Event {
	if p.problem == "" {
		return nil
	}
	return p.connect()
}

func (p *poller) connect() election.Event {
	agents := p.listing.Agents
	if !p.local.IsValid() {
		agents = nil
	}
	reached, err := p.transport.SetAgents(p.local, agents)
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if problem != "" && problem != p.problem {
		p.log.Warn("cannot exchange messages with all agents", "err", err)
	}
	p.problem = problem
	ids := append(reached, p.id)
	slices.Sort(ids)
	return election.Agents{IDs: ids, EverFast: p.listing.EverFast || !p.listed}
}
