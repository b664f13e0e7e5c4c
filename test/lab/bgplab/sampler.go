package bgplab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/kvip/kvip/test/lab/cluster"
)

// noContext is for calls that end by themselves.
var noContext = context.Background()

// sampleEvery is the time between two samples.
const sampleEvery = 5 * time.Millisecond

// Sampler watches that no router has a route to a node that does not have the address. Make it with
// Lab.Sample.
type Sampler struct {
	lab    *Lab
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	samples int
	faults  []string
	err     error
	nodes   map[string]int // how often each node had the addresses
}

// Sample starts a Sampler.
func (l *Lab) Sample() *Sampler {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sampler{lab: l, cancel: cancel, done: make(chan struct{}), nodes: map[string]int{}}
	go func() {
		defer close(s.done)
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				s.sample()
			}
		}
	}()
	return s
}

// sample reads routes, addresses and routes again: a route that is there both times, and to a node
// without the address in between, is a fault.
func (s *Sampler) sample() {
	before, err := s.routes()
	if err != nil {
		s.fail(err)
		return
	}
	has := map[string]bool{}
	for _, n := range s.lab.Nodes {
		list, err := addresses(n)
		if err != nil {
			s.fail(err)
			return
		}
		for _, p := range Prefixes() {
			if slices.Contains(list, p.Addr()) {
				has[key(n, p)] = true
			}
		}
	}
	after, err := s.routes()
	if err != nil {
		s.fail(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.samples++
	for _, n := range s.lab.Nodes {
		for _, p := range Prefixes() {
			if has[key(n, p)] {
				s.nodes[n.Name]++
				continue
			}
			for _, r := range s.lab.Routers {
				at := r.Host.Name + key(n, p)
				if before[at] && after[at] && len(s.faults) < 20 {
					s.faults = append(s.faults, fmt.Sprintf("%s: %s sends packets for %s to %s, "+
						"which does not have it", time.Now().Format("15:04:05.000"), r.Host.Name, p, n.Name))
				}
			}
		}
	}
}

func key(n *cluster.Node, p netip.Prefix) string { return n.Name + " " + p.String() }

// routes returns which router has a route over which node.
func (s *Sampler) routes() (map[string]bool, error) {
	found := map[string]bool{}
	for _, r := range s.lab.Routers {
		list, err := r.KernelRoutes()
		if err != nil {
			return nil, err
		}
		for _, k := range list {
			for _, n := range s.lab.Nodes {
				if slices.Contains(k.NextHops, n.Host.Addr(k.Prefix.Addr().Is4())) {
					found[r.Host.Name+key(n, k.Prefix)] = true
				}
			}
		}
	}
	return found, nil
}

// addresses returns the addresses of a node's loopback interface.
func addresses(n *cluster.Node) (list []netip.Addr, err error) {
	err = n.Host.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		found, err := netlink.AddrList(lo, netlink.FAMILY_ALL)
		for _, a := range found {
			if addr, ok := netip.AddrFromSlice(a.IP); ok {
				list = append(list, addr.Unmap())
			}
		}
		return err
	})
	return list, err
}

func (s *Sampler) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// Stop ends the Sampler. It returns the number of samples, and the faults that it saw.
func (s *Sampler) Stop() (samples int, faults []string, err error) {
	s.cancel()
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.samples, s.faults, s.err
}

// HasAddresses reports whether a node has all routed addresses now.
func HasAddresses(n *cluster.Node) (bool, error) {
	list, err := addresses(n)
	if err != nil {
		return false, err
	}
	for _, p := range Prefixes() {
		if !slices.Contains(list, p.Addr()) {
			return false, nil
		}
	}
	return true, nil
}
