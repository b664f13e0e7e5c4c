package controlplane

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/testutil"
)

const (
	overloadSpan = 60 * time.Second
	controlSpan  = 8 * time.Second
	hungWithin   = 15 * time.Second // no measure: a hung server must be distinguished from load
)

// Samples of the agents: addresses taken after an orderly release, and deadlines that passed.
const (
	movesInOrder = `kvip_transitions_total{reason="Released"}`
	movesInFast  = `kvip_transitions_total{reason="Goodbye"}`
	fenceExpired = `kvip_fence_expiries_total`
)

// TestOverload gives all API servers together so little of the CPU that a client with 100
// new TLS connections a second is too much for them. Nothing has failed, so no holder takes its API
// server for dead, the address moves in order twice at most in a minute, and while the Lease is
// renewed in time the client fares no worse than at an address that cannot move. Then the holder's
// API server hangs under the same load, and is left (E6, E7).
func TestOverload(t *testing.T) {
	s := newEnv(t, "--vip="+cluster.VIP4.String())
	without := s.starve()
	load, err := s.c.StartClient(cluster.VIP4)
	s.must(err)
	defer func() { load.Stop() }()
	inOrder := func() float64 { return s.count(movesInOrder) + s.count(movesInFast) }
	moved, expired := inOrder(), s.count(fenceExpired)
	began := time.Now()
	time.Sleep(overloadSpan)
	with := failing(load.Requests(began))
	moved, expired = inOrder()-moved, s.count(fenceExpired)-expired
	t.Logf("%.0f %% of the requests failed at an address that cannot move, %.0f %% at the VIP, "+
		"which moved: %v; %v times in order, and %v deadlines passed",
		100*without, 100*with, s.moves(began), moved, expired)
	if moved > 2 {
		t.Errorf("the address moved %v times in %v although nothing had failed", moved, overloadSpan)
	}
	// API servers that answer no renewal in time cost the address, whatever kvip does.
	renewed := expired == 0
	if renewed && with > without+0.25 { // the machine may be busier now
		load.Stop()
		without = max(without, s.control(s.holder().Host.Addr(true)))
		again, err := s.c.StartClient(cluster.VIP4)
		s.must(err)
		load = again
	}
	if renewed && with > without+0.25 {
		t.Errorf("%.0f %% of the requests failed, and %.0f %% without moves", 100*with, 100*without)
	}
	for _, n := range s.c.Nodes {
		for line := range strings.Lines(logOf(s, n)) {
			if strings.Contains(line, "API server is dead") {
				t.Errorf("%s took its API server for dead: %s", n.Name, line)
			}
		}
	}

	old := s.holder()
	stopped := time.Now()
	s.must(old.FreezeAPI())
	next := s.waitMoved(old)
	took := time.Since(stopped)
	t.Logf("hung under the load: moved from %s to %s in %v", old.Name, next.Name,
		took.Round(time.Millisecond))
	if took > hungWithin {
		t.Errorf("a hung API server was left only after %v", took)
	}
	s.must(old.ThawAPI())
}

// starve limits the API servers' CPU time until the end of the story, to so little that
// some requests of the client at an API server's own address fail, and returns how many. It begins
// with a limit at which none should: where nearly all fail, no lease can be renewed in time.
func (s *env) starve() float64 {
	s.t.Helper()
	for cores := 0.8; cores > 0.02; cores *= 0.75 {
		undo, err := s.c.LimitAPIs(cores)
		if errors.Is(err, netlab.ErrNoQuota) {
			testutil.Unavailable(s.t, err.Error())
		}
		s.must(err)
		failed := s.control(s.holder().Host.Addr(true))
		s.t.Logf("with %.2f cores %.0f %% of the requests fail", cores, 100*failed)
		if failed > 0.1 {
			s.t.Cleanup(func() { // before finish, which wants a healthy cluster
				if err := undo(); err != nil {
					s.t.Error(err)
				}
			})
			return failed
		}
		s.must(undo())
	}
	s.t.Fatal("no quota makes the API servers slow")
	return 0
}

// control returns the part of the client's requests that fail at one address.
func (s *env) control(to netip.Addr) float64 {
	s.t.Helper()
	load, err := s.c.StartClient(to)
	s.must(err)
	began := time.Now()
	time.Sleep(controlSpan)
	load.Stop()
	return failing(load.Requests(began))
}

// failing returns the part of the requests that were not answered.
func failing(requests []netlab.Request) float64 {
	failed := 0
	for _, r := range requests {
		if !r.OK() {
			failed++
		}
	}
	return float64(failed) / float64(max(1, len(requests)))
}

// moves lists the holders that followed another since an instant.
func (s *env) moves(since time.Time) (list []string) {
	last := ""
	for _, c := range s.sampler.Window(since, time.Time{}).Timeline {
		if len(c.Holders) == 0 || slices.Contains(c.Holders, last) {
			continue
		}
		if last != "" {
			list = append(list, last+" to "+c.Holders[0]+" after "+
				c.At.Sub(since).Round(time.Millisecond).String())
		}
		last = c.Holders[0]
	}
	return list
}
