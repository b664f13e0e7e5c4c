package health

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/test/testutil"
)

func TestHealthyOnOneConnection(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	first, _ := w.until(election.Unknown, CodeUnknown)
	if first.Since <= 0 {
		t.Errorf("first state %+v has no beginning", first)
	}
	if s, _ := w.until(election.Healthy, CodeOK); s.Warning != "" {
		t.Errorf("warning %q", s.Warning)
	}
	for a.polls.Load() < 8 {
		time.Sleep(time.Millisecond)
	}
	if n := a.conns.Load(); n != 1 { // E7: one kept-alive connection
		t.Errorf("%d connections", n)
	}
}

// TestKilled: refused on all addresses is Dead. The polling period is a day, so only the end of the
// connection can have been noticed. E7.
func TestKilled(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL, refusing(t)), TLS: a.trust(), Period: 24 * time.Hour})
	for a.polls.Load() < 1 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // the connection is idle now
	a.kill()
	_, before := w.until(election.Dead, CodeRefused)
	for _, s := range before {
		if s.Verdict != election.Unknown {
			t.Errorf("state %+v before Dead", s)
		}
	}
}

// TestKilledConnectionsFirst: a redial that is still accepted does not hide the death.
func TestKilledConnectionsFirst(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(election.Healthy, CodeOK)
	a.killSlowly()
	if _, before := w.until(election.Dead, CodeRefused); hasVerdict(before, election.NotReady) {
		t.Errorf("NotReady before Dead: %+v", before)
	}
}

// TestKilledWithItsListenerLast: the kernel closes the listener of a process that died last, and
// accepts connections until then. A server that ends its connection with a TLS alert lives. E7.
func TestKilledWithItsListenerLast(t *testing.T) {
	t.Parallel()
	for _, inRequest := range []bool{false, true} {
		a := newAPIServer(t)
		w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
		w.until(election.Healthy, CodeOK)
		if inRequest {
			a.ready.Store(a.silence())
			time.Sleep(200 * time.Millisecond)
		}
		a.sockets.end()
		if _, before := w.until(election.Dead, CodeBroken); hasVerdict(before, election.NotReady) {
			t.Errorf("in a request %t: NotReady before Dead: %+v", inRequest, before)
		}
	}
}

// TestAbortedByAnotherServer: that is evidence of an API server only.
func TestAbortedByAnotherServer(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URL: a.URL + "/readyz", TLS: a.trust()})
	w.until(election.Healthy, CodeOK)
	a.sockets.end()
	if _, before := w.until(election.NotReady, CodeSilent); hasVerdict(before, election.Dead) {
		t.Errorf("dead: %+v", before)
	}
}

// TestKilledDuringARequest: death is noticed while an answer is outstanding too.
func TestKilledDuringARequest(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(election.Healthy, CodeOK)
	a.ready.Store(a.silence())
	time.Sleep(300 * time.Millisecond)
	a.kill()
	if _, before := w.until(election.Dead, CodeRefused); hasVerdict(before, election.NotReady) {
		t.Errorf("NotReady before Dead: %+v", before)
	}
}

// TestHiddenSocketsAreLogged once, with the reason, and only while /readyz is unanswered: if
// nothing listens any more, nothing hangs.
func TestHiddenSocketsAreLogged(t *testing.T) {
	const message = "cannot tell a hung API server from a slow one"
	for _, c := range []struct {
		name      string
		escalated bool
		snapshot  socketSnapshot
		want      string // "" for no record
	}{
		{"answered or gone", false, socketSnapshot{}, ""},
		{"visible", true, socketSnapshot{sockets: []link.Socket{queue(0)}}, ""},
		{"none listens", true, socketSnapshot{},
			`reason="no socket listens at its address in this network namespace"`},
		{"an error", true, socketSnapshot{err: errors.New("no netlink")}, `err="no netlink"`},
	} {
		var log testutil.Log
		p := testutil.Must(New(Config{
			URLs: urls("https://127.0.0.1:1"), Log: slog.New(slog.NewTextHandler(&log, nil)),
		}))
		for range 2 {
			p.schedule.escalated = c.escalated
			p.socketsDone(c.snapshot)
		}
		records := min(len(c.want), 1)
		if text := log.String(); log.Count(message) != records || !strings.Contains(text, c.want) ||
			strings.Contains(text, "nil") {
			t.Errorf("%s: logged %q", c.name, text)
		}
	}
}

