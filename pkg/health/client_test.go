package health

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/election"
)

func TestTLSConfig(t *testing.T) {
	shared := &tls.Config{NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13}
	named := &tls.Config{ServerName: "kubernetes"}
	for name, c := range map[string]struct {
		hook   func() (*tls.Config, error)
		server string
	}{
		"no hook":     {nil, "2001:db8::1"},
		"nil config":  {func() (*tls.Config, error) { return nil, nil }, "2001:db8::1"},
		"no name":     {func() (*tls.Config, error) { return shared, nil }, "2001:db8::1"},
		"name is set": {func() (*tls.Config, error) { return named, nil }, "kubernetes"},
	} {
		got, err := dialer{&Config{TLS: c.hook}}.config("[2001:db8::1]:6443")
		if err != nil || got.ServerName != c.server ||
			!slices.Equal(got.NextProtos, []string{"http/1.1"}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if shared.ServerName != "" || !slices.Equal(shared.NextProtos, []string{"h2"}) {
		t.Error("the caller's configuration was changed")
	}
}

func TestTLSConfigErrors(t *testing.T) {
	gone := errors.New("gone")
	for name, c := range map[string]struct {
		hook    func() (*tls.Config, error)
		address string
		cause   error
	}{
		"hook fails": {func() (*tls.Config, error) { return nil, gone }, "host:1", gone},
		"no port":    {nil, "host", errCannotProbe},
	} {
		_, err := dialer{&Config{TLS: c.hook}}.config(c.address)
		if !errors.Is(err, errCannotProbe) || !errors.Is(err, c.cause) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHandshakeEndsWithItsContext: a dial to a hung server ends with its context.
func TestHandshakeEndsWithItsContext(t *testing.T) {
	url := listener(t, holdOpen(t))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := dialer{&Config{}}.secure(ctx, "tcp", url[len("https://"):])
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// TestNewCredentialsRedial: a client certificate belongs to its connection, so new credentials need
// a new connection. Unchanged ones do not.
func TestNewCredentialsRedial(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	var auth atomic.Pointer[string]
	set := func(text string) { auth.Store(&text) }
	set("")
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust(),
		Authorization: func() string { return *auth.Load() }})
	w.until(election.Healthy, CodeOK)
	for want, text := range []string{"", "Bearer a", "Bearer a", "Bearer b"} {
		set(text)
		for polls := a.polls.Load() + 3; a.polls.Load() < polls; {
			time.Sleep(time.Millisecond)
		}
		if want = []int{1, 2, 2, 3}[want]; int(a.conns.Load()) != want {
			t.Errorf("with %q: %d connections, want %d", text, a.conns.Load(), want)
		}
	}
}

// TestCredentialsStayWithTheAPIServer: any server may be behind a configured URL. A server sees the
// token and the client certificate only over https and at an address of the API server's own.
func TestCredentialsStayWithTheAPIServer(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name      string
		https     bool
		own, want bool
	}{
		{"PlainHTTP", false, false, false},
		{"PlainHTTPAtOwnAddress", false, true, false},
		{"AnotherServer", true, false, false},
		{"OwnAddress", true, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var exposed, requests atomic.Int64
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter,
				r *http.Request) {
				requests.Add(1)
				if r.Header.Get("Authorization") != "" || r.TLS != nil &&
					len(r.TLS.PeerCertificates) > 0 {
					exposed.Add(1)
				}
			}))
			if row.https {
				server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
				server.StartTLS()
			} else {
				server.Start()
			}
			defer server.Close()
			own := urls("https://127.0.0.1:1")
			if row.own {
				own = urls("https://" + server.Listener.Addr().String())
			}
			identity := newAPIServer(t).TLS.Certificates
			w := start(t, Config{
				URL: server.URL + "/healthz", URLs: own,
				Authorization: func() string { return "Bearer secret" },
				TLS: func() (*tls.Config, error) {
					return &tls.Config{InsecureSkipVerify: true, Certificates: identity}, nil
				},
			})
			w.until(election.Healthy, CodeOK)
			if (exposed.Load() > 0) != row.want || row.want && exposed.Load() != requests.Load() {
				t.Errorf("%d of %d requests carried credentials", exposed.Load(), requests.Load())
			}
		})
	}
}

// TestRenewedCertificates: a failed handshake makes it NotReady with the reason, and the TLS hook
// is
// called at each dial. E7.
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
	if s, _ := w.until(election.NotReady, CodeUnknown); !strings.Contains(s.Reason,
		"ca.crt is gone") {
		t.Errorf("reason %q", s.Reason)
	}
	set(func() (*tls.Config, error) { return nil, nil }) // the system's roots do not know it
	if s, _ := w.until(election.NotReady, CodeCertificate); !strings.Contains(s.Reason,
		"certificate") {
		t.Errorf("reason %q", s.Reason)
	}
	set(a.trust())
	w.until(election.Healthy, CodeOK)
}

// TestCredentials: both requests carry the header as it is at that time.
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
	w := start(t, Config{URLs: urls(a.URL), TLS: a.trust(),
		Authorization: func() string { return token.Load().(string) }})
	w.until(election.Healthy, CodeUnauthorized)
	token.Store("Bearer x")
	w.until(election.Healthy, CodeOK)
	a.ready.Store(a.silence())
	if got := <-pinged; got != "Bearer x" {
		t.Errorf("ping came with %q", got)
	}
}

// TestRefusedConnectionIsReplaced: a client certificate belongs to its connection, so a renewed one
// is used only if a connection that gets 401 is replaced.
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
	w.until(election.Healthy, CodeOK)
}

// TestFindsTheAddress: loopback refuses and the node's address answers. E7.
func TestFindsTheAddress(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	w := start(t, Config{URLs: urls(refusing(t), a.URL), TLS: a.trust()})
	w.until(election.Healthy, CodeOK)
	if n := a.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestNoAddress(t *testing.T) {
	t.Parallel()
	w := start(t, Config{URLs: urls()})
	if s, _ := w.until(election.NotReady, CodeUnknown); !strings.Contains(s.Reason, "no address") {
		t.Errorf("reason %q", s.Reason)
	}
}

// TestOverridingURL: --health-url is polled as it is given, here without TLS.
func TestOverridingURL(t *testing.T) {
	t.Parallel()
	paths := make(chan string, 1000)
	plain := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter,
		r *http.Request) {
		paths <- r.URL.String()
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go plain.Serve(l)
	defer plain.Close()
	w := start(t, Config{URL: "http://" + l.Addr().String() + "/healthz?verbose"})
	w.until(election.Healthy, CodeOK)
	if got := <-paths; got != "/healthz?verbose" {
		t.Errorf("polled %q", got)
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

// BenchmarkPoll measures one poll, client and server together.
func BenchmarkPoll(b *testing.B) {
	a := newAPIServer(b)
	c := newClient(&Config{URLs: urls(a.URL), TLS: a.trust()}, func(bool) {})
	defer c.close()
	b.ReportAllocs()
	for b.Loop() {
		if obs := c.probe(context.Background()); obs.Outcome != OutcomeOK {
			b.Fatal(obs)
		}
	}
}
