package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/test/testutil"
)

// content has what the pages show.
type content struct {
	stuck, notReady, credentials string
	status                       status.Agent
	services                     http.Handler
	log                          testutil.Log
	config                       Config
}

func newContent(t *testing.T) *content {
	t.Helper()
	set, err := metrics.New(metrics.Build{}, metrics.Known{})
	if err != nil {
		t.Fatal(err)
	}
	s := &content{}
	s.config = Config{
		HealthAddress: "127.0.0.1:0",
		Stuck:         func() string { return s.stuck },
		NotReady:      func() string { return s.notReady },
		Credentials:   func() string { return s.credentials },
		Status:        func() status.Agent { return s.status },
		Services:      func() http.Handler { return s.services },
		Metrics:       set,
		Log:           slog.New(slog.NewTextHandler(&s.log, nil)),
	}
	return s
}

// server returns the Server of the present configuration.
func (s *content) server(t *testing.T) *Server {
	t.Helper()
	server, err := New(s.config)
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// run runs the Server and returns a function that ends it.
func (s *content) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	server := s.server(t)
	go func() {
		defer close(done)
		server.Run(ctx)
	}()
	return func() { cancel(); <-done }
}

// get returns the status code and the body of a page.
func get(t *testing.T, page http.HandlerFunc) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	page(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	return w.Code, w.Body.String()
}

// codeOf returns the status code of a URL, 0 without an answer.
func codeOf(url string) int {
	response, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

func TestNewRequiresItsFields(t *testing.T) {
	for i, remove := range []func(c *Config){
		func(c *Config) { c.HealthAddress = "" }, func(c *Config) { c.Stuck = nil },
		func(c *Config) { c.NotReady = nil }, func(c *Config) { c.Credentials = nil },
		func(c *Config) { c.Status = nil }, func(c *Config) { c.Services = nil },
	} {
		c := newContent(t).config
		remove(&c)
		if _, err := New(c); err == nil {
			t.Errorf("configuration %d: accepted", i)
		}
	}
	c := newContent(t).config
	c.Log = nil
	if s, err := New(c); err != nil || s.cfg.Log == nil {
		t.Errorf("without a log: %v", err)
	}
}

// TestE12Pages: /healthz fails for a stuck component alone, /readyz for what makes it not ready.
func TestE12Pages(t *testing.T) {
	for _, c := range []struct {
		stuck, notReady, credentials string
		health, ready                int
		body                         string // of /readyz
	}{
		{"", "", "", http.StatusOK, http.StatusOK, "ok\n"},
		{"", "", "credentials: none", http.StatusOK, http.StatusOK, "ok\ncredentials: none\n"},
		{"", "link is down", "", http.StatusOK, http.StatusServiceUnavailable, "link is down\n"},
		{"", "link is down", "credentials: none", http.StatusOK, http.StatusServiceUnavailable,
			"link is down\ncredentials: none\n"},
		{"loop hangs", "", "", http.StatusServiceUnavailable, http.StatusOK, "ok\n"},
	} {
		s := newContent(t)
		s.stuck, s.notReady, s.credentials = c.stuck, c.notReady, c.credentials
		server := s.server(t)
		if code, body := get(t, server.healthz); code != c.health || !strings.Contains(body, c.stuck) {
			t.Errorf("%+v: /healthz %d %q", c, code, body)
		}
		if code, body := get(t, server.readyz); code != c.ready || body != c.body {
			t.Errorf("%+v: /readyz %d %q", c, code, body)
		}
		_, page := get(t, server.metrics)
		if ready := strings.Contains(page, "kvip_ready 1\n"); ready != (c.notReady == "") {
			t.Errorf("%+v: kvip_ready 1: %v", c, ready)
		}
	}
}

func TestStatusPage(t *testing.T) {
	s := newContent(t)
	s.status = status.Agent{Node: "node-a", State: "holding", Owned: true, Term: 9}
	code, body := get(t, s.server(t).status)
	var got status.Agent
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != http.StatusOK {
		t.Fatalf("%d: %v", code, err)
	}
	if got.Node != "node-a" || got.State != "holding" || !got.Owned || got.Term != 9 {
		t.Errorf("%+v", got)
	}
}

func TestServicesPage(t *testing.T) {
	s := newContent(t)
	if code, body := get(t, s.server(t).services); code != http.StatusNotFound ||
		!strings.Contains(body, "serves no Services") {
		t.Errorf("without Services: %d %q", code, body)
	}
	s.services = http.HandlerFunc(func(w http.ResponseWriter,
		_ *http.Request) {
		fmt.Fprint(w, "page")
	})
	if code, body := get(t, s.server(t).services); code != http.StatusOK || body != "page" {
		t.Errorf("with Services: %d %q", code, body)
	}
}

// TestPagesAreSafeForATerminal: curl prints the pages, and their text is in part from Leases and
// API servers.
func TestPagesAreSafeForATerminal(t *testing.T) {
	const hostile = "\x1b[2J\u009b2J\x7f\u202e\n"
	s := newContent(t)
	s.stuck, s.notReady, s.credentials = hostile, hostile, hostile
	s.status = status.Agent{Node: hostile, HealthWhy: hostile, NotReady: hostile}
	server := s.server(t)
	unsafe := func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
	for name, page := range map[string]http.HandlerFunc{
		"/healthz": server.healthz, "/readyz": server.readyz, "/status": server.status,
	} {
		if _, body := get(t, page); strings.ContainsFunc(body, unsafe) ||
			!strings.Contains(body, "009b") {
			t.Errorf("%s: %q", name, body)
		}
	}
}

// TestPortInUse is logged once and tried again. Meanwhile the other port serves.
func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	s := newContent(t)
	s.config.HealthAddress, s.config.MetricsAddress = taken.Addr().String(), free.Addr().String()
	health, public := "http://"+s.config.HealthAddress, "http://"+s.config.MetricsAddress
	stop := s.run(t)
	defer stop()
	testutil.Eventually(t, "/metrics",
		func() bool { return codeOf(public+"/metrics") == http.StatusOK })
	const warning = "cannot serve; trying again"
	testutil.Eventually(t, "the warning",
		func() bool { return strings.Contains(s.log.String(), warning) })
	if codeOf(public+"/readyz") != http.StatusNotFound {
		t.Error("/readyz is served to the network")
	}
	taken.Close()
	testutil.Eventually(t, "/healthz",
		func() bool { return codeOf(health+"/healthz") == http.StatusOK })
	stop()
	http.DefaultClient.CloseIdleConnections()
	if n := strings.Count(s.log.String(), warning); n != 1 {
		t.Errorf("logged %d times: %s", n, s.log.String())
	}
	if codeOf(health+"/healthz") != 0 {
		t.Error("serves after the end")
	}
}

