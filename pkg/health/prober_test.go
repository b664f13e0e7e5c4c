package health

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvip/kvip/test/testutil"
)

func TestHealthyOnOneConnection(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	first, _ := w.until(Unknown, CodeUnknown)
	if first.Since <= 0 {
		t.Errorf("first state %+v has no beginning", first)
	}
	if s, _ := w.until(Healthy, CodeOK); s.Warning != "" {
		t.Errorf("warning %q", s.Warning)
	}
	for a.polls.Load() < 8 {
		time.Sleep(time.Millisecond)
	}
	if n := a.conns.Load(); n != 1 { // E7: one kept-alive connection
		t.Errorf("%d connections", n)
	}
}

// TestKilled: E7, refused on all addresses is death. The polling period is a day, so
// only the end of the connection can have told.
func TestKilled(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL, refusing(t)), TLS: a.trust(), Period: 24 * time.Hour})
	for a.polls.Load() < 1 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // the connection is idle now
	a.kill()
	_, before := w.until(Dead, CodeRefused)
	for _, s := range before {
		if s.Verdict != Unknown {
			t.Errorf("state %+v before death", s)
		}
	}
}

// TestKilledConnectionsFirst: a redial that was still accepted delays nothing for good.
func TestKilledConnectionsFirst(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(Healthy, CodeOK)
	a.killSlowly()
	if _, before := w.until(Dead, CodeRefused); hasVerdict(before, Soft) {
		t.Errorf("soft before death: %+v", before)
	}
}

// TestKilledWithARequestOnItsWay: death is noticed in the middle of a slow answer too.
func TestKilledWithARequestOnItsWay(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(Healthy, CodeOK)
	a.ready.Store(a.silence())
	time.Sleep(300 * time.Millisecond)
	a.kill()
	if _, before := w.until(Dead, CodeRefused); hasVerdict(before, Soft) {
		t.Errorf("soft before death: %+v", before)
	}
}

func hasVerdict(states []State, v Verdict) bool {
	for _, s := range states {
		if s.Verdict == v {
			return true
		}
	}
	return false
}

// TestClosedSocketIsNotDeath: E7, a closed socket only causes an immediate redial.
func TestClosedSocketIsNotDeath(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(Healthy, CodeOK)
	for range 5 {
		polls := a.polls.Load()
		a.CloseClientConnections()
		for a.polls.Load() < polls+2 {
			time.Sleep(time.Millisecond)
		}
	}
	for len(w.states) > 0 {
		if s := <-w.states; s.Verdict != Healthy {
			t.Errorf("closing sockets led to %+v", s)
		}
	}
}

// TestServerThatClosesIsNotPolledInASpin: Connection: close after each answer, and a
// server that drops every connection, both keep to about the period.
func TestServerThatClosesIsNotPolledInASpin(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	a.Config.SetKeepAlivesEnabled(false)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(Healthy, CodeOK)
	var accepted atomic.Int64
	drop := listener(t, func(c net.Conn) { accepted.Add(1); c.Close() })
	broken := start(t, Config{URLs: urls(drop)})
	_, before := broken.until(Dead, CodeBroken)
	if !hasVerdict(before, Soft) {
		t.Errorf("death without soft before: %+v", before)
	}
	if n := accepted.Load(); n > 40 { // about 1 s: 10 polls and 8 out of turn
		t.Errorf("%d connections until the verdict: a spin", n)
	}
}

// TestHung: E7, a process that does nothing for 1 s is dead. The listener's kernel accepts
// and nobody answers, as with a stopped process.
func TestHung(t *testing.T) {
	t.Parallel()
	w := start(t, Config{URLs: urls("https://" + unaccepting(t).Addr().String())})
	w.until(Dead, CodeHung)
}

func TestSilentAfterHealthyAndBack(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(Healthy, CodeOK)
	a.ready.Store(a.silence())
	a.ping.Store(a.silence())
	if _, before := w.until(Soft, CodeSilent); hasVerdict(before, Dead) {
		t.Errorf("dead before soft: %+v", before)
	}
	a.ready.Store(answer(200, "ok"))
	a.ping.Store(answer(200, "ok"))
	w.until(Healthy, CodeOK)
}

