// Package bgpsoak lets faults drawn at random happen to a control plane whose addresses are
// announced by BGP to FRR and BIRD: agents, API servers, etcd members, links and routers. It fails
// if a router has a route to a node without the address, or for too long to a node whose API server
// is dead, if an address outlives its route, if a planned leave loses a packet, if the control
// plane does not recover, or if an agent grows.
//
// FAULTS in the environment is how many there are (500), SEED repeats a course of events.
package bgpsoak

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/kvip/kvip/test/draw"
	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/bgplab"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/wait"
)

const (
	// A fault lasts from shortest to longest, short ones more often.
	shortest, longest = 50 * time.Millisecond, 3 * time.Second
	// together is the probability that the next fault begins before the last one has ended.
	together = 0.3
	// perRound is how many faults happen between two recoveries.
	perRound      = 10
	logLines      = 60 // of each agent, after a failure
	lookEvery     = 20 * time.Millisecond
	recoverWithin = 2 * time.Minute
)

// soak is a control plane and what happens to it.
type soak struct {
	lab     *bgplab.Lab
	kvip    string
	sampler *bgplab.Sampler
	probes  []*bgplab.Probe
	random  *rand.Rand
	undo    []func() error
	counts  map[string]int
	failed  map[*bgplab.Router]bool
	overlap bool // a fault of this round has begun before another had recovered
	dead    map[*cluster.Node]time.Time
	sizes   []size
}

// Run starts a control plane, lets the faults happen and checks.
func Run(ctx context.Context, getenv func(string) string) error {
	o, err := parseOptions(getenv)
	if err != nil {
		return err
	}
	return run(ctx, o)
}

func run(ctx context.Context, o options) (err error) {
	s := &soak{
		random: rand.New(rand.NewPCG(o.seed, 0)), counts: map[string]int{},
		failed: map[*bgplab.Router]bool{}, dead: map[*cluster.Node]time.Time{},
	}
	if err := s.start(ctx); err != nil {
		return errors.Join(err, s.close())
	}
	defer func() { err = errors.Join(err, s.close()) }()
	say("%d faults, SEED=%d", o.faults, o.seed)
	for done := 0; done < o.faults; {
		count := min(perRound, o.faults-done)
		if err := s.round(ctx, count); err != nil {
			s.printLogs()
			return fmt.Errorf("SEED=%d, after %d faults: %w", o.seed, done, err)
		}
		done += count
		samples, _ := s.sampler.Faults()
		last := s.sizes[len(s.sizes)-1]
		say("%d faults: no route to a node without the address in %d samples, longest time without one "+
			"%v; %s has %v", done, samples, s.sampler.MaxGap().Round(time.Millisecond),
			s.lab.Nodes[0].Name, last)
	}
	say("done: %v", s.counts)
	if len(s.sizes) < enough {
		return nil // a short soak does not judge growth
	}
	return checkGrowth(s.sizes)
}

func (s *soak) start(ctx context.Context) (err error) {
	if s.kvip, _, err = failover.FindKvip(ctx); err != nil {
		return err
	}
	s.lab, err = bgplab.Start(ctx, bgplab.Config{Cluster: cluster.Config{Progress: os.Stderr}})
	if err != nil {
		return err
	}
	manifest, err := exec.CommandContext(ctx, s.kvip,
		append([]string{"manifest", "pod"}, s.lab.Flags()...)...).Output()
	if err != nil {
		return fmt.Errorf("print the manifest with %s: %w", s.kvip, err)
	}
	s.sampler = s.lab.Sample()
	for _, n := range s.lab.Nodes {
		if _, err := n.RunManifest(s.kvip, manifest); err != nil {
			return err
		}
	}
	if err := s.recover(ctx); err != nil {
		return err
	}
	for _, r := range s.lab.Routers {
		p, err := bgplab.StartProbe(r, cluster.RoutedVIP4)
		if err != nil {
			return err
		}
		s.probes = append(s.probes, p)
	}
	return nil
}

