// Package bgpbench measures the faults of nodes that announce an address by BGP to FRR and BIRD:
// what clients behind the routers lose, and how long the routers' kernels have the route. kvip runs
// beside BIRD and MetalLB's native speaker, on the same nodes in the same session. It judges
// nothing.
package bgpbench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/bgplab"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/routerlab"
	"github.com/kvip/kvip/test/lab/wait"
)

// readyWithin bounds the time until all routes are there after a fault.
const readyWithin = 2 * time.Minute

// Run makes the measurements that are missing and writes the report of all results below docs.
// RUNS, TOOL and FAULT in the environment choose what is measured.
func Run(ctx context.Context, docs string) error {
	opts, err := parseOptions(os.Getenv)
	if err != nil {
		return err
	}
	r, err := openReport(docs)
	if err != nil {
		return err
	}
	s, err := newSession(ctx, opts, r)
	if err != nil {
		return err
	}
	err = s.measureAll(ctx)
	return errors.Join(err, s.close(), r.write())
}

// session is a lab and what is measured in it.
type session struct {
	opts     options
	report   *report
	speakers []speaker
	setting  benchreport.Setting
	bin      string

	lab     *bgplab.Lab // nil until something has to be measured
	routing string      // timers of the routers
	running speaker     // nil: none runs
	number  int         // of the round
	left    int         // measurements to make
	made    int
	spent   time.Duration
}

// newSession finds or builds the programs.
func newSession(ctx context.Context, opts options, r *report) (*session, error) {
	s := &session{opts: opts, report: r, routing: slowTimers}
	for _, name := range opts.speakers {
		one, err := findSpeaker(ctx, name)
		if err != nil {
			return nil, err
		}
		s.speakers = append(s.speakers, one)
	}
	var err error
	if s.bin, err = cluster.Binaries(os.Stderr); err != nil {
		return nil, err
	}
	s.setting, err = benchreport.ThisSetting(s.bin)
	return s, err
}

// measureAll makes what is missing: round after round, so that whatever else the machine does meets
// all speakers, and the one that ran last goes first.
func (s *session) measureAll(ctx context.Context) error {
	done := s.report.done()
	for number := 1; number <= s.opts.runs; number++ {
		for _, one := range s.speakers {
			s.left += len(s.missing(done, one, number))
		}
	}
	say("%d measurements to make", s.left)
	order := slices.Clone(s.speakers)
	for number := 1; number <= s.opts.runs; number++ {
		for _, one := range order {
			if err := s.round(ctx, one, number, s.missing(done, one, number)); err != nil {
				return err
			}
		}
		slices.Reverse(order)
	}
	return nil
}

// missing returns the faults that one speaker has not met in one round.
func (s *session) missing(done map[key]bool, one speaker, number int) []fault {
	return slices.DeleteFunc(faults(), func(f fault) bool {
		return !f.meets(one) || !slices.Contains(s.opts.faults, f.key) ||
			done[key{nameOf(one), one.version(), f.key, number}]
	})
}

// round measures one speaker once under each of the faults.
func (s *session) round(ctx context.Context, one speaker, number int, list []fault) error {
	s.number = number
	measure := func(i int) error {
		start := time.Now()
		if err := s.measure(ctx, one, list[i], number+i); err != nil {
			return err
		}
		s.progress(time.Since(start))
		return nil
	}
	return benchreport.Measure(ctx, len(list), measure, func(_ int, err error) {
		say("%s, run %d: %v; again, from a clean state", nameOf(one), number, err)
		s.printLogs(one, 15)
		if s.running != nil {
			_ = s.running.stop(s.lab) // the next start reports what is wrong
			s.running = nil
		}
	})
}

// printLogs prints the end of each speaker's log.
func (s *session) printLogs(one speaker, lines int) {
	if s.lab == nil {
		return
	}
	for _, n := range s.lab.Nodes {
		text, err := os.ReadFile(one.log(n))
		if err != nil {
			continue // it has not been started
		}
		list := strings.Split(strings.TrimSpace(string(text)), "\n")
		say("%s of %s:\n  %s", nameOf(one), n.Name,
			strings.Join(list[max(0, len(list)-lines):], "\n  "))
	}
}

