package bgpbench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/lab/bgplab"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/wait"
)

// address is what is measured: all speakers have IPv4.
var address = netip.PrefixFrom(cluster.RoutedVIP4, 32)

const (
	lookEvery   = 10 * time.Millisecond
	watchAfter  = 500 * time.Millisecond // after the routes are gone
	watchStays  = 3 * time.Second        // if they stay
	giveUp      = 20 * time.Second
	probesEnd   = 1100 * time.Millisecond // until each probe had its time
	askEvery    = 10 * time.Millisecond   // of a client of the API servers
	notMeasured = -time.Millisecond       // a time that does not exist
)

// result is what one fault did.
type result struct {
	victim string
	start  time.Time
	// outage is the longest time in which clients behind each router got no answer on a flow or, of
	// API servers, the time from the fault to the start of the last request that failed and was not
	// rehashed (of lossless faults).
	outage [2]time.Duration
	// gone is the time until the route over the victim was gone from each router's kernel, back the
	// one until it was there again.
	gone, back       [2]time.Duration
	lost, sent       int // packets
	failed, requests int
	rehashed         int           // of failed: the router moved an open connection
	worsened         time.Duration // until kvip announced a worse path
	samples          int
	misrouted        int           // samples of a route to a node without the address
	bare             time.Duration // longest time in which a router had no route
	gap              time.Duration // longest time between two samples
}

// worst is the longer one of both routers.
func worst(both [2]time.Duration) time.Duration { return max(both[0], both[1]) }

// afterWorse is the time from the worse path until both routes were gone.
func (r result) afterWorse() time.Duration {
	if r.worsened < 0 || min(r.gone[0], r.gone[1]) < 0 {
		return giveUp
	}
	return max(0, worst(r.gone)-r.worsened)
}

// away is the longer one of the times that the routes were gone before they came back.
func (r result) away() time.Duration {
	longest := time.Duration(0)
	for i := range r.gone {
		switch {
		case r.gone[i] < 0:
		case r.back[i] < 0:
			return giveUp
		default:
			longest = max(longest, r.back[i]-r.gone[i])
		}
	}
	return longest
}

// observation is what watches one fault.
type observation struct {
	s       *session
	fault   fault
	node    *cluster.Node
	router  int // the victim, if the fault is a router's
	sampler *bgplab.Sampler
	probes  []*bgplab.Probe
	clients []*netlab.Client
}

// observe starts to watch.
func (s *session) observe(f fault, number int) (o *observation, err error) {
	o = &observation{s: s, fault: f, node: s.lab.Nodes[number%len(s.lab.Nodes)],
		router: number % len(s.lab.Routers), sampler: s.lab.Sample()}
	for _, r := range s.lab.Routers {
		p, err := bgplab.StartProbe(r, address.Addr())
		if err != nil {
			return nil, errors.Join(err, o.close())
		}
		o.probes = append(o.probes, p)
		if !f.requests {
			continue
		}
		conf, err := s.lab.TLS()
		if err != nil {
			return nil, errors.Join(err, o.close())
		}
		c, err := netlab.StartClient(netlab.ClientConfig{
			Host: r.Client, Target: netip.AddrPortFrom(address.Addr(), cluster.Port), TLS: conf,
			Path: f.page, Every: askEvery,
		})
		if err != nil {
			return nil, errors.Join(err, o.close())
		}
		o.clients = append(o.clients, c)
	}
	return o, nil
}

// close ends it.
func (o *observation) close() error {
	for _, p := range o.probes {
		p.Stop()
	}
	for _, c := range o.clients {
		c.Stop()
	}
	_, _, err := o.sampler.Stop()
	return err
}

// steady waits until probes are answered.
func (o *observation) steady(ctx context.Context) error {
	return wait.For(ctx, "the probes to be answered", func() bool {
		for _, p := range o.probes {
			if !p.Answering() {
				return false
			}
		}
		return true
	})
}

