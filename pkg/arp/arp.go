// Package arp tells the network where the VIPs are: gratuitous ARP and unsolicited
// neighbour advertisements, the probe before a take-over, and the frames of others that
// claim a VIP. It neither owns addresses nor decides who may. A Speaker is for the few
// addresses of the control plane and asks before each frame, a Chorus for the many of Services.
package arp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/boottime"
	"golang.org/x/net/bpf"
)

// MaxVIPs is how many VIPs one Speaker takes: the kernel limits a socket's filter to
// 4096 instructions (BPF_MAXINSNS), and an IPv6 address needs ten.
const MaxVIPs = 256

// DefaultInterval is the slow periodic announcement: well below the 300 s after which
// switches forget a MAC.
const DefaultInterval = 10 * time.Second

// Kinds of frames, as Config.Sent reports them.
const (
	KindRequest = "arp-request" // gratuitous ARP, request form: neighbours take it at once
	KindReply   = "arp-reply"   // gratuitous ARP, reply form
	KindNA      = "na"          // unsolicited neighbour advertisement
	KindProbe   = "probe"       // ARP probe or duplicate address detection
)

// Kinds returns every kind of frame.
func Kinds() []string { return []string{KindRequest, KindReply, KindNA, KindProbe} }

// Config says what to announce. Only VIPs is required.
type Config struct {
	VIPs []netip.Addr // 1 to MaxVIPs unicast addresses of either family
	// Interval between periodic announcements; 0 = DefaultInterval.
	Interval time.Duration
	// Log receives socket trouble; nil = slog.Default.
	Log *slog.Logger
	// Clock stamps sightings; nil = boottime.Boottime.
	Clock boottime.Clock
	// Sent is called after each frame sent, with a lock held: it must neither block nor
	// call the Speaker. nil: nobody counts.
	Sent func(vip netip.Addr, kind string)
	// Listen opens a packet socket; nil = a real one. The filter is to be in place before
	// the first frame is received.
	Listen func(l LinkRef, etherType uint16, filter []bpf.RawInstruction) (Conn, error)
}

// Conn is the part of a packet socket that a Speaker uses, with the contracts of
// net.PacketConn. Frames begin with their Ethernet header.
type Conn interface {
	ReadFrom(b []byte) (int, net.Addr, error)
	WriteTo(b []byte, to net.Addr) (int, error)
	SetWriteDeadline(t time.Time) error
	Close() error
}

// LinkRef names the Ethernet link to speak on. Index 0 means none at present.
type LinkRef struct {
	Index int
	Name  string
	MAC   net.HardwareAddr // 6 bytes
}

// Conflict is a frame in which a MAC that is none of this host's claims a VIP.
type Conflict struct {
	VIP netip.Addr
	MAC net.HardwareAddr
	At  time.Duration // time since boot
}

// New checks the configuration. It opens and starts nothing.
func New(cfg Config) (*VIPAnnouncer, error) {
	if err := checkVIPs(cfg.VIPs); err != nil {
		return nil, fmt.Errorf("configure announcements: %w", err)
	}
	if cfg.Interval < 0 {
		return nil, fmt.Errorf("configure announcements: interval %v is negative", cfg.Interval)
	}
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Sent == nil {
		cfg.Sent = func(netip.Addr, string) {}
	}
	if cfg.Listen == nil {
		cfg.Listen = listen
	}
	s := &VIPAnnouncer{
		cfg: cfg, kick: make(chan struct{}, 1), linkLocal: linkLocal,
		bursts: map[netip.Addr]*burst{}, defended: map[netip.Addr]time.Duration{},
	}
	s.ear = newEar(cfg.VIPs, cfg.Clock)
	return s, nil
}

func checkVIPs(vips []netip.Addr) error {
	if len(vips) == 0 || len(vips) > MaxVIPs {
		return fmt.Errorf("%d VIPs, want 1 to %d", len(vips), MaxVIPs)
	}
	for _, vip := range vips {
		switch {
		case !vip.IsValid() || vip.IsUnspecified() || vip.IsMulticast():
			return fmt.Errorf("VIP %v is not a unicast address", vip)
		case vip.Is4In6() || vip.Zone() != "":
			return fmt.Errorf("VIP %v: write it without zone and not in the IPv4-mapped form", vip)
		}
	}
	return nil
}

var errNoLink = errors.New("no link is known yet")