func hasVerdict(states []State, v election.Verdict) bool {
	for _, s := range states {
		if s.Verdict == v {
			return true
		}
	}
	return false
}

// TestClosedSocket: a closed socket only causes an immediate redial. E7.
func TestClosedSocket(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(election.Healthy, CodeOK)
	for range 5 {
		polls := a.polls.Load()
		a.Config.SetKeepAlivesEnabled(false) // closes idle connections
		a.Config.SetKeepAlivesEnabled(true)
		for a.polls.Load() < polls+2 {
			time.Sleep(time.Millisecond)
		}
	}
	for len(w.states) > 0 {
		if s := <-w.states; s.Verdict != election.Healthy {
			t.Errorf("closing sockets led to %+v", s)
		}
	}
}

// TestClosingServerIsNotPolledWithoutPause: a server that closes after each answer, and one that
// drops every connection, are polled at about the period.
func TestClosingServerIsNotPolledWithoutPause(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	a.Config.SetKeepAlivesEnabled(false)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(election.Healthy, CodeOK)
	var accepted atomic.Int64
	drop := listener(t, func(c net.Conn) { accepted.Add(1); c.Close() })
	broken := start(t, Config{URLs: urls(drop)})
	_, before := broken.until(election.Dead, CodeBroken)
	if !hasVerdict(before, election.NotReady) {
		t.Errorf("Dead without NotReady before: %+v", before)
	}
	if n := accepted.Load(); n > 40 { // about 1 s: 10 polls and 8 out of turn
		t.Errorf("%d connections until the verdict", n)
	}
}

// TestHung: a process that does nothing for 1 s is Dead. The kernel completes the handshake and the
// process does not accept, as a stopped one. E7.
func TestHung(t *testing.T) {
	t.Parallel()
	w := start(t, Config{URLs: urls("https://" + unaccepting(t).Addr().String())})
	w.until(election.Dead, CodeHung)
}

func TestSilentAfterHealthyAndBack(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(election.Healthy, CodeOK)
	a.ready.Store(a.silence())
	a.ping.Store(a.silence())
	if _, before := w.until(election.NotReady, CodeSilent); hasVerdict(before, election.Dead) {
		t.Errorf("Dead before NotReady: %+v", before)
	}
	a.ready.Store(answer(200, "ok"))
	a.ping.Store(answer(200, "ok"))
	w.until(election.Healthy, CodeOK)
}

// TestSlow: a slow /readyz is NotReady, not Dead, while /livez/ping is answered. E7.
func TestSlow(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(election.Healthy, CodeOK)
	a.ready.Store(a.silence())
	if _, before := w.until(election.NotReady, CodeSlow); hasVerdict(before, election.Dead) {
		t.Errorf("Dead before NotReady: %+v", before)
	}
}

// TestVerdictsInTheLog: the messages are those of the documentation.
func TestVerdictsInTheLog(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	a.ready.Store(answer(500, "[-]etcd failed: reason withheld\n"))
	var out testutil.Log
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust(),
		Log: slog.New(slog.NewTextHandler(&out, nil))})
	for _, next := range []struct {
		verdict       election.Verdict
		code, message string
		then          func()
	}{
		{election.NotReady, CodeNotReady, "API server is alive but not ready",
			func() { a.ready.Store(answer(200, "ok")) }},
		{election.Healthy, CodeOK, "API server is healthy", a.kill},
		{election.Dead, CodeRefused, "API server is dead", func() {}},
	} {
		if w.until(next.verdict, next.code); out.Count(next.message) == 0 {
			t.Errorf("no record %q in\n%s", next.message, &out)
		}
		next.then()
	}
}

// TestSecondPollFails: an API server without etcd blocks one request for /readyz and fails the
// others at once. E7.
func TestSecondPollFails(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(election.Healthy, CodeOK)
	var first, ended atomic.Bool
	silence, failure := *a.silence(), *answer(500, "[-]etcd failed: reason withheld\n")
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if first.CompareAndSwap(false, true) {
			silence(w, r)
			ended.Store(true)
			return
		}
		failure(w, r)
	})
	a.ready.Store(&h)
	if w.until(election.NotReady, CodeNotReady); ended.Load() {
		t.Error("NotReady only after the first request had ended")
	}
}

