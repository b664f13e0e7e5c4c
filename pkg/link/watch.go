package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/backoff"
)

// EventKind is the kind of an Event.
type EventKind int

const (
	// Resync means that events may have been missed: read the state again.
	Resync EventKind = iota
	// LinkChanged means that a link appeared, changed or was removed.
	LinkChanged
	// AddrAdded means that an address was added or refreshed: the kernel reports both alike.
	AddrAdded
	// AddrRemoved means that an address was deleted or expired.
	AddrRemoved
)

// String returns the kind as it appears in logs.
func (k EventKind) String() string {
	switch k {
	case Resync:
		return "resync"
	case LinkChanged:
		return "link changed"
	case AddrAdded:
		return "address added"
	case AddrRemoved:
		return "address removed"
	}
	return fmt.Sprintf("EventKind(%d)", int(k))
}

// Event is a reason to read the state again: more may have changed meanwhile.
type Event struct {
	Kind EventKind
	// Index is the link's; 0 for Resync.
	Index int
	// Link is the link's name; empty for Resync and for a removed link.
	Link string
	// Addr is the address of AddrAdded and AddrRemoved.
	Addr netip.Addr
}

// WatchConfig configures a Watcher. The zero value is valid.
type WatchConfig struct {
	// Log receives lost subscriptions; nil discards them.
	Log *slog.Logger
	// open opens the subscription; nil means the kernel's. Tests replace it.
	open func() (io.ReadCloser, error)
	// retry is the first pause after a failed subscription, doubled up to 32 times; 0 means 100 ms.
	retry time.Duration
}

// Watcher reports changes of links and addresses of one network namespace.
type Watcher struct {
	cfg    WatchConfig
	events chan Event
}

// eventBuffer is the number of events that wait for a slow reader before they become a Resync.
const eventBuffer = 256

// NewWatcher returns a Watcher that does nothing until Run.
func NewWatcher(cfg WatchConfig) *Watcher {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.open == nil {
		cfg.open = subscribe
	}
	if cfg.retry == 0 {
		cfg.retry = 100 * time.Millisecond
	}
	return &Watcher{cfg: cfg, events: make(chan Event, eventBuffer)}
}

// Events returns the channel of events. The first one is a Resync, sent once the subscription
// works: a state that is read after it misses no change. The channel is never closed.
func (w *Watcher) Events() <-chan Event { return w.events }

// Run subscribes and delivers events until ctx ends, then returns nil. It repeats a failed
// subscription with backoff, and sends a Resync when it works again.
func (w *Watcher) Run(ctx context.Context) error {
	pauses := backoff.Backoff{Min: w.cfg.retry, Max: 32 * w.cfg.retry}
	for failures := 0; ; {
		worked, err := w.session(ctx, failures > 0)
		if ctx.Err() != nil {
			return nil
		}
		if worked {
			failures = 0
		}
		failures++
		if failures == 1 {
			w.cfg.Log.Warn("lost the subscription to link and address changes; trying again", "err", err)
		}
		if !backoff.Sleep(ctx, pauses.After(failures)) {
			return nil
		}
	}
}

// session reads one subscription until it fails or ctx ends, and reports whether it worked. again
// reports that the one before failed.
func (w *Watcher) session(ctx context.Context, again bool) (worked bool, err error) {
	socket, err := w.cfg.open()
	if err != nil {
		return false, fmt.Errorf("subscribe to link and address changes: %w", err)
	}
	defer socket.Close()
	defer context.AfterFunc(ctx, func() { socket.Close() })() // wakes the Read
	if again {
		w.cfg.Log.Info("subscribed to link and address changes again")
	}
	w.send(Event{Kind: Resync})
	buffer := make([]byte, 64<<10) // the kernel's messages are at most 32 KiB
	for {
		n, err := socket.Read(buffer)
		if errors.Is(err, unix.ENOBUFS) { // the kernel dropped some; the socket still works
			w.send(Event{Kind: Resync})
			continue
		}
		if err != nil {
			return true, fmt.Errorf("read link and address changes: %w", err)
		}
		for _, event := range named(parseEvents(buffer[:n])) {
			w.send(event)
		}
	}
}

// named adds the link's name if the kernel's message has only the index.
func named(events []Event) []Event {
	names := nameCache{} // short-lived: links get renamed
	defer names.close()
	for i, event := range events {
		if event.Link == "" && event.Index != 0 {
			events[i].Link = names.get(event.Index).name
		}
	}
	return events
}

// send never blocks: if the reader is too slow, all queued events become one Resync.
func (w *Watcher) send(event Event) {
	for {
		select {
		case w.events <- event:
			return
		default:
		}
		for drained := false; !drained; {
			select {
			case <-w.events:
			default:
				drained = true
			}
		}
		event = Event{Kind: Resync}
	}
}

// parseEvents decodes one datagram of rtnetlink(7) notifications. A malformed one becomes a
// Resync: something changed.
func parseEvents(b []byte) []Event {
	messages, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return []Event{{Kind: Resync}}
	}
	var result []Event
	for _, m := range messages {
		switch m.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			result = append(result, parseLink(m.Data))
		case unix.RTM_NEWADDR:
			result = append(result, parseAddrEvent(AddrAdded, m.Data))
		case unix.RTM_DELADDR:
			result = append(result, parseAddrEvent(AddrRemoved, m.Data))
		}
	}
	return result
}

func parseAddrEvent(kind EventKind, b []byte) Event {
	a, ok := parseAddress(b)
	if !ok {
		return Event{Kind: Resync}
	}
	return Event{Kind: kind, Index: a.Index, Addr: a.Prefix.Addr()}
}

func parseLink(b []byte) Event {
	if len(b) < unix.SizeofIfInfomsg {
		return Event{Kind: Resync}
	}
	event := Event{Kind: LinkChanged, Index: int(int32(binary.NativeEndian.Uint32(b[4:])))}
	eachAttr(b[unix.SizeofIfInfomsg:], func(kind uint16, value []byte) {
		if kind == unix.IFLA_IFNAME {
			event.Link = unix.ByteSliceToString(value)
		}
	})
	return event
}

// subscribe opens a non-blocking socket, so that closing it wakes a Read.
func subscribe() (io.ReadCloser, error) {
	const kind = unix.SOCK_RAW | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := unix.Socket(unix.AF_NETLINK, kind, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR
	local := &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}
	if err := unix.Bind(fd, local); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("join netlink groups: %w", err)
	}
	return os.NewFile(uintptr(fd), "rtnetlink"), nil
}