// TestOutagesAreLoggedOnce, that of the probes' socket too: no socket has a name of that length.
func TestOutagesAreLoggedOnce(t *testing.T) {
	before := listenPause
	t.Cleanup(func() { listenPause = before })
	listenPause = backoff.Backoff{Min: time.Millisecond, Max: time.Millisecond}
	s := newContent(t)
	s.config.HealthAddress = strings.Repeat("x", 120)
	stop := s.run(t)
	warnings := func() int { return s.log.Count("cannot serve") }
	testutil.Eventually(t, "a warning of each server", func() bool { return warnings() >= 2 })
	time.Sleep(20 * listenPause.Min)
	if stop(); warnings() != 2 {
		t.Errorf("logged %d times: %s", warnings(), s.log.String())
	}
}

// TestKubeletProbe asks for /healthz over the Unix socket, as `kvip healthz` does.
func TestKubeletProbe(t *testing.T) {
	s := newContent(t) // no metrics: one server less
	stop := s.run(t)
	defer stop()
	testutil.Eventually(t, "the socket", func() bool {
		text, err := Healthz(t.Context(), s.config.HealthAddress)
		return err == nil && text == "ok"
	})
	if _, err := Healthz(t.Context(), "192.0.2.1:1"); err == nil ||
		!strings.Contains(err.Error(), "no agent with --health-address 192.0.2.1:1") {
		t.Errorf("another agent's address: %v", err)
	}
	stop()
	if _, err := Healthz(t.Context(), s.config.HealthAddress); err == nil {
		t.Error("served after the end")
	}
	if s.log.String() != "" {
		t.Errorf("logged %s", s.log.String())
	}
}

// TestKubeletProbeFails with the text of /healthz if a component is stuck.
func TestKubeletProbeFails(t *testing.T) {
	s := newContent(t)
	s.stuck = "loop hangs"
	defer s.run(t)()
	testutil.Eventually(t, "the failure", func() bool {
		_, err := Healthz(t.Context(), s.config.HealthAddress)
		return err != nil && strings.Contains(err.Error(), "the agent is not healthy: loop hangs")
	})
}

// TestPagesOfEachAddress: the network sees neither /healthz nor /readyz, and no other method or
// path is a page.
func TestPagesOfEachAddress(t *testing.T) {
	var addresses [2]string
	for i := range addresses {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addresses[i] = free.Addr().String()
		free.Close()
	}
	s := newContent(t)
	s.services = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	s.config.HealthAddress, s.config.MetricsAddress = addresses[0], addresses[1]
	defer s.run(t)()
	defer http.DefaultClient.CloseIdleConnections()
	for i, want := range []map[string]int{
		{"/healthz": 200, "/readyz": 200, "/status": 200, "/services": 200, "/metrics": 404,
			"/": 404, "/debug/pprof/": 404, "/healthz/x": 404},
		{"/healthz": 404, "/readyz": 404, "/status": 200, "/services": 200, "/metrics": 200,
			"/": 404, "/debug/pprof/": 404, "/metrics/x": 404},
	} {
		testutil.Eventually(t, "the server",
			func() bool { return codeOf("http://"+addresses[i]+"/status") == 200 })
		for path, code := range want {
			if got := codeOf("http://" + addresses[i] + path); got != code {
				t.Errorf("address %d, %s: %d, want %d", i, path, got, code)
			}
		}
	}
}