// TestSlowIsSoft: E7, a slow /readyz is not death while /livez/ping answers.
func TestSlowIsSoft(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(Healthy, CodeOK)
	a.ready.Store(a.silence())
	if _, before := w.until(Soft, CodeSlow); hasVerdict(before, Dead) {
		t.Errorf("dead before soft: %+v", before)
	}
}

// TestVerdictsInTheLog: the log says of a verdict what the documentation says.
func TestVerdictsInTheLog(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	a.ready.Store(answer(500, "[-]etcd failed: reason withheld\n"))
	var out testutil.Log
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust(), Log: slog.New(slog.NewTextHandler(&out, nil))})
	for _, next := range []struct {
		verdict    Verdict
		code, says string
		then       func()
	}{
		{Soft, CodeNotReady, "API server is alive but not ready", func() { a.ready.Store(answer(200, "ok")) }},
		{Healthy, CodeOK, "API server is healthy", a.kill},
		{Dead, CodeRefused, "API server is dead", func() {}},
	} {
		if w.until(next.verdict, next.code); out.Count(next.says) == 0 {
			t.Errorf("nothing says %q:\n%s", next.says, &out)
		}
		next.then()
	}
}

// TestRefusedBesideASlowAnswer: /readyz of an API server without etcd blocks for one request and
// refuses the others at once. E7.
func TestRefusedBesideASlowAnswer(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(Healthy, CodeOK)
	var first, ended atomic.Bool
	silence, refusal := *a.silence(), *answer(500, "[-]etcd failed: reason withheld\n")
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if first.CompareAndSwap(false, true) {
			silence(w, r)
			ended.Store(true)
			return
		}
		refusal(w, r)
	})
	a.ready.Store(&h)
	if w.until(Soft, CodeNotReady); ended.Load() {
		t.Error("not ready only after the first request had ended")
	}
}

// TestReadyBesideASlowAnswer: what others are told may be remembered, and lifts nothing. E7.
func TestReadyBesideASlowAnswer(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(Healthy, CodeOK)
	var first atomic.Bool
	silence, ready := *a.silence(), *a.ready.Load()
	beside := make(chan struct{}, 1000)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if first.CompareAndSwap(false, true) {
			silence(w, r)
			return
		}
		ready(w, r)
		beside <- struct{}{}
	})
	a.ready.Store(&h)
	w.until(Soft, CodeSlow)
	for range HealthyCount + 1 {
		<-beside
	}
	for len(w.states) > 0 {
		if s := <-w.states; s.Verdict != Soft {
			t.Fatalf("%+v, while the first /readyz is unanswered", s)
		}
	}
}

// TestStatuses: what each answer comes to (E7).
func TestStatuses(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		body    string
		verdict Verdict
		code    string
		warns   bool
	}{
		"too many requests": {429, "", Healthy, CodeOK, false},
		"unauthorized":      {401, "", Healthy, CodeUnauthorized, true},
		"forbidden":         {403, "", Healthy, CodeUnauthorized, true},
		"shutdown":          {500, shutdownBody, Dead, CodeShutdown, false},
		"etcd":              {500, "[-]etcd failed: reason withheld\n", Soft, CodeNotReady, false},
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

// TestShutdownBeatsTheHysteresis: a healthy server that lists shutdown is dead without
// a soft state between.
func TestShutdownBeatsTheHysteresis(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(Healthy, CodeOK)
	a.ready.Store(answer(500, shutdownBody))
	if _, before := w.until(Dead, CodeShutdown); hasVerdict(before, Soft) {
		t.Errorf("soft before death: %+v", before)
	}
}

// TestFindsTheAddress: E7, loopback refuses and the node's address answers.
func TestFindsTheAddress(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(refusing(t), a.URL), TLS: a.trust()})
	w.until(Healthy, CodeOK)
	if n := a.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestNoAddressIsSoft(t *testing.T) {
	t.Parallel()
	w := start(t, Config{URLs: urls()})
	if s, _ := w.until(Soft, CodeUnknown); !strings.Contains(s.Reason, "no address") {
		t.Errorf("reason %q", s.Reason)
	}
}

