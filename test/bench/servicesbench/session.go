// Package servicesbench measures few and thousands of Services: when each has its address and
// answers ARP, when the addresses of a dead node answer on another one, and what idle agents cost.
// It judges nothing.
package servicesbench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
	"github.com/kvip/kvip/test/lab/wait"
)

const (
	readyWithin = 2 * time.Minute // for agents, and for everything to be well again
	eachWithin  = 5 * time.Minute // for all of a measurement that is waited for
	settleFor   = 10 * time.Second
)

// idleFor is how long idle agents are measured.
const idleFor = time.Minute

// Run makes the measurements that are missing and writes the report of all results below docs.
// RUNS and N in the environment choose what is measured.
func Run(ctx context.Context, docs string) error { return run(ctx, docs, idleFor) }

func run(ctx context.Context, docs string, idle time.Duration) error {
	opts, err := parseOptions(os.Getenv)
	if err != nil {
		return err
	}
	r, err := openReport(docs)
	if err != nil {
		return err
	}
	s, err := newSession(ctx, opts, r, idle)
	if err != nil {
		return err
	}
	err = s.measure(ctx)
	return errors.Join(err, s.close(), r.write())
}

// session is a lab and what is measured on it.
type session struct {
	opts    options
	report  *report
	idleFor time.Duration
	kvip    string
	version string
	bin     string
	setting benchreport.Setting

	lab    *servicelab.Lab // nil until something has to be measured
	sender netip.Addr      // of the client
}

// newSession finds or builds the programs, which may take minutes the first time.
func newSession(ctx context.Context, opts options, r *report, idle time.Duration) (*session,
	error) {
	s := &session{opts: opts, report: r, idleFor: idle}
	var err error
	if s.kvip, s.version, err = failover.FindKvip(ctx); err != nil {
		return nil, err
	}
	if s.bin, err = cluster.Binaries(os.Stderr); err != nil {
		return nil, err
	}
	s.setting, err = benchreport.ThisSetting(s.bin)
	return s, err
}

// measure makes all measurements that are missing, run after run.
func (s *session) measure(ctx context.Context) error {
	for number := 1; number <= s.opts.runs; number++ {
		missing := slices.DeleteFunc(slices.Clone(s.opts.counts), func(services int) bool {
			return s.report.has(key{s.version, services, number})
		})
		measure := func(i int) error { return s.one(ctx, missing[i], number) }
		err := benchreport.Measure(ctx, len(missing), measure, func(i int, err error) {
			say("%d Services, run %d: %v; again, from a clean state", missing[i], number, err)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// one makes the measurement of one number of Services in one run.
func (s *session) one(ctx context.Context, services, number int) error {
	if err := s.prepare(ctx, services); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*eachWithin+s.idleFor)
	defer cancel()
	r := result{Services: services, Run: number, Setting: s.setting, Version: s.version,
		Date: time.Now()}
	a, err := servicelab.StartARPClient(ctx, s.lab.Client, s.sender)
	if err != nil {
		return err
	}
	defer a.Close()
	defer cancel()
	if err := s.births(ctx, a, &r); err != nil {
		return err
	}
	say("%d Services, run %d: created in %s; address within %s (p95 %s), answers within %s (p95 %s)",
		services, number,
		r.Creating.Round(time.Millisecond), r.Address.Max.Round(time.Millisecond),
		r.Address.P95.Round(time.Millisecond),
		r.Answer.Max.Round(time.Millisecond), r.Answer.P95.Round(time.Millisecond))
	if err := wait.Pause(ctx, settleFor); err != nil {
		return err
	}
	if r.Allocator, err = s.allocator(ctx); err != nil {
		return err
	}
	if r.idle, err = measureIdle(ctx, s.lab, s.idleFor); err != nil {
		return err
	}
	say("  idle: CPU %.2f %%, RSS %.0f MiB (peak %.0f), %.2f reads and %.2f writes a second; %s "+
		"gives out addresses", r.CPU, r.RSS, r.Peak, r.Reads, r.Writes, r.Allocator)
	if err := s.death(ctx, a, &r); err != nil {
		return err
	}
	say("  %s without power: its %d addresses elsewhere within %s", r.Dead, r.DeadAddresses,
		r.Elsewhere.Max.Round(time.Millisecond))
	return s.report.add(r)
}

// prepare makes a lab without Services but with their endpoints, and with agents that know each
// other.
func (s *session) prepare(ctx context.Context, services int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, eachWithin)
	defer cancel()
	if s.lab == nil {
		if err := s.start(ctx); err != nil {
			return err
		}
	} else if err := clean(ctx, s.lab); err != nil {
		return err
	}
	if err := s.lab.RegisterNodes(ctx, s.lab.Nodes...); err != nil {
		return err
	}
	if err := s.lab.Addresses(ctx, "bench", servicelab.WidePool); err != nil {
		return err
	}
	if err := endpoints(ctx, s.lab, services); err != nil {
		return err
	}
	if err := s.lab.StartAgents(s.lab.Nodes); err != nil {
		return err
	}
	return agreed(ctx, s.lab)
}

// start starts a lab with room for thousands of addresses.
func (s *session) start(ctx context.Context) (err error) {
	s.lab, err = servicelab.Start(ctx, servicelab.Config{
		Kvip: s.kvip, Cluster: cluster.Config{Binaries: s.bin, Progress: os.Stderr,
			API: cluster.APIOptions{Audit: true}},
	})
	if err != nil {
		return err
	}
	s.sender, err = s.lab.WidenSubnet()
	return err
}

// agreed waits until every agent has a fresh view in which all are alive.
func agreed(ctx context.Context, l *servicelab.Lab) error {
	for _, n := range l.Nodes {
		err := wait.For(ctx, "a fresh view on "+n.Name, func() bool {
			r, err := l.Report(n, "")
			return err == nil && r.Fresh && len(r.Alive) == len(l.Nodes)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *session) close() error {
	if s.lab == nil {
		return nil
	}
	return s.lab.Close()
}

// say writes a line for people.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
