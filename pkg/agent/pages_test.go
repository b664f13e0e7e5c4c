package agent

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/health"
	"github.com/kvip/kvip/pkg/status"

	"github.com/kvip/kvip/test/testutil"
)

var discard = slog.New(slog.DiscardHandler)

// fakeReport is a lease driver that is as well as it says.
type fakeReport struct {
	beat    time.Duration
	problem string
}

func (f *fakeReport) Heartbeat() time.Duration { return f.beat }
func (f *fakeReport) Problem() string          { return f.problem }
func (f *fakeReport) Peers() []string          { return []string{"10.0.0.2:6443"} }

// site is pages over a loop that does not run, at a time that stands still.
type site struct {
	*pages
	agent  *agent
	report *fakeReport
	clock  time.Duration
}

func newSite(t *testing.T) *site {
	r := newRig(t)
	s := &site{pages: newPages(r.l.cfg, Build{Version: "v1"}, self, r.metrics, discard), report: &fakeReport{}, clock: time.Hour}
	s.now = func() time.Duration { return s.clock }
	s.agent = &agent{loop: r.l, lease: s.report, network: r.l.network, store: testutil.Must(apiclient.NewStore(apiclient.StoreConfig{Kubeconfigs: []string{"/none"}, Log: discard}))}
	return s
}

// TestReadyz has every reason not to be ready in its body.
func TestReadyz(t *testing.T) {
	held := election.Status{State: election.Holding, Owned: true, Holder: self}
	waits := election.Status{State: election.Standby, Reason: election.ReasonHeldByOther, Holder: other}
	for _, c := range []struct {
		name string
		is   election.Status
		set  func(s *site)
		want string // in the body; "" is ready
	}{
		{"Holding", held, nil, ""},
		{"HeldByOther", waits, nil, ""},
		{"Waiting", election.Status{State: election.Standby, Reason: election.ReasonWaiting}, nil, ""},
		{"NotOwnedYet", election.Status{State: election.Holding, Reason: election.ReasonExpired}, nil, "Expired"},
		{"HolderWithoutAPI", held, func(s *site) { s.report.problem = "renew lease: refused" }, "renew lease: refused"},
		{"FollowerWithoutAPI", waits, func(s *site) { s.report.problem = "watch lease: forbidden" }, "watch lease: forbidden"},
		{"Twin", waits, func(s *site) { s.agent.loop.twin.Store(true) }, "under this node's name: " + other},
		{"LinkDown", election.Status{State: election.Standby, Reason: election.ReasonLinkDown}, nil, "LinkDown: the link cannot carry the address"},
		{"Sick", election.Status{State: election.Standby, Reason: election.ReasonAPIDead}, func(s *site) {
			s.health(health.State{Verdict: election.Dead, Reason: "nothing listens on 127.0.0.1:6443"})
		}, "APIServerDead: the API server of this node is dead or shutting down (nothing listens on 127.0.0.1:6443)"},
		{"LinkDownWithoutAPI", election.Status{State: election.Standby, Reason: election.ReasonLinkDown}, func(s *site) {
			s.report.problem = "watch lease: timeout"
		}, "the link cannot carry the address; watch lease: timeout"},
		{"Leaving", election.Status{State: election.Leaving, Reason: election.ReasonShutdown, Holder: self}, nil, "Shutdown: the agent is shutting down"},
		{"Locked", waits, func(s *site) { s.hold("another kvip on this host") }, "another kvip on this host"},
		{"Starting", waits, func(s *site) { s.parts.Store(nil) }, "starting"},
		{"BeforeTheFirstTurn", waits, func(s *site) { s.agent.loop.status.Store(nil) }, "starting"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.hold("")
			s.watch(s.agent)
			s.agent.loop.status.Store(&c.is)
			if c.set != nil {
				c.set(s)
			}
			code, body := answered(t, s.readyz)
			if c.want == "" && (code != http.StatusOK || !strings.HasPrefix(body, "ok\n")) || c.want != "" && (code != http.StatusServiceUnavailable || !strings.Contains(body, c.want)) {
				t.Errorf("%d %q, want %q", code, body, c.want)
			}
			_, page := answered(t, s.metricsz)
			if ready := strings.Contains(page, "kvip_ready 1\n"); ready != (c.want == "") {
				t.Errorf("kvip_ready 1: %v", ready)
			}
		})
	}
}

// TestE12Healthz fails when a loop does not come round, whatever the API server does, and
// says which one.
func TestE12Healthz(t *testing.T) {
	s := newSite(t)
	if code, _ := answered(t, s.healthz); code != http.StatusOK {
		t.Error("not healthy while it waits for the link")
	}
	s.watch(s.agent)
	s.report.problem = "the API server is away" // for hours: no reason to be restarted
	turn := func() {
		s.agent.loop.beat.Store(int64(s.clock))
		s.health(health.State{})
		s.report.beat = s.clock
	}
	for range 100 {
		s.clock += 5 * time.Second
		turn()
		if code, body := answered(t, s.healthz); code != http.StatusOK {
			t.Fatalf("%d %s", code, body)
		}
	}
	for name, stop := range map[string]func(){
		"the election loop": func() { s.agent.loop.beat.Store(int64(s.clock - stuckAfter - time.Second)) },
		"the health probe":  func() { s.healthAt.Store(int64(s.clock - stuckAfter - time.Second)) },
		"the lease driver":  func() { s.report.beat = s.clock - leaseStuckAfter - time.Second },
	} {
		turn()
		stop()
		if code, body := answered(t, s.healthz); code != http.StatusServiceUnavailable || !strings.Contains(body, name+" has not come round for ") {
			t.Errorf("%s stands still: %d %q", name, code, body)
		}
	}
}