// TestSecondPollSucceeds: success may come from the server's cache and does not count. E7.
func TestSecondPollSucceeds(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(election.Healthy, CodeOK)
	var first atomic.Bool
	silence, ready := *a.silence(), *a.ready.Load()
	second := make(chan struct{}, 1000)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if first.CompareAndSwap(false, true) {
			silence(w, r)
			return
		}
		ready(w, r)
		second <- struct{}{}
	})
	a.ready.Store(&h)
	w.until(election.NotReady, CodeSlow)
	for range healthyCount + 1 {
		<-second
	}
	for len(w.states) > 0 {
		if s := <-w.states; s.Verdict != election.NotReady {
			t.Fatalf("%+v, while the first /readyz is unanswered", s)
		}
	}
}

// TestStatuses: the verdict for each answer (E7).
func TestStatuses(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		body    string
		verdict election.Verdict
		code    string
		warns   bool
	}{
		"too many requests": {429, "", election.Healthy, CodeOK, false},
		"unauthorized":      {401, "", election.Healthy, CodeUnauthorized, true},
		"forbidden":         {403, "", election.Healthy, CodeUnauthorized, true},
		"shutdown":          {500, shutdownBody, election.Dead, CodeShutdown, false},
		"etcd": {500, "[-]etcd failed: reason withheld\n", election.NotReady,
			CodeNotReady, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPIServer(t)
			a.ready.Store(answer(c.status, c.body))
			w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
			if s, _ := w.until(c.verdict, c.code); (s.Warning != "") != c.warns {
				t.Errorf("warning %q", s.Warning)
			}
		})
	}
}

// TestShutdownIsDeadAtOnce: a healthy server that lists shutdown is Dead without NotReady between.
func TestShutdownIsDeadAtOnce(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(election.Healthy, CodeOK)
	a.ready.Store(answer(500, shutdownBody))
	if _, before := w.until(election.Dead, CodeShutdown); hasVerdict(before, election.NotReady) {
		t.Errorf("NotReady before Dead: %+v", before)
	}
}

// TestE12Heartbeat: OnState is called without a change too, even while a poll hangs.
func TestE12Heartbeat(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	a.ready.Store(a.silence())
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	for w.calls.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
}

func TestNewRejectsBadConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"nothing to probe": {},
		"no scheme":        {URL: "127.0.0.1:6443"},
		"other scheme":     {URL: "ftp://host/"},
		"no host":          {URL: "https:///readyz"},
		"not a URL":        {URL: "https://host/%zz"},
		"negative period":  {URLs: urls("https://host"), Period: -1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	p, err := New(Config{URLs: urls("https://host")})
	if err != nil || p.cfg.Period != defaultPeriod || p.cfg.Clock == nil || p.cfg.Log == nil ||
		p.cfg.OnState == nil {
		t.Errorf("defaults not filled in: %+v, %v", p, err)
	}
}

func TestWorkerHasOneResultForEachRequest(t *testing.T) {
	n := 0
	w := newWorker(func(context.Context) int { n++; return n })
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() { w.run(ctx); close(served) }()
	for want := 1; want <= 3; want++ {
		w.start(ctx)
		if got := <-w.results; got != want {
			t.Errorf("result %d, want %d", got, want)
		}
	}
	cancel()
	<-served
}

// TestCancelledRequestHasAResult: the cancellation does not affect the next request.
func TestCancelledRequestHasAResult(t *testing.T) {
	w := newWorker(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() { w.run(ctx); close(served) }()
	w.cancel() // no request yet
	for range 2 {
		w.start(ctx)
		select {
		case err := <-w.results:
			t.Fatalf("result %v before the cancellation", err)
		default:
		}
		w.cancel()
		if err := <-w.results; err != context.Canceled {
			t.Errorf("result %v", err)
		}
	}
	w.start(ctx) // in flight when everything ends
	cancel()
	<-served
}
