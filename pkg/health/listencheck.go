package health

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/netaddr"
	"github.com/kvip/kvip/pkg/reporter"
)

// listenCheckPeriod is how often the listening sockets are read.
const listenCheckPeriod = 5 * time.Second

// ListenConfig configures a ListenCheck. Log and Reporter may be nil.
type ListenConfig struct {
	VIPs     []netip.Addr
	Port     uint16 // of the API server
	Log      *slog.Logger
	Reporter *reporter.Reporter // receives that clients cannot reach the API server
}

// ListenCheck checks that connections to the virtual IPs reach the API server of this node. With a
// bind-address of its own, an API server is healthy at the node's address and refuses all clients
// of the virtual IPs.
type ListenCheck struct {
	cfg  ListenConfig
	last string
}

// NewListenCheck returns a ListenCheck. It reads nothing.
func NewListenCheck(cfg ListenConfig) *ListenCheck {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &ListenCheck{cfg: cfg}
}

// Run checks until ctx ends.
func (c *ListenCheck) Run(ctx context.Context) error {
	for {
		c.check()
		if !backoff.Sleep(ctx, listenCheckPeriod) {
			return nil
		}
	}
}

func (c *ListenCheck) check() {
	var sockets []netip.AddrPort
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, err := link.Sockets(family, 1<<link.StateListen, c.cfg.Port)
		if err != nil {
			c.cfg.Log.Debug("cannot list the API server's sockets", "err", err)
			return
		}
		for _, s := range list {
			sockets = append(sockets, s.Local)
		}
	}
	problem := notListening(c.cfg.VIPs, c.cfg.Port, sockets)
	if problem != "" && problem != c.last {
		c.cfg.Log.Warn("clients cannot reach the API server of this node at the address",
			"vip", netaddr.Join(c.cfg.VIPs, ","), "err", problem)
	}
	c.last = problem
	c.cfg.Reporter.Stopped(problem)
}

// notListening names a VIP without a listening socket although there is one for the port. It
// returns "" if each VIP has one. It also returns "" if there is none at all, which the health
// probe reports. A socket bound to :: accepts IPv4 too.
func notListening(vips []netip.Addr, port uint16, sockets []netip.AddrPort) string {
	var names []string
	for _, s := range sockets {
		if s.Port() == port {
			names = append(names, s.String())
		}
	}
	if len(names) == 0 {
		return ""
	}
	for _, v := range vips {
		reached := false
		for _, s := range sockets {
			wildcard := s.Addr().IsUnspecified() && (s.Addr().Is6() || v.Is4())
			reached = reached || s.Port() == port && (wildcard || s.Addr() == v)
		}
		if !reached {
			return fmt.Sprintf("nothing listens on %s, only on %s: "+
				"start the API server without --bind-address, or with 0.0.0.0 or ::",
				netip.AddrPortFrom(v, port), strings.Join(names[:min(len(names), 4)], " and "))
		}
	}
	return ""
}
