package agent

import (
	"context"
	"errors"
	"fmt"
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
)

// lookAgain is how often the link is looked up without an event, in case one was missed.
const lookAgain = 2 * time.Second

// pendingAgain is the same while the link is to change as soon as this node does not hold any more.
const pendingAgain = 50 * time.Millisecond

// readRoutes is how often routes are read where no own address decides about the link.
const readRoutes = 10 * time.Second

// waitAgain is how often a link that is not there yet is looked for at the start.
const waitAgain = 100 * time.Millisecond

type selected = link.Link

// linkSetter announces on a link; *vipAnnouncer.
type linkSetter interface{ SetLink(l link.Link) }

// network follows the link that carries the addresses and the node's own addresses.
type network struct {
	cfg     config.Config
	log     *slog.Logger
	watcher *link.Watcher
	speaker linkSetter
	events  chan election.Event

	// status is the machine's, nil before its first turn. While it holds the lease or claims it,
	// it leaves in order before the link changes.
	status     func() *election.Status
	chooser    chooser
	candidates func(name string, vips []netip.Addr, routes bool) ([]link.Choice, error)
	addresses  func() ([]link.HostAddr, error) // fails where they change faster than they can be listed
	routes     time.Time                       // when routes were read last

	mu    sync.Mutex
	now   selected
	hosts []string // addresses under which the own API server may listen
	noted bool     // the machine knows of now
	bare  bool     // the node's own address is missing
	own   [2]bool  // the node had an own address on this link, of IPv4 and of IPv6
}

func newNetwork(cfg config.Config, log *slog.Logger, speaker linkSetter) *network {
	n := &network{cfg: cfg, log: log, speaker: speaker, events: make(chan election.Event, 64)}
	n.candidates, n.addresses = link.Candidates, link.Addresses
	n.status = func() *election.Status { return nil }
	n.watcher = link.NewWatcher(link.WatchConfig{Log: log})
	n.hosts = []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port))}
	return n
}

// link returns the link in use; its Index is 0 if there is none.
func (n *network) link() selected {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now
}

// local returns where the node's own API server may listen: loopback, then the node's
// addresses on the link (E7, E11).
func (n *network) local() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.hosts)
}

// run reports the link and its addresses until ctx ends.
func (n *network) run(ctx context.Context) error {
	for {
		n.look(ctx)
		again := time.NewTimer(lookAgain)
		if n.chooser.pending {
			again.Reset(pendingAgain)
		}
		select {
		case <-ctx.Done():
			again.Stop()
			return nil
		case ev := <-n.watcher.Events():
			n.addressEvent(ctx, ev)
			n.catchUp(ctx)
		case <-again.C:
		}
		again.Stop()
	}
}

// catchUp takes the events that came meanwhile, so that one look is for all of them: the Services of
// another node may bring a thousand addresses at once, and each look lists all that there are.
func (n *network) catchUp(ctx context.Context) {
	for range len(n.watcher.Events()) {
		select {
		case ev := <-n.watcher.Events():
			n.addressEvent(ctx, ev)
		default: // they became one Resync
			return
		}
	}
}

// look selects the link anew where needed, and reports what changed.
func (n *network) look(ctx context.Context) {
	next, err := n.choose()
	if err != nil {
		next = selected{Reason: err.Error()}
	}
	if n.now.Index != next.Index {
		n.own = [2]bool{}
	}
	hosts, err := n.findHosts(next)
	n.mu.Lock()
	changed := !n.noted || !sameLink(n.now, next)
	n.now, n.noted = next, true
	if err == nil {
		n.hosts = hosts
	}
	n.mu.Unlock()
	if !changed {
		return
	}
	n.speaker.SetLink(next)
	if next.Usable {
		n.log.Info("using link", "link", next.Name, "vip", vips(n.cfg.VIPs), "reason", "chosen by "+n.chooser.now.Basis.String())
	} else {
		n.log.Warn("no usable link for the address", "link", next.Name, "vip", vips(n.cfg.VIPs), "reason", next.Reason)
	}
	n.send(ctx, election.Link{Usable: next.Usable, MAC: macs(next)})
}

// choose reads what there is to choose from and chooses.
func (n *network) choose() (selected, error) {
	now := time.Now()
	routes := n.chooser.now.Index == 0 || now.Sub(n.routes) >= readRoutes
	candidates, err := n.candidates(n.cfg.Interface, n.cfg.VIPs, routes)
	switch {
	case err == nil && routes:
		n.routes = now
	case err == nil, errors.Is(err, link.ErrNotFound):
	case n.chooser.now.Index == 0:
		return selected{}, err
	default: // as where addresses change faster than they can be listed: no reason to give the link up
		n.log.Debug("cannot look for a better link", "link", n.chooser.now.Name, "reason", err)
	}
	if n.chooser.began.IsZero() {
		n.chooser.left = n.leftover()
	}
	var current *link.Link
	if n.chooser.now.Index != 0 {
		switch again, err := link.Get(n.chooser.now.Index); {
		case err == nil:
			current = &again
		case !errors.Is(err, link.ErrNotFound):
			return selected{}, err
		}
	}
	next := n.chooser.next(now, current, candidates, n.holding())
	if next.Index == 0 && next.Reason == "" { // Select says why
		_, err := link.Select(n.cfg.Interface, n.cfg.VIPs)
		return selected{}, err
	}
	return next, nil
}

