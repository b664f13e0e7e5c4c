package bgplab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/routerlab"
)

// noContext is for calls that end by themselves.
var noContext = context.Background()

// sampleEvery is the time between two samples.
const sampleEvery = 5 * time.Millisecond

// maxFaults limits what a Sampler remembers.
const maxFaults = 20

// route is a router's route to a prefix over a node.
type route struct {
	router, node string
	prefix       netip.Prefix
}

// change is the instant at which a route came or went.
type change struct {
	at    time.Time
	there bool
}

// Sampler watches that no router has a route to a node that does not have the address, and when
// routes come and go. Make it with Lab.Sample.
type Sampler struct {
	lab    *Lab
	cancel context.CancelFunc
	done   chan struct{}
	tables map[string]*routerlab.KernelTable // by router
	links  map[string]*netlink.Handle        // by node
	err    error                             // of the start

	mu      sync.Mutex
	samples int
	count   int // of faults
	faults  []string
	last    error
	current map[route]bool
	changes map[route][]change
	ignored map[string]bool     // routers
	bare    map[route]time.Time // since when a router has no route, without a node
	barest  time.Duration
	seen    time.Time // the last sample
	gap     time.Duration
}

// Sample starts a Sampler.
func (l *Lab) Sample() *Sampler {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sampler{
		lab: l, cancel: cancel, done: make(chan struct{}),
		tables: map[string]*routerlab.KernelTable{}, links: map[string]*netlink.Handle{},
		current: map[route]bool{}, changes: map[route][]change{},
		ignored: map[string]bool{}, bare: map[route]time.Time{},
	}
	if s.err = s.open(); s.err != nil {
		close(s.done)
		return s
	}
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

// open opens the sockets through which the Sampler reads.
func (s *Sampler) open() error {
	for _, r := range s.lab.Routers {
		table, err := routerlab.OpenKernelTable(r.Host)
		if err != nil {
			return err
		}
		s.tables[r.Host.Name] = table
	}
	for _, n := range s.lab.Nodes {
		handle, err := openLoopback(n)
		if err != nil {
			return err
		}
		s.links[n.Name] = handle
	}
	return nil
}

// sample reads routes, addresses and routes again: a route that is there both times, and to a node
// without the address in between, is a fault.
func (s *Sampler) sample() {
	before, err := s.routes()
	if err != nil {
		s.fail(err)
		return
	}
	has := map[string][]netip.Addr{}
	for _, n := range s.lab.Nodes {
		if has[n.Name], err = loopbackAddresses(s.links[n.Name]); err != nil {
			s.fail(err)
			return
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
			s.judge(n, p, slices.Contains(has[n.Name], p.Addr()), before, after)
		}
	}
}

// judge counts routes to a node without the address. The caller holds the lock.
func (s *Sampler) judge(n *cluster.Node, p netip.Prefix, has bool, before, after map[route]bool) {
	if has {
		return
	}
	for _, r := range s.lab.Routers {
		at := route{r.Host.Name, n.Name, p}
		if !before[at] || !after[at] || s.ignored[r.Host.Name] {
			continue
		}
		s.count++
		if len(s.faults) < maxFaults {
			s.faults = append(s.faults, fmt.Sprintf("%s: %s sends packets for %s to %s, "+
				"which does not have it", time.Now().Format("15:04:05.000"), r.Host.Name, p, n.Name))
		}
	}
}

// routes returns which router has a route over which node, and records what changed.
func (s *Sampler) routes() (map[route]bool, error) {
	found := map[route]bool{}
	for _, r := range s.lab.Routers {
		list, err := s.tables[r.Host.Name].Routes()
		if err != nil {
			return nil, err
		}
		for _, k := range list {
			for _, n := range s.lab.Nodes {
				if slices.Contains(k.NextHops, n.Host.Addr(k.Prefix.Addr().Is4())) {
					found[route{r.Host.Name, n.Name, k.Prefix}] = true
				}
			}
		}
		s.record(r, found, time.Now())
	}
	return found, nil
}

// record records what changed in one router.
func (s *Sampler) record(r *Router, found map[route]bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.seen.IsZero() {
		s.gap = max(s.gap, now.Sub(s.seen))
	}
	s.seen = now
	for _, p := range Prefixes() {
		none := true
		for _, n := range s.lab.Nodes {
			at := route{r.Host.Name, n.Name, p}
			none = none && !found[at]
			if was, known := s.current[at]; !known || was != found[at] {
				s.current[at] = found[at]
				s.changes[at] = append(s.changes[at], change{now, found[at]})
			}
		}
		at := route{router: r.Host.Name, prefix: p}
		since, known := s.bare[at]
		switch {
		case none && !known:
			s.bare[at] = now
		case none:
			s.barest = max(s.barest, now.Sub(since))
		default:
			delete(s.bare, at)
		}
	}
}

// Gone returns the instant, at since or later, at which a router's route to a prefix over a node
// was gone, and the one at which it was there again. An instant that has not come is zero.
func (s *Sampler) Gone(r *Router, n *cluster.Node, p netip.Prefix,
	since time.Time) (gone, back time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.changes[route{r.Host.Name, n.Name, p}] {
		switch {
		case c.at.Before(since):
		case !c.there && gone.IsZero():
			gone = c.at
		case c.there && !gone.IsZero() && back.IsZero():
			back = c.at
		}
	}
	return gone, back
}

// rehashLag is how much later than the kernel a Sampler may see a change.
const rehashLag = 4 * sampleEvery

// Rehashed reports whether a request was broken by a router: it was reset, and the routes to its
// prefix changed while it was open. The router then sends packets of open connections to another
// node, also of those that a node serves which stays.
func (s *Sampler) Rehashed(r *Router, p netip.Prefix, q netlab.Request) bool {
	if q.Result != netlab.FailedReset {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, all := range s.changes {
		if at.router != r.Host.Name || at.prefix != p {
			continue
		}
		for _, c := range all {
			if c.at.After(q.Start) && c.at.Before(q.Start.Add(q.Took+rehashLag)) {
				return true
			}
		}
	}
	return false
}

// Has reports whether a router has a route to a prefix over a node, and since when that is so.
func (s *Sampler) Has(r *Router, n *cluster.Node, p netip.Prefix) (has bool, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.changes[route{r.Host.Name, n.Name, p}]
	if len(all) == 0 {
		return false, time.Time{}
	}
	last := all[len(all)-1]
	return last.there, last.at
}

// Ignore makes routes of a router to nodes without the address no fault, or a fault again. A router
// that does not run keeps the routes in its kernel.
func (s *Sampler) Ignore(r *Router, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ignored[r.Host.Name] = on
}

// Bare returns the longest time for which a router had no route at all to one of the prefixes.
func (s *Sampler) Bare() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.barest
}

// MaxGap returns the longest time between two reads of routes.
func (s *Sampler) MaxGap() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gap
}

// Faults returns the number of samples, and in how many of them a router had a route to a node
// without the address, for each router, node and prefix.
func (s *Sampler) Faults() (samples, faults int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.samples, s.count
}

func (s *Sampler) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = err
}

// Stop ends the Sampler. It returns the number of samples, and the faults that it saw.
func (s *Sampler) Stop() (samples int, faults []string, err error) {
	s.cancel()
	<-s.done
	for _, t := range s.tables {
		t.Close()
	}
	for _, h := range s.links {
		h.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.samples, s.faults, errors.Join(s.err, s.last)
}
