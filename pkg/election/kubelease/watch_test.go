package kubelease

import (
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

// renew renews the Lease and returns its new version.
func (l *lab) renew() uint64 {
	l.t.Helper()
	got := l.write(election.Action{Kind: election.Renew, Base: l.read(), Record: tenure()})
	if got != election.OutcomeOK {
		l.t.Fatalf("renew: outcome %d", got)
	}
	return l.read().Version
}

func (l *lab) awaitVersion(version uint64) {
	l.t.Helper()
	l.await("the renewal", func(r election.Record) bool { return r.Version == version })
}

// TestWatchRestarts: after an API server ended a watch, the next one shows the changes since.
func TestWatchRestarts(t *testing.T) {
	l := newLab(t, 1)
	version := l.holding().Version
	l.run()
	for range 3 {
		l.awaitVersion(version)
		l.servers[0].EndWatches()
		version = l.renew()
	}
	l.awaitVersion(version)
}

// TestWatchAfterGone: after 410 Gone the Lease is read again and watched from there.
func TestWatchAfterGone(t *testing.T) {
	l := newLab(t, 1)
	version := l.holding().Version
	l.run()
	l.awaitVersion(version)
	version = l.renew()
	l.store.Compact()
	l.servers[0].EndWatches()
	l.awaitVersion(version)
	l.awaitVersion(l.renew())
}

// TestWatchThatStartsTooLate: the watch gets 410 Gone, because the API server compacted its history
// after the read.
func TestWatchThatStartsTooLate(t *testing.T) {
	l := newLab(t, 1)
	version := l.holding().Version
	l.store.Compact()
	l.run()
	l.awaitVersion(version)
	l.awaitVersion(l.renew())
}

// E12: the API server starts after the agent, hangs, or is replaced. The watch starts again, and
// Run does not return.
func TestWatchSurvivesTheServer(t *testing.T) {
	l := newLab(t, 2)
	version := l.holding().Version
	address := dead(t)
	l.at(address)
	l.run()
	testutil.Eventually(l.t, "a problem", func() bool {
		return strings.Contains(l.driver.cfg.Health.NotReady(), "refused")
	})
	l.at(l.servers[1].Host)
	l.awaitVersion(version)
	testutil.Eventually(l.t, "the watch",
		func() bool { return l.servers[1].RequestCount("GET", "/leases") == 2 })
	l.servers[1].SetMode(fakeapi.Hang)
	l.servers[1].EndWatches()
	testutil.Eventually(l.t, "a list without an answer", func() bool {
		return l.servers[1].RequestCount("GET", "/leases") == 3
	})
	l.servers[1].SetMode(fakeapi.Serving)
	l.awaitVersion(l.renew())
}

// TestWatchThatNeverBegins: an API server that answers the list and not the watch is left, although
// the connection is alive.
func TestWatchThatNeverBegins(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	version := l.holding().Version
	l.servers[0].SetWatchMode(fakeapi.Hang)
	l.run()
	l.awaitVersion(version)
	testutil.Eventually(l.t, "the watch", func() bool { return l.servers[0].WatchCount() == 1 })
	version = l.renew()
	l.servers[0].SetWatchMode(fakeapi.Serving)
	l.awaitVersion(version)
	l.awaitVersion(l.renew())
}

// TestRunEndsWithoutAReader: Run returns although no event is read.
func TestRunEndsWithoutAReader(t *testing.T) {
	l := newLab(t, 1)
	l.holding()
	l.driver.events = make(chan election.Event) // no room
	l.run()
	testutil.Eventually(l.t, "the watch",
		func() bool { return l.servers[0].RequestCount("GET", "/leases") > 0 })
}

// TestRead returns when the holder renewed, by its wall clock. A missing Lease is not an error.
func TestRead(t *testing.T) {
	l := newLab(t, 1)
	if r, at, err := l.driver.Read(t.Context()); err != nil || r.Exists || !at.IsZero() {
		t.Errorf("no lease reads as %+v, %v, %v", r, at, err)
	}
	l.write(election.Action{Kind: election.Create, Record: election.Record{Duration: 5 * time.Second}})
	if r, at, err := l.driver.Read(t.Context()); err != nil || !r.Exists || !at.IsZero() {
		t.Errorf("an empty lease reads as %+v, %v, %v", r, at, err)
	}
	before := time.Now().Add(-time.Second)
	l.write(election.Action{Kind: election.Claim, Base: l.read(), Record: tenure()})
	if r, at, err := l.driver.Read(t.Context()); err != nil || r.Holder != "a" || at.Before(before) {
		t.Errorf("a held lease reads as %+v, %v, %v", r, at, err)
	}
	l.servers[0].SetMode(fakeapi.Unauthorized)
	_, _, err := l.driver.Read(t.Context())
	if err == nil || !strings.Contains(err.Error(), "kube-system/kvip") {
		t.Errorf("a denied read: %v", err)
	}
}

// E12: Run's loop keeps running without an API server.
func TestHeartbeat(t *testing.T) {
	l := newLab(t, 1)
	l.at(dead(t))
	if l.driver.health.LastHeartbeat() != 0 {
		t.Error("a heartbeat before Run")
	}
	l.run()
	testutil.Eventually(l.t, "the first turn",
		func() bool { return l.driver.health.LastHeartbeat() > 0 })
	first := l.driver.health.LastHeartbeat()
	testutil.Eventually(l.t, "the second turn",
		func() bool { return l.driver.health.LastHeartbeat() > first })
}

func TestNew(t *testing.T) {
	valid := Config{Namespace: "kube-system", Name: "kvip", Router: &apiclient.Router{}}
	if _, err := New(valid); err != nil {
		t.Errorf("a minimal configuration: %v", err)
	}
	for field, remove := range map[string]func(*Config){
		"Namespace": func(c *Config) { c.Namespace = "" },
		"Name":      func(c *Config) { c.Name = "" },
		"Router":    func(c *Config) { c.Router = nil },
	} {
		cfg := valid
		remove(&cfg)
		_, err := New(cfg)
		if err == nil || err.Error() != "configure lease driver: "+field+" is required" {
			t.Errorf("without %s: %v", field, err)
		}
	}
}
