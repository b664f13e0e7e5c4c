package controlplane

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/link"
)

// vipAnnouncer announces the virtual IPs of the control plane. It joins the inputs of an
// arp.Announcer: the link, from linkTracker, and whether to announce, from the loop.
type vipAnnouncer struct {
	*arp.Announcer
	vips    []netip.Addr
	allowed atomic.Pointer[func() bool] // nil: stopped

	mu   sync.Mutex
	link link.Link
}

// newVIPAnnouncer sets the Pacing and MayAnnounce of cfg.
func newVIPAnnouncer(vips []netip.Addr, cfg arp.Config) (a *vipAnnouncer, err error) {
	a = &vipAnnouncer{vips: vips}
	cfg.Pacing, cfg.MayAnnounce = arp.ControlPlanePacing(), a.mayAnnounce
	a.Announcer, err = arp.New(cfg)
	return a, err
}

// mayAnnounce is called before every frame (E4). It must not take a.mu, which Set is called with.
func (a *vipAnnouncer) mayAnnounce(netip.Addr) bool {
	allowed := a.allowed.Load()
	return allowed != nil && (*allowed)()
}

// SetLink sets the link of the addresses. A present announcement continues there with a burst.
// The zero Link means that there is none at present.
func (a *vipAnnouncer) SetLink(l link.Link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.link = l
	a.update()
}

// Start begins to announce: a burst, then periodically. The first frames have left when it
// returns, if Run is running and the link is known. allowed is called before each frame; no frame
// is sent while it returns false (E4).
func (a *vipAnnouncer) Start(allowed func() bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.allowed.Store(&allowed)
	a.update()
}

// Stop ends the announcement. When it has returned, no frame leaves any more.
func (a *vipAnnouncer) Stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.allowed.Store(nil)
	a.update()
}

// update applies the link and the state. Conflicts are detected in both states.
func (a *vipAnnouncer) update() {
	state := assignment.Silent
	if a.allowed.Load() != nil {
		state = assignment.Announced
	}
	list := make([]assignment.Assignment, len(a.vips))
	for i, addr := range a.vips {
		list[i] = assignment.Assignment{Addr: addr, Link: a.link, State: state}
	}
	a.Set(list)
}

// Probe returns which other hosts use the addresses, see arp.Announcer.Probe.
func (a *vipAnnouncer) Probe(ctx context.Context,
	timeout time.Duration) (map[netip.Addr]net.HardwareAddr, error) {
	return a.Announcer.Probe(ctx, a.vips, timeout)
}