// leftover returns the index of the link that has one of the addresses, as an earlier agent left it; 0 if
// there is none.
func (n *network) leftover() int {
	addresses, err := n.addresses()
	if err != nil {
		n.log.Warn("cannot look for addresses of earlier agents", "vip", vips(n.cfg.VIPs), "reason", err)
		return 0
	}
	for _, a := range addresses {
		if slices.Contains(n.cfg.VIPs, a.Prefix.Addr()) {
			return a.Index
		}
	}
	return 0
}

// holding reports whether the machine has the lease or is on its way to it.
func (n *network) holding() bool {
	s := n.status()
	return s != nil && s.State != election.Standby
}

func sameLink(a, b selected) bool {
	return a.Index == b.Index && a.Name == b.Name && a.Usable == b.Usable && a.Reason == b.Reason && macs(a) == macs(b)
}

// findHosts returns where the node's own API server may listen.
func (n *network) findHosts(l selected) ([]string, error) {
	port := strconv.Itoa(n.cfg.Port)
	hosts := []string{net.JoinHostPort("127.0.0.1", port)}
	if l.Index == 0 {
		return hosts, nil
	}
	addresses, err := n.addresses()
	if err != nil {
		return nil, err
	}
	for i, family4 := range []bool{true, false} {
		if a, ok := link.NodeAddress(addresses, l.Index, family4, n.cfg.VIPs); ok {
			n.own[i] = true
			hosts = append(hosts, net.JoinHostPort(a.String(), port))
		}
	}
	return hosts, nil
}

// addressEvent tells the machine when somebody took an address away, and when the
// node's own address is back after a flush (E10).
func (n *network) addressEvent(ctx context.Context, ev link.Event) {
	lost := false
	switch ev.Kind {
	case link.AddrAdded:
	case link.AddrRemoved: // for a moment alone where the owner writes it anew, as with another scope
		lost = slices.Contains(n.cfg.VIPs, ev.Addr) && n.missing(true, ev.Addr)
	case link.Resync: // the event may be among those that were lost
		s := n.status()
		lost = s != nil && s.Owned && n.missing(false, n.cfg.VIPs...)
	default:
		return
	}
	switch {
	case lost:
		own := n.ownAddress()
		n.bare = !own
		n.send(ctx, election.AddressLost{NodeAddress: own})
	case n.bare && n.ownAddress():
		n.bare = false
		n.send(ctx, election.NodeAddressRestored{})
	}
}

// missing reports whether one of the addresses is not on this host, or what is to be believed where that
// cannot be told. The next renewal writes them in any case.
func (n *network) missing(believed bool, addresses ...netip.Addr) bool {
	here, err := n.addresses()
	if err != nil {
		n.log.Warn("cannot look whether the address is there", "vip", vips(addresses), "reason", err)
		return believed
	}
	return slices.ContainsFunc(addresses, func(v netip.Addr) bool {
		return !slices.ContainsFunc(here, func(a link.HostAddr) bool { return a.Prefix.Addr() == v.Unmap() })
	})
}

// ownAddress reports whether the node has an address of each family that the VIPs have and that it
// had one of before: a flush takes those, and they come back. Where that cannot be told, nothing is
// waited for.
func (n *network) ownAddress() bool {
	addresses, err := n.addresses()
	if err != nil {
		return true
	}
	index := n.link().Index
	for _, v := range n.cfg.VIPs {
		if i := family(v); n.own[i] {
			if _, ok := link.NodeAddress(addresses, index, i == 0, n.cfg.VIPs); !ok {
				return false
			}
		}
	}
	return true
}

// family is the index in network.own.
func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// macs joins the hardware addresses with which the link may answer, its own first.
func macs(l selected) string {
	all := []string{l.MAC.String()}
	for _, port := range l.PortMACs {
		if !slices.Contains(all, port.String()) {
			all = append(all, port.String())
		}
	}
	return strings.Join(all, ",")
}

func (n *network) send(ctx context.Context, ev election.Event) {
	select {
	case n.events <- ev:
	case <-ctx.Done():
	}
}

// waitForLink waits as long as cfg allows for the link to be there (--interface-wait).
func waitForLink(ctx context.Context, cfg config.Config) error {
	if cfg.InterfaceWait < 0 {
		return nil
	}
	end := time.Now().Add(cfg.InterfaceWait)
	for {
		_, err := link.Select(cfg.Interface, cfg.VIPs)
		if err == nil {
			return nil
		}
		if !time.Now().Before(end) {
			return fmt.Errorf("wait for link (--interface-wait %v): %w", cfg.InterfaceWait, err)
		}
		if !pause(ctx, waitAgain) {
			return nil
		}
	}
}

// baseURLs makes URLs of hosts.
func baseURLs(hosts []string) []string {
	urls := make([]string, 0, len(hosts))
	for _, h := range hosts {
		urls = append(urls, "https://"+h)
	}
	return urls
}
