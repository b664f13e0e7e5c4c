package controlplane

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/netaddr"
)

const (
	// refreshPeriod is how often the link is read without an event, in case one was lost.
	refreshPeriod = 2 * time.Second
	// pendingPeriod replaces it while the link changes as soon as this node does not hold.
	pendingPeriod = 50 * time.Millisecond
	// routesPeriod is how often routes are read where no own address decides about the link.
	routesPeriod = 10 * time.Second
)

// linkSetter takes the link to announce on; *vipAnnouncer.
type linkSetter interface{ SetLink(l link.Link) }

// linkTracker tracks the link that carries the addresses, and the node's own addresses.
type linkTracker struct {
	cfg       config.Config
	log       *slog.Logger
	watcher   *link.Watcher
	announcer linkSetter
	events    chan election.Event
	// nodeAddresses has the node's own address on the link after each change, not valid for none.
	nodeAddresses chan netip.Addr

	// status is the machine's, nil before its first step. While the machine holds the lease or
	// claims it, it leaves in order before the link changes.
	status     func() *election.Status
	onShared   func(err error) // is called when sharedBy begins or ends to give an error
	chooser    linkChooser
	candidates func(name string, vips []netip.Addr, routes bool) ([]link.Choice, error)
	addresses  func() ([]link.HostAddr, error) // fails if they change faster than they can be listed
	routesRead time.Time

	mu              sync.Mutex
	current         link.Link
	hosts           []string // addresses under which the own API server may listen
	nodeAddress     netip.Addr
	shared          error // another link answers for the addresses as well (checkOneLink)
	judged          bool  // checkOneLink had the addresses of the host once
	reported        bool  // the machine knows of current
	nodeAddressLost bool
	hadNodeAddress  [2]bool // on this link, of IPv4 and of IPv6
}

func newLinkTracker(cfg config.Config, log *slog.Logger, announcer linkSetter) *linkTracker {
	return &linkTracker{
		cfg: cfg, log: log, announcer: announcer,
		events:        make(chan election.Event, 64),
		nodeAddresses: make(chan netip.Addr, 1),
		candidates:    link.Candidates,
		addresses:     link.Addresses,
		status:        func() *election.Status { return nil },
		onShared:      func(error) {},
		watcher:       link.NewWatcher(link.WatchConfig{Log: log}),
		hosts:         []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port))},
	}
}

// link returns the link in use. Its Index is 0 if there is none.
func (t *linkTracker) link() link.Link {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.current
}

// servers returns where the node's own API server may listen, as host:port: loopback, then the
// node's addresses on the link (E7, E11).
func (t *linkTracker) servers() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.hosts)
}

// run reports the link and its addresses until ctx ends.
func (t *linkTracker) run(ctx context.Context) error {
	for {
		t.refresh(ctx)
		period := refreshPeriod
		if t.chooser.pending {
			period = pendingPeriod
		}
		timer := time.NewTimer(period)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case ev := <-t.watcher.Events():
			t.handleLinkEvent(ctx, ev)
			t.drain(ctx)
		case <-timer.C:
		}
		timer.Stop()
	}
}

// drain handles the events that have arrived, so that one refresh serves all: the Services of
// another node may bring a thousand addresses at once, and each refresh lists all addresses.
func (t *linkTracker) drain(ctx context.Context) {
	for range len(t.watcher.Events()) {
		select {
		case ev := <-t.watcher.Events():
			t.handleLinkEvent(ctx, ev)
		default: // they were replaced by one Resync
			return
		}
	}
}

// refresh chooses the link and reports a change.
func (t *linkTracker) refresh(ctx context.Context) {
	next, err := t.choose()
	if err != nil {
		next = link.Link{Reason: err.Error()}
	}
	if t.current.Index != next.Index {
		t.hadNodeAddress = [2]bool{}
	}
	addresses, err := t.addresses()
	shared := t.checkShared(next, addresses, err)
	own := t.ownAddresses(next, addresses)
	t.mu.Lock()
	first, sharing := !t.reported, (shared != nil) != (t.shared != nil)
	changed := first || !sameLink(t.current, next)
	t.current, t.shared, t.reported = next, shared, true
	if err == nil {
		t.hosts = t.hostsOf(own)
	}
	t.mu.Unlock()
	if err == nil {
		t.reportNodeAddress(own)
	}
	if first || sharing {
		t.onShared(shared)
	}
	if changed {
		t.announcer.SetLink(next)
		t.logLink(next)
	}
	if changed || sharing {
		t.send(ctx, election.Link{Usable: next.Usable, MAC: macsOf(next), Shared: shared != nil})
	}
}

func (t *linkTracker) logLink(next link.Link) {
	vips := netaddr.Join(t.cfg.VIPs, ",")
	if next.Usable {
		t.log.Info("using link", "link", next.Name, "vip", vips,
			"reason", "chosen by "+t.chooser.current.Basis.String())
	} else {
		t.log.Warn("no usable link for the address", "link", next.Name, "vip", vips, "reason",
			next.Reason)
	}
}

// checkShared returns why the host answers for the addresses on another link than l as well. What
// cannot be read is assumed at first, and then as it was.
func (t *linkTracker) checkShared(l link.Link, host []link.HostAddr, err error) error {
	switch {
	case l.Index == 0:
	case err == nil:
		t.judged = true
		return checkOneLink(host, l.Index, t.cfg.VIPs)
	case !t.judged:
		return err
	}
	return t.shared
}

// sharedBy returns the last result of checkShared.
func (t *linkTracker) sharedBy() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.shared
}

// choose reads the candidates and the link in use, and chooses.
func (t *linkTracker) choose() (link.Link, error) {
	now := time.Now()
	routes := t.chooser.current.Index == 0 || now.Sub(t.routesRead) >= routesPeriod
	candidates, err := t.candidates(t.cfg.Interface, t.cfg.VIPs, routes)
	switch {
	case err == nil && routes:
		t.routesRead = now
	case err == nil, errors.Is(err, link.ErrNotFound):
	case t.chooser.current.Index == 0:
		return link.Link{}, err
	default: // as while addresses change faster than they can be listed: keep the link
		t.log.Debug("cannot look for a better link", "link", t.chooser.current.Name, "err", err)
	}
	if t.chooser.started.IsZero() {
		t.chooser.leftover = t.leftoverLink()
	}
	var current *link.Link
	if t.chooser.current.Index != 0 {
		switch l, err := link.Get(t.chooser.current.Index); {
		case err == nil:
			current = &l
		case !errors.Is(err, link.ErrNotFound):
			return link.Link{}, err
		}
	}
	s := t.status()
	next := t.chooser.next(now, current, candidates, s != nil && s.State != election.Standby)
	if next.Index == 0 && next.Reason == "" { // the error of Select has the reason
		_, err := link.Select(t.cfg.Interface, t.cfg.VIPs)
		return link.Link{}, err
	}
	return next, nil
}

// leftoverLink returns the index of the link with an address that an earlier agent left, 0 if there
// is none.
func (t *linkTracker) leftoverLink() int {
	addresses, err := t.addresses()
	if err != nil {
		t.log.Warn("cannot look for addresses of earlier agents",
			"vip", netaddr.Join(t.cfg.VIPs, ","), "err", err)
		return 0
	}
	for _, a := range addresses {
		if slices.Contains(t.cfg.VIPs, a.Prefix.Addr()) {
			return a.Index
		}
	}
	return 0
}

func sameLink(a, b link.Link) bool {
	return a.Index == b.Index && a.Name == b.Name && a.Usable == b.Usable && a.Reason == b.Reason &&
		macsOf(a) == macsOf(b)
}

// ownAddresses returns the node's own addresses on a link, of IPv4 first.
func (t *linkTracker) ownAddresses(l link.Link, host []link.HostAddr) (own []netip.Addr) {
	for i, ipv4 := range []bool{true, false} {
		if a, ok := link.NodeAddress(host, l.Index, ipv4, t.cfg.VIPs); ok {
			t.hadNodeAddress[i] = true
			own = append(own, a)
		}
	}
	return own
}