// measure injects the fault and watches what follows.
func (o *observation) measure(ctx context.Context) (result, error) {
	if o.fault.prepare != nil {
		if err := o.fault.prepare(ctx, o.s, o.node); err != nil {
			return result{}, fmt.Errorf("prepare %s on %s: %w", o.fault.name, o.node.Name, err)
		}
	}
	r := result{victim: o.node.Name, start: time.Now()}
	if o.fault.router {
		r.victim = o.s.lab.Routers[o.router].Host.Name
	}
	if err := o.fault.inject(o.s, o.node, o.s.lab.Routers[o.router]); err != nil {
		return r, fmt.Errorf("%s on %s: %w", o.fault.name, r.victim, err)
	}
	if err := o.settle(ctx, r.start); err != nil {
		return r, err
	}
	if err := wait.Pause(ctx, probesEnd); err != nil {
		return r, err
	}
	o.read(&r)
	return r, nil
}

// settle waits until the routes are gone, and for what follows.
func (o *observation) settle(ctx context.Context, start time.Time) error {
	if o.fault.stays {
		return wait.Pause(ctx, watchStays)
	}
	for time.Since(start) < giveUp {
		done := true
		for i := range o.s.lab.Routers {
			gone, back := o.routes(i, start)
			done = done && gone >= 0 && (back >= 0 || !o.fault.returns)
		}
		if done {
			break
		}
		if err := wait.Pause(ctx, lookEvery); err != nil {
			return err
		}
	}
	return wait.Pause(ctx, watchAfter)
}

// routes returns the times until a router's route over the victim was gone, and there again.
func (o *observation) routes(router int, start time.Time) (gone, back time.Duration) {
	gone, back = notMeasured, notMeasured
	at, again := o.sampler.Gone(o.s.lab.Routers[router], o.node, address, start)
	if !at.IsZero() {
		gone = at.Sub(start)
	}
	if !again.IsZero() {
		back = again.Sub(start)
	}
	return gone, back
}

// read reads what was watched.
func (o *observation) read(r *result) {
	r.worsened, r.bare, r.gap = notMeasured, o.sampler.Bare(), o.sampler.MaxGap()
	r.samples, r.misrouted = o.sampler.Faults()
	for i, p := range o.probes {
		r.outage[i], r.gone[i], r.back[i] = notMeasured, notMeasured, notMeasured
		if o.fault.router && i == o.router {
			continue // its clients have lost their router
		}
		r.gone[i], r.back[i] = o.routes(i, r.start)
		r.outage[i] = p.Gap(r.start)
		lost, sent := p.Loss(r.start)
		r.lost, r.sent = r.lost+lost, r.sent+sent
		if o.fault.requests {
			r.outage[i] = o.ask(i, r)
		}
	}
	if text, err := os.ReadFile(o.s.running.log(o.node)); err == nil && o.fault.requests {
		if at := worseIn(string(text), r.start); !at.IsZero() {
			r.worsened = at.Sub(r.start)
		}
	}
}

// ask counts the requests of one client, and returns when the last one began that failed.
func (o *observation) ask(i int, r *result) (last time.Duration) {
	until := time.Now().Add(-time.Second) // later ones may be open
	for _, q := range o.clients[i].Requests(r.start) {
		if q.Start.After(until) {
			continue
		}
		r.requests++
		if !q.OK() {
			r.failed++
			// A server that dies resets connections as well: only one that serves on does not.
			if o.fault.lossless && o.sampler.Rehashed(o.s.lab.Routers[i], address, q) {
				r.rehashed++
				continue
			}
			last = max(last, q.Start.Sub(r.start)+askEvery)
		}
	}
	return last
}

// announcesIn reports whether the last change in a log of kvip is to the best path.
func announcesIn(log string) bool {
	i := strings.LastIndex(log, "announcement changed")
	line, _, _ := strings.Cut(log[max(0, i):], "\n")
	return i >= 0 && strings.Contains(line, "state=announcing")
}

// worseIn finds the first change to a worse path in a log of kvip.
func worseIn(log string, from time.Time) time.Time {
	for _, line := range benchreport.LogSince(log, from) {
		if !strings.Contains(line, "announcement changed") || !strings.Contains(line, "state=worse") {
			continue
		}
		stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
			return at
		}
	}
	return time.Time{}
}
