// Package failoverbench measures the outage of the VIP in each fault of its holder, for kvip and,
// on the same nodes in the same session, for keepalived, and what idle agents cost. It judges
// nothing.
package failoverbench

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
	"github.com/kvip/kvip/test/lab/cluster"
)

const (
	readyWithin = time.Minute            // for all nodes to be ready after a fault
	watchAfter  = 500 * time.Millisecond // after the VIP answers again
)

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
	err = s.measure(ctx)
	return errors.Join(err, s.close(), r.write())
}

// session is a cluster and what is measured on it.
type session struct {
	opts    options
	report  *report
	tools   []failover.Tool
	setting benchreport.Setting
	bin     string

	cluster *cluster.Cluster // nil until something has to be measured
	running failover.Tool    // nil: no agents run
	left    int              // measurements to make
	spent   time.Duration    // on those made
	made    int
}

// newSession finds or builds the programs, which may take minutes the first time.
func newSession(ctx context.Context, opts options, r *report) (*session, error) {
	s := &session{opts: opts, report: r}
	for _, name := range opts.tools {
		t, err := findTool(ctx, name)
		if err != nil {
			return nil, err
		}
		s.tools = append(s.tools, t)
	}
	var err error
	if s.bin, err = cluster.Binaries(os.Stderr); err != nil {
		return nil, err
	}
	s.setting, err = benchreport.ThisSetting(s.bin)
	return s, err
}

func findTool(ctx context.Context, name string) (failover.Tool, error) {
	if name == failover.KeepalivedName {
		return failover.NewKeepalived(cluster.VIP4)
	}
	path, version, err := failover.FindKvip(ctx)
	if err != nil {
		return nil, err
	}
	if name == failover.KvipQuick {
		return failover.NewKvipQuick(ctx, path, version, cluster.VIP4)
	}
	return failover.NewKvip(ctx, path, version, cluster.VIP4)
}

// measure makes all measurements that are missing: round after round, so that whatever else
// the machine does meets both tools, and the tool that ran last goes first.
func (s *session) measure(ctx context.Context) error {
	done := s.report.done()
	for number := 1; number <= s.opts.runs; number++ {
		for _, t := range s.tools {
			s.left += len(s.missing(done, t, number))
		}
	}
	say("%d measurements to make", s.left)
	order := slices.Clone(s.tools)
	for number := 1; number <= max(s.opts.runs, 1); number++ {
		for _, t := range order {
			if err := s.round(ctx, t, number, s.missing(done, t, number)); err != nil {
				return err
			}
		}
		slices.Reverse(order)
	}
	return nil
}

// missing returns the faults that one tool has not met in one round.
func (s *session) missing(done map[key]bool, t failover.Tool, number int) []failover.Fault {
	return slices.DeleteFunc(failover.Faults(), func(f failover.Fault) bool {
		return number > s.opts.runs || !f.Meets(t.Name()) || !slices.Contains(s.opts.faults, f.Key) ||
			done[key{t.Name(), t.Version(), f.Key, number}]
	})
}

// round measures one tool once under each of the faults, and idle if that is missing.
func (s *session) round(ctx context.Context, t failover.Tool, number int,
	faults []failover.Fault) error {
	idles := t.Name() != failover.KvipQuick && slices.Contains(s.opts.faults, idleKey)
	if idles && !s.report.hasIdle(t) {
		if err := s.idle(ctx, t); err != nil {
			return err
		}
	}
	measure := func(i int) error {
		start := time.Now()
		if err := s.fault(ctx, t, faults[i], number); err != nil {
			return err
		}
		s.progress(time.Since(start))
		return nil
	}
	return benchreport.Measure(ctx, len(faults), measure, func(_ int, err error) {
		say("%s, run %d: %v; again, from a clean state", t.Name(), number, err)
		s.printLogs(t)
		s.running = nil
	})
}

// printLogs prints the end of each agent's log, which the next start removes.
func (s *session) printLogs(t failover.Tool) {
	if s.cluster == nil {
		return
	}
	for _, n := range s.cluster.Nodes {
		text, err := os.ReadFile(t.Log(n))
		if err != nil {
			continue // it has not been started
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		say("%s of %s:\n  %s", t.Name(), n.Name, strings.Join(lines[max(0, len(lines)-15):], "\n  "))
	}
}

// fault measures one fault and repairs what it broke.
func (s *session) fault(ctx context.Context, t failover.Tool, f failover.Fault, number int) error {
	if err := s.use(ctx, t); err != nil {
		return err
	}
	result, err := s.inject(ctx, f)
	if err != nil {
		return err
	}
	if err := s.report.add(newRun(t, f, number, result, s.setting)); err != nil {
		return err
	}
	note := ""
	if !result.Back {
		note = ", NOT served by another node in the end"
	}
	if result.Broken > 0 {
		note += fmt.Sprintf(", %d connections broke", result.Broken)
	}
	say("%-10s run %2d  %-34s outage %5.0f ms, %d failed in %v, two holders in %d of %d samples "+
		"(longest gap %s)%s",
		t.Name(), number, f.Name,
		float64(result.Outage.Milliseconds()), result.Failed,
		result.FailedFor.Round(time.Millisecond), result.Holding.TwoHolders, result.Holding.Samples,
		result.Holding.MaxGap.Round(time.Millisecond), note)
	s.explain(t, f, result)
	return s.repair(ctx)
}

// inject waits for a steady state and lets the holder fail.
func (s *session) inject(ctx context.Context, f failover.Fault) (result failover.Result,
	err error) {
	w, err := failover.StartWatch(s.cluster, cluster.VIP4, f.Page)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, w.Stop()) }()
	ready, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	holder, err := w.Steady(ready)
	if err != nil {
		return result, err
	}
	return failover.Run(ctx, w, f, holder, failover.Pace{After: watchAfter})
}

// explain prints the logs of kvip's agents in a run that missed its target.
func (s *session) explain(t failover.Tool, f failover.Fault, r failover.Result) {
	if !r.Missed(f) || t.Name() == failover.KeepalivedName {
		return
	}
	say("  missed; what the agents wrote since %s, when %s was broken:",
		r.Start.UTC().Format("15:04:05.000"), r.Victim)
	for _, n := range s.cluster.Nodes {
		text, err := os.ReadFile(t.Log(n))
		if err != nil {
			say("  %s: %v", n.Name, err)
			continue
		}
		lines := benchreport.LogSince(string(text), r.Start.Add(-time.Second))
		say("  %s:\n    %s", n.Name, strings.Join(lines, "\n    "))
	}
}

// repair heals the cluster and waits until every node could take over again.
func (s *session) repair(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := s.cluster.Heal(ctx); err != nil {
		return err
	}
	return failover.AllReady(ctx, s.cluster, s.running)
}

// use makes a tool's agents run, on a clean cluster, and no others.
func (s *session) use(ctx context.Context, t failover.Tool) (err error) {
	if s.running == t {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*readyWithin)
	defer cancel()
	if s.cluster == nil {
		s.cluster, err = cluster.Start(ctx, cluster.Config{
			Binaries: s.bin, Progress: os.Stderr,
			API: cluster.APIOptions{ShutdownDelay: failover.ShutdownDelay},
		})
		if err != nil {
			return err
		}
	}
	s.running = nil
	if err := s.cluster.Reset(ctx); err != nil {
		return err
	}
	for _, n := range s.cluster.Nodes {
		if err := t.Start(n); err != nil {
			return err
		}
	}
	s.running = t
	return failover.AllReady(ctx, s.cluster, t)
}

// idle measures agents that have nothing to do.
func (s *session) idle(ctx context.Context, t failover.Tool) error {
	if err := s.use(ctx, t); err != nil {
		return err
	}
	w, err := failover.StartWatch(s.cluster, cluster.VIP4, "")
	if err != nil {
		return err
	}
	holder, err := w.Steady(ctx)
	if err = errors.Join(err, w.Stop()); err != nil {
		return err
	}
	say("%-10s idle for %s", t.Name(), idleFor)
	agents, err := measureIdle(ctx, s.cluster, t, holder.Name, s.setting)
	if err != nil {
		return err
	}
	for _, a := range agents {
		say("%-10s idle    %s (%s): %.2f %% of a core, %.1f MiB, %.2f API writes/s in all", a.Tool,
			a.Node, a.Role, a.CPU, a.RSS, a.Writes)
	}
	return s.report.addIdle(agents)
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
	if s.cluster == nil {
		return nil
	}
	return s.cluster.Close()
}

// say writes a line for people.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