func (s *soak) close() error {
	errs := []error{s.end()}
	for _, p := range s.probes {
		p.Stop()
	}
	if s.sampler != nil {
		_, faults, err := s.sampler.Stop()
		for _, f := range faults {
			err = errors.Join(err, errors.New(f))
		}
		errs = append(errs, err)
	}
	if s.lab != nil {
		errs = append(errs, s.lab.Close())
	}
	return errors.Join(errs...)
}

// round lets some faults happen and the control plane recover, and then a node leave in order.
func (s *soak) round(ctx context.Context, count int) error {
	s.overlap = false
	for range count {
		f := draw.Weighted(s.random, faults, func(f fault) int { return f.weight })
		n := s.lab.Nodes[s.random.IntN(len(s.lab.Nodes))]
		r := s.lab.Routers[s.random.IntN(len(s.lab.Routers))]
		say("%s  %s: %s, %s", time.Now().UTC().Format("15:04:05.000"), f.name, n.Name, r.Host.Name)
		undo, err := f.begin(s, n, r)
		if undo != nil {
			s.undo = append(s.undo, undo)
		}
		if err != nil && !errors.Is(err, errNotNow) {
			return errors.Join(fmt.Errorf("%s: %s, %s: %w", f.name, n.Name, r.Host.Name, err), s.end())
		}
		s.counts[f.name]++
		if err := s.watch(ctx, s.span()); err != nil {
			return errors.Join(err, s.end())
		}
		s.overlap = true
		if s.random.Float64() < together {
			continue
		}
		if err := s.end(); err != nil {
			return err
		}
	}
	if err := errors.Join(s.end(), s.recover(ctx), s.leave(ctx)); err != nil {
		return err
	}
	now, err := sizeOf(s.lab.Nodes[0])
	s.sizes = append(s.sizes, now)
	return err
}

// end ends all faults.
func (s *soak) end() error {
	var errs []error
	for _, undo := range s.undo {
		errs = append(errs, undo())
	}
	s.undo = nil
	return errors.Join(errs...)
}

// watch checks again and again for a time.
func (s *soak) watch(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := s.check(time.Now()); err != nil {
			return err
		}
		if err := wait.Pause(ctx, min(lookEvery, d)); err != nil {
			return err
		}
	}
	return s.check(time.Now())
}

// recover repairs everything and waits until both routers use all nodes, with BFD.
func (s *soak) recover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recoverWithin)
	defer cancel()
	if err := s.lab.Repair(ctx); err != nil {
		return err
	}
	for {
		err := s.converged()
		if err == nil {
			break
		}
		if failed := s.check(time.Now()); failed != nil {
			return failed
		}
		if wait.Pause(ctx, lookEvery) != nil {
			return fmt.Errorf("the control plane does not recover within %v: %w", recoverWithin, err)
		}
	}
	for r := range s.failed {
		s.sampler.Ignore(r, false)
	}
	clear(s.failed)
	return nil
}

// converged returns nil if both routers use all nodes, and all sessions are up.
func (s *soak) converged() error {
	for _, r := range s.lab.Routers {
		via, err := s.lab.Via(r)
		if err != nil {
			return err
		}
		if len(via) != len(s.lab.Nodes) {
			return fmt.Errorf("%s uses %v", r.Host.Name, via)
		}
		sessions, err := r.Sessions()
		if err != nil {
			return err
		}
		for _, i := range sessions {
			if i.BFD != "Up" {
				return fmt.Errorf("BFD of %s with %s is %s", r.Host.Name, i.Neighbor, i.BFD)
			}
		}
	}
	return nil
}

// span draws how long a fault lasts.
func (s *soak) span() time.Duration {
	factor := math.Log(float64(longest) / float64(shortest))
	return time.Duration(float64(shortest) * math.Exp(s.random.Float64()*factor))
}

// printLogs prints what the agents wrote lately.
func (s *soak) printLogs() {
	for _, n := range s.lab.Nodes {
		text, err := os.ReadFile(n.Log("kvip"))
		if err != nil {
			say("%v", err)
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		say("the end of the log of %s:\n  %s", n.Name,
			strings.Join(lines[max(0, len(lines)-logLines):], "\n  "))
	}
}

// say writes a line for people.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