// TestE12LoopBeats on every turn.
func TestE12LoopBeats(t *testing.T) {
	play(t, func(r *rig) {
		r.pass(time.Minute)
		if age := r.l.now() - time.Duration(r.l.beat.Load()); age > tickEvery {
			t.Errorf("the last turn was %v ago", age)
		}
	})
}

func TestStatusPage(t *testing.T) {
	s := newSite(t)
	read := func() (a status.Agent) {
		t.Helper()
		_, body := answered(t, s.statusz)
		if err := json.Unmarshal([]byte(body), &a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := read(); a.State != "starting" || a.Node != "node-a" || a.Identity != self || a.Version != "v1" || a.Health != "unknown" ||
		strings.Join(a.VIPs, " ") != "10.0.0.100 fd00::100" || a.NotReady == "" {
		t.Errorf("before the start: %+v", a)
	}
	s.watch(s.agent)
	s.hold("")
	s.health(health.State{Verdict: election.NotReady, Reason: "etcd failed", Warning: "unauthorized"})
	s.agent.loop.status.Store(&election.Status{State: election.Holding, Owned: true, Reason: election.ReasonReleased, Term: 9, Holder: self})
	if a := read(); a.State != "holding" || !a.Owned || a.Reason != "Released" || a.Term != 9 || a.Link != "eth0" || a.Health != "not-ready" ||
		a.HealthWhy != "etcd failed" || a.Warning != "unauthorized" || !strings.Contains(a.Credentials, "no credentials yet") ||
		len(a.Peers) != 1 || a.NotReady != "" {
		t.Errorf("the holder: %+v", a)
	}
}

// TestPagesAreSafeForATerminal: curl shows the pages, and what they say is in part from leases and API servers.
func TestPagesAreSafeForATerminal(t *testing.T) {
	s := newSite(t)
	const hostile = "\x1b[2J\u009b2J\x7f\u202e\n"
	s.watch(s.agent)
	s.hold("")
	s.report.problem = hostile
	s.health(health.State{Verdict: election.Dead, Reason: hostile, Warning: hostile})
	s.agent.loop.status.Store(&election.Status{State: election.Standby, Reason: election.ReasonAPIDead, Holder: hostile})
	for name, page := range map[string]http.HandlerFunc{"/readyz": s.readyz, "/status": s.statusz} {
		if _, body := answered(t, page); strings.ContainsFunc(body, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) || !strings.Contains(body, "009b") {
			t.Errorf("%s: %q", name, body)
		}
	}
}

// TestPortInUse is told once and tried again; meanwhile the other port serves.
func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := &journal{}
	s := newSite(t)
	s.log = slog.New(slog.NewTextHandler(log, nil))
	s.cfg.HealthAddress, s.cfg.MetricsAddress = taken.Addr().String(), free.Addr().String()
	free.Close()
	stop := s.serve(t.Context())
	defer stop()
	get := func(url string) (code int) {
		response, err := http.Get(url)
		if err != nil {
			return 0
		}
		defer response.Body.Close()
		_, _ = io.Copy(io.Discard, response.Body)
		return response.StatusCode
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("waited in vain for %s", what)
			}
		}
	}
	until("/metrics", func() bool { return get("http://"+s.cfg.MetricsAddress+"/metrics") == http.StatusOK })
	until("the warning", func() bool { return strings.Contains(strings.Join(log.all(), ""), "cannot serve; trying again") })
	if get("http://"+s.cfg.MetricsAddress+"/readyz") != http.StatusNotFound {
		t.Error("/readyz is served outside of loopback")
	}
	taken.Close()
	until("/healthz", func() bool { return get("http://"+s.cfg.HealthAddress+"/healthz") == http.StatusOK })
	stop()
	http.DefaultClient.CloseIdleConnections()
	if n := len(log.all()); n != 1 {
		t.Errorf("told %d times: %s", n, log.all())
	}
	if get("http://"+s.cfg.HealthAddress+"/healthz") != 0 {
		t.Error("serves after the end")
	}
}

// TestOnHealth passes verdicts on without waiting for the loop.
func TestOnHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a := &agent{loop: r.l, metrics: r.metrics, pages: newPages(r.l.cfg, Build{}, self, r.metrics, discard)}
		for _, verdict := range []election.Verdict{
			election.Unknown, election.Healthy, election.NotReady, election.Dead,
		} {
			a.onHealth(health.State{Verdict: verdict, Code: "code"})
			if got := <-r.l.in; got != (election.Health{Verdict: verdict}) {
				t.Errorf("%v became %v", verdict, got)
			}
		}
		for range 2 * cap(r.l.in) {
			a.onHealth(health.State{})
		}
	})
}

// TestServeWithoutMetrics has one server less.
func TestServeWithoutMetrics(t *testing.T) {
	s := newSite(t)
	s.cfg.MetricsAddress, s.cfg.HealthAddress = "", "127.0.0.1:0"
	var warned atomic.Bool
	s.log = slog.New(slog.NewTextHandler(writer(func(p []byte) { warned.Store(true) }), nil))
	ctx, cancel := context.WithCancel(t.Context())
	stop := s.serve(ctx)
	cancel() // the pages are there until the agent has left
	stop()
	if warned.Load() {
		t.Error("something was wrong")
	}
}

type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }
