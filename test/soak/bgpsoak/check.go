package bgpsoak

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/lab/bgplab"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/wait"
	"github.com/kvip/kvip/test/soak/growth"
)

const (
	// holdTime is what the routers offer.
	holdTime = 9 * time.Second
	// slack is what a busy machine may add to each bound.
	slack = 2 * time.Second
	// judgedWithin is how long kvip takes at most until it knows that an API server is dead: one that
	// hangs is silent for 1 s (E7).
	judgedWithin = 1500 * time.Millisecond
	// detectedWithin is how long routers take at most to lose an agent by BFD, 3 times 300 ms and the
	// time of FRR.
	detectedWithin = 1500 * time.Millisecond
	// orphanedFor is how long an address may be there without its route (B7).
	orphanedFor = holdTime + 4*time.Second
)

// deadBound is how long routers may use a node whose API server is dead. The agent may freeze as
// soon as the server is silent: then BFD ends the route, and not the agent. A fault before that may
// have ended BFD, which is not up again at once: then only the hold time ends it.
func (s *soak) deadBound() time.Duration {
	if s.overlap {
		return judgedWithin + holdTime + slack
	}
	return judgedWithin + detectedWithin + slack
}

// dies notes that the API server of a node is dead from now on.
func (s *soak) dies(n *cluster.Node) {
	if _, known := s.dead[n]; !known {
		s.dead[n] = time.Now()
	}
}

// lives notes that it is not any more.
func (s *soak) lives(n *cluster.Node) { delete(s.dead, n) }

// fail notes that a router has failed. Its kernel keeps its routes.
func (s *soak) fail(r *bgplab.Router) {
	s.failed[r] = true
	s.sampler.Ignore(r, true)
}

// check returns an error if a router has a route that it must not have.
func (s *soak) check(now time.Time) error {
	if samples, faults := s.sampler.Faults(); faults > 0 {
		return fmt.Errorf("a router had a route to a node without the address in %d of %d samples",
			faults, samples)
	}
	for n, since := range s.dead {
		for _, r := range s.lab.Routers {
			if s.failed[r] {
				continue
			}
			for _, p := range bgplab.Prefixes() {
				has, _ := s.sampler.Has(r, n, p)
				if age := now.Sub(since); has && age > s.deadBound() {
					return fmt.Errorf("%s sends packets for %s to %s, whose API server is dead for %v",
						r.Host.Name, p, n.Name, age.Round(time.Millisecond))
				}
			}
		}
	}
	return nil
}

// leave ends an agent in order, and returns an error if a packet got lost (B4).
func (s *soak) leave(ctx context.Context) error {
	n := s.lab.Nodes[1+s.random.IntN(len(s.lab.Nodes)-1)]
	if err := wait.For(ctx, "the probes to be answered", func() bool {
		for _, p := range s.probes {
			if !p.Answering() {
				return false
			}
		}
		return true
	}); err != nil {
		return err
	}
	began := time.Now()
	a := n.Agent()
	if err := a.SendTerm(); err != nil {
		return err
	}
	<-a.Done()
	if err := wait.Pause(ctx, probesEnd); err != nil {
		return err
	}
	for i, p := range s.probes {
		if lost, sent := p.Loss(began); lost > 0 {
			return fmt.Errorf("%d of %d packets behind %s were lost when %s left", lost, sent,
				s.lab.Routers[i].Host.Name, n.Name)
		}
	}
	if has, err := bgplab.HasAddresses(n); has || err != nil {
		return errors.Join(err, fmt.Errorf("%s has the addresses after its agent left: %v", n.Name, has))
	}
	return errors.Join(n.RestartAgent(), s.recover(ctx))
}

// probesEnd is the time until each probe was answered or lost.
const probesEnd = 1100 * time.Millisecond

// size is what the agent of the first node uses, which lives for the whole soak.
type size struct{ goroutines, files, resident float64 }

func (s size) String() string {
	return fmt.Sprintf("%.0f goroutines, %.0f files, %.1f MiB resident", s.goroutines, s.files,
		s.resident)
}

const (
	// mostResident is the limit of an agent with two peers, in MiB.
	mostResident = 60
	// enough is how many sizes a judgement of growth needs: until caches are full, agents grow.
	enough      = 6
	pageTimeout = 5 * time.Second
)

// sizeOf measures the agent of a node.
func sizeOf(n *cluster.Node) (s size, err error) {
	pid := n.Agent().PID()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return s, err
	}
	s.files, s.resident = float64(len(files)), benchreport.Memory(pid)
	client := &http.Client{Timeout: pageTimeout,
		Transport: &http.Transport{DialContext: n.Host.Dial, DisableKeepAlives: true}}
	response, err := client.Get("http://127.0.0.1:2112/metrics")
	if err != nil {
		return s, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	for line := range strings.Lines(string(body)) {
		if text, ok := strings.CutPrefix(line, "go_goroutines "); ok {
			s.goroutines, err = strconv.ParseFloat(strings.TrimSpace(text), 64)
		}
	}
	if err == nil && s.goroutines == 0 {
		err = fmt.Errorf("read /metrics of %s: go_goroutines is missing", n.Name)
	}
	if s.resident > mostResident && !raceDetector(pid) {
		err = errors.Join(err, fmt.Errorf("the agent of %s uses %.1f MiB, the limit is %d", n.Name,
			s.resident, mostResident))
	}
	return s, err
}

// raceDetector reports whether a process was built with the race detector, which doubles its
// memory.
func raceDetector(pid int) bool {
	info, err := buildinfo.ReadFile(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool {
		return s.Key == "-race" && s.Value == "true"
	})
}

// checkGrowth is an error if the sizes of the agent grew.
func checkGrowth(sizes []size) error {
	var goroutines, files, resident []float64
	for _, s := range sizes {
		goroutines, files = append(goroutines, s.goroutines), append(files, s.files)
		resident = append(resident, s.resident)
	}
	return errors.Join(growth.Check("goroutines", goroutines, 1, 10),
		growth.Check("open files", files, 1, 6), growth.Check("MiB resident", resident, 1.25, 10))
}