// TestRenewedCertificates: E7, TLS trouble is soft with a reason, and the hook is asked
// again at each dial.
func TestRenewedCertificates(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	var mu sync.Mutex
	hook := func() (*tls.Config, error) { return nil, errors.New("ca.crt is gone") }
	w := start(t, Config{URLs: urls(a.URL), TLS: func() (*tls.Config, error) {
		mu.Lock()
		defer mu.Unlock()
		return hook()
	}})
	set := func(f func() (*tls.Config, error)) { mu.Lock(); hook = f; mu.Unlock() }
	if s, _ := w.until(Soft, CodeUnknown); !strings.Contains(s.Reason, "ca.crt is gone") {
		t.Errorf("reason %q", s.Reason)
	}
	set(func() (*tls.Config, error) { return nil, nil }) // the system's roots do not know it
	if s, _ := w.until(Soft, CodeCertificate); !strings.Contains(s.Reason, "certificate") {
		t.Errorf("reason %q", s.Reason)
	}
	set(a.trust())
	w.until(Healthy, CodeOK)
}

// TestCredentials: the header is sent on both requests, asked for each time.
func TestCredentials(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	pinged := make(chan string, 10)
	guard := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pinged <- r.Header.Get("Authorization")
	})
	a.ping.Store(&guard)
	ready := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer x" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	a.ready.Store(&ready)
	var token atomic.Value
	token.Store("")
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust(), Authorization: func() string { return token.Load().(string) }})
	w.until(Healthy, CodeUnauthorized)
	token.Store("Bearer x")
	w.until(Healthy, CodeOK)
	a.ready.Store(a.silence())
	if got := <-pinged; got != "Bearer x" {
		t.Errorf("ping came with %q", got)
	}
}

// TestRefusedConnectionIsReplaced: a client certificate is the connection's, so that a renewed
// one is used only if a connection that gets 401 is dialled anew.
func TestRefusedConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	var mu sync.Mutex
	expired := map[string]bool{}
	dialled := 0
	ready := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if _, known := expired[r.RemoteAddr]; !known {
			expired[r.RemoteAddr] = dialled == 0
			dialled++
		}
		if expired[r.RemoteAddr] {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	a.ready.Store(&ready)
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	w.until(Healthy, CodeOK)
}

// TestOverridingURL: --health-url is polled exactly as given, here without TLS.
func TestOverridingURL(t *testing.T) {
	t.Parallel()
	paths := make(chan string, 1000)
	plain := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { paths <- r.URL.String() })}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go plain.Serve(l)
	defer plain.Close()
	w := start(t, Config{URL: "http://" + l.Addr().String() + "/healthz?verbose"})
	w.until(Healthy, CodeOK)
	if got := <-paths; got != "/healthz?verbose" {
		t.Errorf("polled %q", got)
	}
}

// TestSignOfLife: E12, OnState comes again without any change, even while a poll hangs.
func TestSignOfLife(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	a.ready.Store(a.silence())
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust()})
	for w.calls.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
}

func TestNewRefusesBadConfig(t *testing.T) {
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
	if err != nil || p.cfg.Period != DefaultPeriod || p.cfg.Clock == nil || p.cfg.Log == nil || p.cfg.OnState == nil {
		t.Errorf("defaults not filled in: %+v, %v", p, err)
	}
}

func TestReady(t *testing.T) {
	a := newAPIServer(t)
	config, _ := a.trust()()
	ask := func(config *tls.Config, base string) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return Ready(ctx, config, "", base)
	}
	if err := ask(config, a.URL+"/"); err != nil {
		t.Errorf("ready: %v", err)
	}
	a.ready.Store(answer(500, "[-]etcd failed: x\n"))
	if err := ask(config, a.URL); err == nil || !strings.Contains(err.Error(), "etcd") {
		t.Errorf("not ready: %v", err)
	}
	if err := ask(nil, a.URL); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("untrusted: %v", err)
	}
	if err := ask(config, refusing(t)); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("refused: %v", err)
	}
}

// BenchmarkPoll measures what one poll costs both ends together.
func BenchmarkPoll(b *testing.B) {
	a := newAPIServer(b)
	c := newClient(&Config{URLs: urls(a.URL), TLS: a.trust()}, func() {})
	defer c.close()
	b.ReportAllocs()
	for b.Loop() {
		if obs := c.look(context.Background()); obs.Outcome != OutcomeOK {
			b.Fatal(obs)
		}
	}
}
