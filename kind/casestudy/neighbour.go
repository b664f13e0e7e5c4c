package casestudy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// lookEvery is how often a Path looks, and how exactly it knows when an address moved.
const lookEvery = 5 * time.Millisecond

// Interval is a time during which a client's packets for the address went to the same node; an
// empty Node: to no host, or to one that is not a node.
type Interval struct {
	Node     string
	From, To time.Time // the first and the last look that saw it
}

// NeighbourWatch says to which node the packets of a client outside go: to the one whose link-layer
// address its kernel has for the address. That is what an announcement changes, and all that a
// client sees of one.
type NeighbourWatch struct {
	nodes  map[string]string // link-layer address: node
	kernel *netlink.Handle
	addr   netip.Addr
	stop   chan struct{}
	done   chan struct{}

	mu        sync.Mutex
	stretches []Interval
	err       error
}

// startNeighbourWatch looks into the neighbour table of a host until end.
func startNeighbourWatch(host *netlab.Host, addr netip.Addr,
	nodes map[string]string) (*NeighbourWatch, error) {
	p := &NeighbourWatch{nodes: nodes, addr: addr, stop: make(chan struct{}),
		done: make(chan struct{})}
	err := host.Do(func() (err error) {
		p.kernel, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look into the neighbour table of %s: %w", host.Name, err)
	}
	go p.run()
	return p, nil
}

func (p *NeighbourWatch) run() {
	defer close(p.done)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		node, err := p.lookup()
		p.record(node, time.Now(), err)
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
	}
}

func (p *NeighbourWatch) lookup() (node string, err error) {
	entries, err := p.kernel.NeighList(0, unix.AF_INET)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if ip, ok := netip.AddrFromSlice(e.IP); ok && ip.Unmap() == p.addr {
			return p.nodes[e.HardwareAddr.String()], nil
		}
	}
	return "", nil
}

func (p *NeighbourWatch) record(node string, at time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.err = err
		return
	}
	if n := len(p.stretches); n > 0 && p.stretches[n-1].Node == node {
		p.stretches[n-1].To = at
		return
	}
	p.stretches = append(p.stretches, Interval{node, at, at})
}

// Node returns the node to which the packets go now, or "".
func (p *NeighbourWatch) Node() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.stretches); n > 0 {
		return p.stretches[n-1].Node
	}
	return ""
}

// Intervals returns what was seen, in its order.
func (p *NeighbourWatch) Intervals() []Interval {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.stretches)
}

// end ends it, and returns the last error of a look.
func (p *NeighbourWatch) end() error {
	close(p.stop)
	<-p.done
	p.kernel.Close()
	return p.err
}

// Watch is what a client outside the nodes sees of the Service.
type Watch struct {
	*Client
	*NeighbourWatch
	end func() error
}

// watch begins to watch; each request has timeout.
func (s *Study) watch(ctx context.Context, timeout time.Duration) (*Watch, error) {
	nodes := map[string]string{}
	for _, n := range s.Cluster.Nodes {
		mac, err := n.MAC(ctx)
		if err != nil {
			return nil, err
		}
		nodes[mac.String()] = n.Name
	}
	host, err := s.Cluster.Outside()
	if err != nil {
		return nil, err
	}
	path, err := startNeighbourWatch(host, s.Address, nodes)
	if err != nil {
		_ = host.Close()
		return nil, err
	}
	w := &Watch{Client: startClient(newRequester(host, s.target(), timeout)), NeighbourWatch: path}
	shown := func() {}
	if s.Watching != nil {
		shown = s.Watching(w)
	}
	w.end = sync.OnceValue(func() error {
		shown()
		w.Client.Stop()
		return errors.Join(w.NeighbourWatch.end(), host.Close())
	})
	return w, nil
}