// measure measures one fault and repairs what it broke. The victim depends on turn.
func (s *session) measure(ctx context.Context, one speaker, f fault, turn int) (err error) {
	if err := s.use(ctx, one); err != nil {
		return err
	}
	o, err := s.observe(f, turn)
	if err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	err = o.steady(ready)
	var r result
	if err == nil {
		r, err = o.measure(ctx)
	}
	if err = errors.Join(err, o.close()); err != nil {
		return err
	}
	if err := s.report.add(newRun(one, f, s.number, r, s.setting)); err != nil {
		return err
	}
	say("%-10s run %2d  %-18s %s: outage %s, gone %s, back %s, %d of %d packets, %d of %d requests, "+
		"misrouted in %d of %d samples (longest gap %s)", nameOf(one), s.number, f.key, r.victim,
		both(r.outage), both(r.gone), both(r.back), r.lost, r.sent, r.failed, r.requests, r.misrouted,
		r.samples, r.gap.Round(time.Millisecond))
	s.explain(one, f, r)
	return s.repair(ctx)
}

// both are the figures of FRR and BIRD.
func both(d [2]time.Duration) string {
	text := func(d time.Duration) string {
		if d < 0 {
			return "-"
		}
		return failover.Figure(d)
	}
	return text(d[0]) + "/" + text(d[1])
}

// explain prints the logs of kvip's agents in a run that missed its target.
func (s *session) explain(one speaker, f fault, r result) {
	if one.kind() != kvipKind || !missed(f, one.timers(), r) {
		return
	}
	say("  missed; what the agents wrote since %s:", r.start.UTC().Format("15:04:05.000"))
	for _, n := range s.lab.Nodes {
		text, err := os.ReadFile(one.log(n))
		if err != nil {
			say("  %s: %v", n.Name, err)
			continue
		}
		say("  %s:\n    %s", n.Name,
			strings.Join(benchreport.LogSince(string(text), r.start.Add(-time.Second)), "\n    "))
	}
}

// use makes one speaker run on all nodes, and no other.
func (s *session) use(ctx context.Context, one speaker) (err error) {
	if s.running == one {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if s.lab == nil {
		s.lab, err = bgplab.Start(ctx, bgplab.Config{Cluster: cluster.Config{
			Binaries: s.bin, Progress: os.Stderr,
			API: cluster.APIOptions{ShutdownDelay: failover.ShutdownDelay},
		}})
		if err != nil {
			return err
		}
	}
	if before := s.running; before != nil {
		s.running = nil
		if err := before.stop(s.lab); err != nil {
			return err
		}
	}
	if err := s.lab.Repair(ctx); err != nil {
		return err
	}
	if s.routing != one.timers() {
		if err := s.lab.SetBFD(bfdTimers(one.timers())); err != nil {
			return err
		}
		s.routing = one.timers()
	}
	s.running = one
	return s.start(ctx)
}

// start starts the speaker where it does not run, and waits until it is at its best.
func (s *session) start(ctx context.Context) error {
	for _, n := range s.lab.Nodes {
		if err := s.running.start(s.lab, n); err != nil {
			return err
		}
	}
	return wait.Until(ctx, "all routes of "+nameOf(s.running), 5*lookEvery, s.complete)
}

// complete returns nil if both routers have the routes of all nodes, by the best path, and BFD with
// them.
func (s *session) complete() error {
	if err := s.bestPaths(); err != nil {
		return err
	}
	for _, r := range s.lab.Routers {
		via, err := s.lab.ViaOf(r, address)
		if err != nil {
			return err
		}
		if len(via) != len(s.lab.Nodes) {
			return fmt.Errorf("%s uses %v", r.Host.Name, via)
		}
		if s.running.timers() == holdTimers {
			continue
		}
		sessions, err := r.Sessions()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(sessions,
			func(i routerlab.SessionInfo) bool { return i.BFD != "Up" }) {
			return fmt.Errorf("BFD of %s is not up", r.Host.Name)
		}
	}
	return nil
}

// bestPaths returns nil if all agents of kvip announce the best path. Other speakers have one path.
func (s *session) bestPaths() error {
	if s.running.kind() != kvipKind {
		return nil
	}
	for _, n := range s.lab.Nodes {
		log, err := os.ReadFile(s.running.log(n))
		if err != nil {
			return err
		}
		if !announcesIn(string(log)) {
			return fmt.Errorf("%s announces a worse path, or none", n.Name)
		}
	}
	return nil
}

// repair ends the fault and waits until all routes are there.
func (s *session) repair(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := s.lab.Repair(ctx); err != nil {
		return err
	}
	return s.start(ctx)
}

func (s *session) progress(took time.Duration) {
	s.made++
	s.left--
	s.spent += took
	if each := s.spent / time.Duration(s.made); s.made%10 == 0 && s.left > 0 {
		say("%d to go, about %s", s.left, (each * time.Duration(s.left)).Round(10*time.Second))
	}
}

func (s *session) close() error {
	if s.lab == nil {
		return nil
	}
	var err error
	if s.running != nil {
		err = s.running.stop(s.lab)
	}
	return errors.Join(err, s.lab.Close())
}

// say writes a line for people.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
