package allocate

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/clock"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/place"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/svc/ledger"
)

const (
	// gather is the least time between two writes of the ledger: what comes meanwhile is written
	// together, so that thousands of Services cost tens of writes (S4).
	gather = 100 * time.Millisecond
	// lookAgain bounds how long something that changes without an object stays unseen.
	lookAgain = time.Second
	// rememberControlPlane is for how long an address counts as the control plane's after a node had it.
	rememberControlPlane = 10 * time.Minute
)

// Config of an Allocator. All fields are needed but ControlPlane and Placement.
type Config struct {
	Catalogue *svc.Catalogue
	Keeper    *Keeper
	Book      *ledger.Book
	Router    *apiclient.Router
	Clock     clock.Func
	Log       *slog.Logger
	// ControlPlane are the virtual IPs that are known without a node that has them, Port their port.
	ControlPlane []netip.Addr
	Port         int
	// Placement says of an address that no node can announce why; "" if one does, or nobody knows.
	Placement func(addr netip.Addr) place.Reason
	// Component and Node name the source of Events.
	Node string
	// Observed is told what was allocated, for metrics.
	Observed func(Figures)
}

// Figures are what the allocator tells of its work.
type Figures struct {
	// Services has how many have all they want, and Refused how many do not, by reason.
	Services int
	Refused  map[string]int
	// Used and Size have one entry a pool.
	Used map[string]int
	Size map[string]uint64
}

// Allocator gives out addresses while this node has the seat.
type Allocator struct {
	cfg    Config
	writer *writer
	term   uint64 // of the seat that the ledger was taken in; 0: not taken

	seenCP      map[netip.Addr]time.Duration
	goodPools   map[string]ipam.Pool     // as they were last without a mistake
	poolWritten map[string]time.Duration // when each pool's status was last written
	errands     chan func(context.Context)
}

// New returns an Allocator that does nothing before Run.
func New(cfg Config) *Allocator {
	if cfg.Placement == nil {
		cfg.Placement = func(netip.Addr) place.Reason { return "" }
	}
	if cfg.Observed == nil {
		cfg.Observed = func(Figures) {}
	}
	return &Allocator{cfg: cfg, writer: newWriter(cfg), seenCP: map[netip.Addr]time.Duration{}, poolWritten: map[string]time.Duration{}, errands: make(chan func(context.Context), 64)}
}

// background does what may take its time, one after the other; what is too much is dropped and comes
// again with the next turn.
func (a *Allocator) background(do func(context.Context)) {
	select {
	case a.errands <- do:
	default:
	}
}

func (a *Allocator) runErrands(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case do := <-a.errands:
			limited, cancel := context.WithTimeout(ctx, requestTimeout)
			do(limited)
			cancel()
		}
	}
}

// Run allocates until ctx ends.
func (a *Allocator) Run(ctx context.Context) error {
	var writers sync.WaitGroup
	defer writers.Wait()
	writers.Go(func() { a.writer.run(ctx) })
	writers.Go(func() { a.runErrands(ctx) })
	changed := a.cfg.Catalogue.Subscribe()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
		}
		if a.turn(ctx) {
			pause(ctx, gather)
		}
	}
}

// turn brings ledger and status in line with what the cluster wants. It reports whether it wrote the
// ledger.
func (a *Allocator) turn(ctx context.Context) (wrote bool) {
	term, held := a.cfg.Keeper.Held()
	if !held || !a.cfg.Catalogue.Settled() {
		a.writer.stop()
		return false
	}
	if a.term != term {
		if _, err := a.cfg.Book.Take(ctx); err != nil {
			a.cfg.Log.Warn("cannot take the ledger over; trying again", "reason", err)
			return true
		}
		if a.behind(ctx) {
			return true
		}
		a.term = term
	}
	services := a.cfg.Catalogue.Services()
	pools := a.pools()
	before := a.cfg.Book.Ledger()
	result := ipam.Plan(before, usable(pools), a.reserved(), requests(services))
	if !result.Ledger.Equal(before) {
		wrote = true
		if _, held := a.cfg.Keeper.Held(); !held {
			a.term = 0
			return true // this process stood still: another one may have the seat
		}
		if err := a.cfg.Book.Commit(ctx, result.Ledger); err != nil {
			a.failed(err)
			return true
		}
	}
	a.publish(services, pools, result)
	return wrote
}

// failed begins anew with the ledger, whose state is not known now.
func (a *Allocator) failed(err error) {
	a.term = 0
	if errors.Is(err, ledger.ErrLost) {
		a.cfg.Log.Info("the ledger is read again", "reason", err)
		return
	}
	a.cfg.Log.Warn("cannot write the ledger; trying again", "reason", err)
}

func requests(services []*svc.Service) []ipam.Request {
	var all []ipam.Request
	for _, s := range services {
		if s.Ours {
			all = append(all, s.Request)
		}
	}
	return all
}

// reserved are the addresses of nodes, and those of the control plane, which can be shared.
func (a *Allocator) reserved() ipam.Reserved {
	all := ipam.Reserved{}
	for addr, node := range a.cfg.Catalogue.Reserved() {
		all[addr] = ipam.Reservation{Holder: "node " + node}
	}
	for _, addr := range a.controlPlane() {
		all[addr] = ipam.Reservation{Holder: "the control plane", Owner: ipam.ControlPlane, Ports: []ipam.Port{{Protocol: "TCP", Number: uint16(a.cfg.Port)}}}
	}
	return all
}

// controlPlane returns the virtual IPs that are configured, or that a node had a short time ago.
func (a *Allocator) controlPlane() []netip.Addr {
	now := a.cfg.Clock()
	for _, l := range a.cfg.Catalogue.Leases() {
		for _, addr := range l.Info.ControlPlane {
			a.seenCP[addr] = now
		}
	}
	maps.DeleteFunc(a.seenCP, func(_ netip.Addr, at time.Duration) bool { return now-at > rememberControlPlane })
	all := append(slices.Collect(maps.Keys(a.seenCP)), a.cfg.ControlPlane...)
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// publish writes what Services and pools are to say, and tells the metrics.
func (a *Allocator) publish(services []*svc.Service, pools []source, result ipam.Result) {
	figures := Figures{Refused: map[string]int{}, Used: map[string]int{}, Size: map[string]uint64{}}
	for _, s := range services {
		if want, ok := a.wanted(s, result); ok {
			a.writer.service(s, want)
			if want.refused() {
				figures.Refused[string(want.reason)]++
			} else if s.Ours {
				figures.Services++
			}
		}
	}
	a.writer.forget(services)
	a.publishPools(pools, result.Ledger, &figures)
	a.cfg.Observed(figures)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
