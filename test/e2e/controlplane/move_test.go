package controlplane

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/quorum"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

// load is a client with a new connection every 10 ms, and long connections, half of them with
// requests that take 20 ms.
type load struct {
	s     *env
	short *netlab.Client
	long  *netlab.Connections
	began time.Time
}

func (s *env) startLoad(count int) *load {
	s.t.Helper()
	conf, err := s.c.TLS()
	s.must(err)
	to := netip.AddrPortFrom(s.vips[0], cluster.Port)
	l := &load{s: s}
	l.long, err = netlab.StartConnections(netlab.ConnectionsConfig{
		Host: s.c.Client, Target: to, TLS: conf, Count: count, Slow: 20 * time.Millisecond,
	})
	s.must(err)
	s.t.Cleanup(l.long.Stop)
	l.short, err = netlab.StartClient(netlab.ClientConfig{
		Host: s.c.Client, Target: to, TLS: conf, Path: "/livez/ping", Timeout: 2 * time.Second,
	})
	s.must(err)
	s.t.Cleanup(l.short.Stop)
	l.began = time.Now()
	return l
}

// check fails the test if a request failed or a connection broke.
func (l *load) check() {
	l.s.t.Helper()
	l.short.Stop()
	l.long.Stop()
	broken, answers, slowest := l.long.Result()
	failed := map[string]int{}
	var slow time.Duration
	requests := l.short.Requests(l.began)
	for _, r := range requests {
		slow = max(slow, r.Took)
		if !r.OK() {
			failed[r.Result]++
			l.s.t.Logf("a request at %s: %s after %v", r.Start.Format("15:04:05.000"), r.Result, r.Took)
		}
	}
	for _, b := range broken {
		l.s.t.Logf("a connection of %s broke at %s: %s", b.Opened.Format("15:04:05.000"),
			b.At.Format("15:04:05.000"), b.Result)
	}
	l.s.t.Logf("%d requests, %v failed, slowest %v; %d answers on long ones, %d broke, slowest %v",
		len(requests), failed, slow, answers, len(broken), slowest)
	if len(failed) > 0 || len(broken) > 0 {
		l.s.t.Error("a move lost requests or connections")
	}
}

// TestF11MoveWithoutLoss: `kvip move`, and the end of an agent, lose no request and no connection.
func TestF11MoveWithoutLoss(t *testing.T) {
	s := newEnv(t)
	s.waitFast()
	time.Sleep(2 * quorum.MaxWindow)
	l := s.startLoad(50)
	for i := range 5 {
		old := s.holder()
		next := s.c.Others(old)[i%2]
		out, diagnostics, err := s.runKvip(old, "move", next.Name)
		if err != nil || !strings.HasPrefix(out, "moved from "+old.Name+" to "+next.Name) {
			t.Fatalf("%q, %v: %s", out, err, diagnostics)
		}
		t.Log(strings.TrimSpace(out))
		s.waitMoved(old)
		time.Sleep(time.Second)
	}
	old := s.holder()
	s.must(old.Agent().SendTerm())
	s.waitMoved(old)
	time.Sleep(time.Second)
	l.check() // the agent serves the long connections until here
	s.must(s.c.Heal(t.Context()))
	s.waitSettled()
	s.checkEvents()
}
