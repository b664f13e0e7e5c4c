// Package arp announces addresses on the network: gratuitous ARP and unsolicited neighbour
// advertisements. It also probes for addresses before a take-over, and reports conflicts: frames
// in which another host claims an address. It does not put addresses on links and does not decide
// which node may announce them.
package arp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/bpf"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/link"
)

// Kinds of frames, as Config.Sent reports them.
const (
	KindRequest = "arp-request" // gratuitous ARP, request form: neighbours take it at once
	KindReply   = "arp-reply"   // gratuitous ARP, reply form
	KindNA      = "na"          // unsolicited neighbour advertisement
	KindProbe   = "probe"       // ARP probe or duplicate address detection
)

// Kinds returns every kind of frame.
func Kinds() []string { return []string{KindRequest, KindReply, KindNA, KindProbe} }

// Config of an Announcer. Only Pacing is required.
type Config struct {
	// Pacing is ControlPlanePacing, ServicePacing or a variant of them.
	Pacing Pacing
	// MayAnnounce reports whether a frame may announce addr now. It is asked immediately before
	// every such frame (rule E4), with a lock held: it must not block and must not call the
	// Announcer. Nil means always.
	MayAnnounce func(addr netip.Addr) bool
	// Sent is called after each frame sent, with a lock held: it must not block and must not call
	// the Announcer. Nil discards the calls.
	Sent func(addr netip.Addr, kind string)
	// Log receives socket errors. Nil discards them.
	Log *slog.Logger
	// Clock paces the frames and stamps conflicts. Nil means boottime.Now.
	Clock boottime.Clock
	// Listen opens a packet socket that receives only what the filter passes. Nil means packet(7).
	Listen func(l link.Link, etherType uint16, filter []bpf.RawInstruction) (Conn, error)
}

// Pacing limits how often addresses are announced. A new address is announced in a burst of six
// within 2.2 s, then periodically.
type Pacing struct {
	// Interval between two periodic announcements of an address. Required.
	Interval time.Duration
	// DefendInterval is the least time between two defences of an address.
	DefendInterval time.Duration
	// DefendBurst makes a defence a whole burst. Otherwise it is one announcement.
	DefendBurst bool
	// BurstRate limits the frames per second, IdleRate the periodic ones among them. 0 means no
	// limit. With an IdleRate the periodic announcements are spread evenly over Interval.
	IdleRate, BurstRate int
}

// ControlPlanePacing is for the few addresses of the control plane. 10 s are well below the 300 s
// after which switches forget a MAC, and are the DEFEND_INTERVAL of RFC 5227: two hosts that
// defended an address more often would flood the link.
func ControlPlanePacing() Pacing {
	return Pacing{Interval: 10 * time.Second, DefendInterval: 10 * time.Second, DefendBurst: true}
}

// ServicePacing is for the many addresses of Services (rules S3, S8).
func ServicePacing() Pacing {
	return Pacing{
		Interval: 300 * time.Second, DefendInterval: time.Second, IdleRate: 200, BurstRate: 2000,
	}
}

func (p Pacing) check() error {
	switch {
	case p.Interval <= 0:
		return fmt.Errorf("interval %v is not positive", p.Interval)
	case p.DefendInterval < 0:
		return fmt.Errorf("defend interval %v is negative", p.DefendInterval)
	case p.IdleRate != 0 && p.IdleRate < minRate:
		return fmt.Errorf("idle rate %d: want 0 or at least %d", p.IdleRate, minRate)
	case p.BurstRate != 0 && p.BurstRate < max(minRate, p.IdleRate):
		return fmt.Errorf("burst rate %d: want 0 or at least %d", p.BurstRate, max(minRate, p.IdleRate))
	}
	return nil
}

// Conflict is a frame in which a MAC that is not one of this host's claims an address.
type Conflict struct {
	Addr netip.Addr
	MAC  net.HardwareAddr
	At   time.Duration // since boot
}

// New returns an Announcer without addresses. It fails if the Pacing is not valid.
func New(cfg Config) (*Announcer, error) {
	if err := cfg.Pacing.check(); err != nil {
		return nil, fmt.Errorf("configure announcements: %w", err)
	}
	if cfg.MayAnnounce == nil {
		cfg.MayAnnounce = func(netip.Addr) bool { return true }
	}
	if cfg.Sent == nil {
		cfg.Sent = func(netip.Addr, string) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Listen == nil {
		cfg.Listen = Listen
	}
	return &Announcer{
		cfg: cfg, conflicts: newConflictDetector(cfg.Clock), wake: backoff.NewSignal(),
		linkLocal: link.LinkLocal,
		assigned:  map[netip.Addr]assignment.Assignment{}, sockets: map[socketKey]*linkSocket{},
		queue: newQueue(cfg.Pacing),
	}, nil
}

var errNoLink = errors.New("no link is known yet")
