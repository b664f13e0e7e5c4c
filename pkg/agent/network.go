package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/link"
)

// lookAgain is how often the link is looked up without an event, in case one was missed.
const lookAgain = 2 * time.Second

// waitAgain is how often a link that is not there yet is looked for at the start.
const waitAgain = 100 * time.Millisecond

type selected = link.Link

// linkSetter is told which link to announce on; *arp.Speaker.
type linkSetter interface{ SetLink(l arp.LinkRef) }

// network follows the link that carries the addresses and the node's own addresses.
type network struct {
	cfg     config.Config
	log     *slog.Logger
	watcher *link.Watcher
	speaker linkSetter
	events  chan election.Event

	mu    sync.Mutex
	now   selected
	found bool
	hosts []string // addresses under which the own API server may listen
	noted bool     // the machine knows of now
	bare  bool     // the node's own address is missing
}

func newNetwork(cfg config.Config, log *slog.Logger, speaker linkSetter) *network {
	n := &network{cfg: cfg, log: log, speaker: speaker, events: make(chan election.Event, 64)}
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
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for {
		n.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case ev := <-n.watcher.Events():
			n.addressEvent(ctx, ev)
		case <-again.C:
		}
	}
}

// look selects the link anew where needed, and reports what changed.
func (n *network) look(ctx context.Context) {
	next, err := n.choose()
	if err != nil {
		next = selected{Reason: err.Error()}
	}
	n.mu.Lock()
	changed := !n.noted || !sameLink(n.now, next)
	n.now, n.found, n.noted = next, err == nil, true
	n.hosts = n.findHosts(next)
	n.mu.Unlock()
	if !changed {
		return
	}
	n.speaker.SetLink(arpLink(next))
	if next.Usable {
		n.log.Info("using link", "link", next.Name, "vip", vips(n.cfg.VIPs))
	} else {
		n.log.Warn("no usable link for the address", "link", next.Name, "vip", vips(n.cfg.VIPs), "reason", next.Reason)
	}
	n.send(ctx, election.Link{Usable: next.Usable, MAC: next.MAC.String()})
}

// choose keeps the link in use as long as it exists: an address never moves between
// links only because another one came up.
func (n *network) choose() (selected, error) {
	name := n.cfg.Interface
	if n.found && name == "" {
		if again, err := link.Select(n.now.Name, nil); err == nil && again.Index == n.now.Index {
			return again, nil
		}
	}
	return link.Select(name, n.cfg.VIPs)
}

func sameLink(a, b selected) bool {
	return a.Index == b.Index && a.Name == b.Name && a.Usable == b.Usable && a.Reason == b.Reason && slices.Equal(a.MAC, b.MAC)
}

func (n *network) findHosts(l selected) []string {
	port := strconv.Itoa(n.cfg.Port)
	hosts := []string{net.JoinHostPort("127.0.0.1", port)}
	for _, family4 := range []bool{true, false} {
		if a, ok := link.NodeAddress(l, family4, n.cfg.VIPs); ok {
			hosts = append(hosts, net.JoinHostPort(a.String(), port))
		}
	}
	return hosts
}

// addressEvent tells the machine when somebody took an address away, and when the
// node's own address is back after a flush (E10).
func (n *network) addressEvent(ctx context.Context, ev link.Event) {
	if ev.Kind != link.AddrAdded && ev.Kind != link.AddrRemoved {
		return
	}
	own := n.ownAddress()
	switch {
	case ev.Kind == link.AddrRemoved && slices.Contains(n.cfg.VIPs, ev.Addr):
		n.bare = !own
		n.send(ctx, election.AddressLost{NodeAddress: own})
	case n.bare && own:
		n.bare = false
		n.send(ctx, election.NodeAddressBack{})
	}
}

// ownAddress is whether the node has an address of each family that the VIPs have.
func (n *network) ownAddress() bool {
	l := n.link()
	for _, v := range n.cfg.VIPs {
		if _, ok := link.NodeAddress(l, v.Is4(), n.cfg.VIPs); !ok {
			return false
		}
	}
	return true
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
