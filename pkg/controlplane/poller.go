package controlplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/pkg/peer"
	"github.com/kvip/kvip/pkg/quorum"
)

// realTimePriority is the lowest of SCHED_FIFO (sched(7)): above all ordinary threads. highestNice
// is the highest priority of an ordinary thread.
const (
	realTimePriority = 1
	highestNice      = -20
)

// poller waits for datagrams and for wakes, and has the transport. All methods but wake belong to
// one goroutine.
type poller struct {
	id        string // of this agent
	transport *peer.Transport
	log       *slog.Logger
	events    []election.Event // that were received and not returned yet
	listing   kubelease.Listing
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
	p.listing = l
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
	return election.Agents{IDs: ids, EverFast: p.listing.EverFast}
}

// onThread runs do on a thread of its own, with the highest priority that the kernel permits: on a
// node with many busy processes an ordinary thread may wait for half a second, and the fence would
// close (F9). Without a real-time priority, which a kernel with CONFIG_RT_GROUP_SCHED refuses in
// control groups, a third of that remains.
func onThread(log *slog.Logger, do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with this goroutine, and its priority with it
		if err := raisePriority(); err != nil {
			log.Info("no real-time priority: on a busy node the VIP may be away for moments", "err", err)
		}
		do()
	}()
	<-done
}

// raisePriority gives this thread, and no thread that it makes, a real-time priority. It needs the
// capability SYS_NICE. If it fails the thread has the highest priority that it may have otherwise.
func raisePriority() error {
	attr := &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: realTimePriority,
		Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}
	err := unix.SchedSetAttr(0, attr, 0)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("set real-time priority: %w", err)
	attr.Policy, attr.Priority, attr.Nice = unix.SCHED_NORMAL, 0, highestNice
	if niceErr := unix.SchedSetAttr(0, attr, 0); niceErr != nil {
		err = errors.Join(err, fmt.Errorf("set priority %d: %w", highestNice, niceErr))
	}
	return err
}
