package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/link"
)

// listenersEvery is how often is looked where the API server listens.
const listenersEvery = 5 * time.Second

// listeners watches whether connections to the virtual IPs reach the API server of this node: with a
// bind-address of its own it is healthy at the node's address, and refuses every client of theirs.
type listeners struct {
	vips []netip.Addr
	port uint16
	log  *slog.Logger
	why  atomic.Pointer[string]
}

// problem says what is wrong, or "".
func (l *listeners) problem() string {
	if why := l.why.Load(); why != nil {
		return *why
	}
	return ""
}

// run looks until ctx ends.
func (l *listeners) run(ctx context.Context) error {
	for {
		l.look()
		if !pause(ctx, listenersEvery) {
			return nil
		}
	}
}

func (l *listeners) look() {
	var at []netip.AddrPort
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := link.Sockets(family, 1<<link.StateListen, l.port)
		if err != nil {
			l.log.Debug("cannot look where the API server listens", "reason", err)
			return
		}
		for _, s := range sockets {
			at = append(at, s.Local)
		}
	}
	why := deaf(l.vips, l.port, at)
	if why != "" && why != l.problem() {
		l.log.Warn("clients cannot reach the API server of this node at the address", "vip", vips(l.vips), "reason", why)
	}
	l.why.Store(&why)
}

// deaf says for which VIP nothing listens although something listens on the port; "" if each is reached,
// or nothing listens at all, which the health probe tells. A listener on :: takes IPv4, too.
func deaf(list []netip.Addr, port uint16, at []netip.AddrPort) string {
	var names []string
	for _, a := range at {
		if a.Port() == port {
			names = append(names, a.String())
		}
	}
	if len(names) == 0 {
		return ""
	}
	for _, v := range list {
		reached := false
		for _, a := range at {
			any := a.Addr().IsUnspecified() && (a.Addr().Is6() || v.Is4())
			reached = reached || a.Port() == port && (any || a.Addr() == v)
		}
		if !reached {
			return fmt.Sprintf("nothing listens on %s, only on %s: start the API server without --bind-address, or with 0.0.0.0 or ::",
				netip.AddrPortFrom(v, port), strings.Join(names[:min(len(names), 4)], " and "))
		}
	}
	return ""
}