// hostsOf returns where the node's own API server may listen.
func (t *linkTracker) hostsOf(own []netip.Addr) []string {
	port := strconv.Itoa(t.cfg.Port)
	hosts := []string{net.JoinHostPort("127.0.0.1", port)}
	for _, a := range own {
		hosts = append(hosts, net.JoinHostPort(a.String(), port))
	}
	return hosts
}

// reportNodeAddress reports the node's own address at which the other agents reach this one, if it
// changed. All agents of the VIPs use the same family: IPv4 if one of the VIPs is of IPv4.
func (t *linkTracker) reportNodeAddress(own []netip.Addr) {
	ipv4 := slices.ContainsFunc(t.cfg.VIPs, netip.Addr.Is4)
	var now netip.Addr
	for _, a := range own {
		if a.Is4() == ipv4 {
			now = a
		}
	}
	if now == t.nodeAddress {
		return
	}
	t.nodeAddress = now
	select { // the newest replaces one that was not read
	case <-t.nodeAddresses:
	default:
	}
	t.nodeAddresses <- now // refresh is the only sender
}

// handleLinkEvent reports to the machine when another program removed an address, and when the
// node's own address is back after a flush (E10).
func (t *linkTracker) handleLinkEvent(ctx context.Context, ev link.Event) {
	lost := false
	switch ev.Kind {
	case link.AddrAdded:
	case link.AddrRemoved: // for a moment only if the owner replaces it, as with another scope
		lost = slices.Contains(t.cfg.VIPs, ev.Addr) && t.missing(true, ev.Addr)
	case link.Resync: // the event may be among the lost ones
		s := t.status()
		lost = s != nil && s.Owned && t.missing(false, t.cfg.VIPs...)
	default:
		return
	}
	switch {
	case lost:
		present := t.hasNodeAddress()
		t.nodeAddressLost = !present
		t.send(ctx, election.AddressLost{NodeAddress: present})
	case t.nodeAddressLost && t.hasNodeAddress():
		t.nodeAddressLost = false
		t.send(ctx, election.NodeAddressRestored{})
	}
}

// missing reports whether one of the addresses is not on this host. It returns assumed if that
// cannot be read; the next renewal writes the addresses in any case.
func (t *linkTracker) missing(assumed bool, addresses ...netip.Addr) bool {
	present, err := t.addresses()
	if err != nil {
		t.log.Warn("cannot check that the address is present",
			"vip", netaddr.Join(addresses, ","), "err", err)
		return assumed
	}
	return slices.ContainsFunc(addresses, func(v netip.Addr) bool {
		return !slices.ContainsFunc(present, func(a link.HostAddr) bool {
			return a.Prefix.Addr() == v.Unmap()
		})
	})
}

// hasNodeAddress reports whether the node has an own address of each family of the VIPs, if it had
// one before: a flush removes those, and they come back. It returns true if that cannot be read.
func (t *linkTracker) hasNodeAddress() bool {
	addresses, err := t.addresses()
	if err != nil {
		return true
	}
	index := t.link().Index
	for _, v := range t.cfg.VIPs {
		family := 0
		if v.Is6() {
			family = 1
		}
		if !t.hadNodeAddress[family] {
			continue
		}
		if _, ok := link.NodeAddress(addresses, index, family == 0, t.cfg.VIPs); !ok {
			return false
		}
	}
	return true
}

// macsOf joins the hardware addresses that the link may answer with, its own first.
func macsOf(l link.Link) string {
	all := []string{l.MAC.String()}
	for _, port := range l.PortMACs {
		if !slices.Contains(all, port.String()) {
			all = append(all, port.String())
		}
	}
	return strings.Join(all, ",")
}

func (t *linkTracker) send(ctx context.Context, ev election.Event) {
	select {
	case t.events <- ev:
	case <-ctx.Done():
	}
}
