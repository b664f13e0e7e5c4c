package netlab

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/wait"
)

func TestOutage(t *testing.T) {
	t0 := time.Unix(1000, 0)
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	// one letter each 10 ms from -20 ms: + success, - failure
	reqs := func(spec string) (all []Request) {
		for i, r := range spec {
			result := "200"
			if r == '-' {
				result = FailedTimeout
			}
			all = append(all, Request{Start: at(10*i - 20), Result: result})
		}
		return all
	}
	for _, c := range []struct {
		name, spec string
		from, to   int
		want       int // ms
	}{
		{"no loss", "+++++++++", 0, 50, 10},
		{"one lost", "+++-+++++", 0, 50, 20},
		{"two gaps, the longer counts", "++-+---+++", 0, 50, 40},
		{"begins before the window", "+---++++", 0, 40, 40},
		{"never came back", "+++------", 0, 60, 60},
		{"came back after the window", "+++----------+", 0, 50, 110},
		{"a gap after the window does not count", "++++++++---+", 0, 40, 10},
		{"a gap before the window does not count", "-++++++", 0, 40, 10},
		{"nothing ever", "--------", 0, 40, 40},
		{"no requests", "", 0, 40, 40},
	} {
		if got := Outage(reqs(c.spec), at(c.from),
			at(c.to)); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("%s: %s, want %d ms", c.name, got, c.want)
		}
	}
}

func TestFailures(t *testing.T) {
	t0 := time.Unix(1000, 0)
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	for _, c := range []struct {
		spec        string // one letter each 10 ms: + success, - failure
		to          int
		failed, sum int // ms
	}{
		{"++++++", 60, 0, 0},
		{"++-+++", 60, 1, 10},
		{"+--+-+", 60, 3, 30},
		{"+-----", 60, 5, 50},       // never came back
		{"++---------+", 50, 3, 90}, // came back after the window
		{"++++----+++", 40, 0, 0},   // failed after it
		{"+-+++++-----", 50, 1, 10},
		{"", 50, 0, 0},
	} {
		var reqs []Request
		for i, r := range c.spec {
			result := "200"
			if r == '-' {
				result = FailedReset
			}
			reqs = append(reqs, Request{Start: at(10 * i), Result: result})
		}
		failed, sum := Failures(reqs, at(c.to))
		if failed != c.failed || sum != time.Duration(c.sum)*time.Millisecond {
			t.Errorf("%q up to %d ms: %d failed in %v, want %d in %d ms", c.spec, c.to, failed, sum,
				c.failed, c.sum)
		}
	}
}

// listen waits in a host for one datagram.
func listen(t *testing.T, h *Host) (wait func() string) {
	t.Helper()
	var conn *net.UDPConn
	must(t, h.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 9})
		return err
	}))
	t.Cleanup(func() { _ = conn.Close() })
	return func() string {
		buf := make([]byte, 100)
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, _, err := conn.ReadFrom(buf)
		must(t, err)
		return string(buf[:n])
	}
}

func udp(t *testing.T, from, to *Host, text string) {
	t.Helper()
	must(t, from.Do(func() error {
		conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: to.Addr(true).AsSlice(), Port: 9})
		if err != nil {
			return err
		}
		_, err = conn.Write([]byte(text))
		return errors.Join(err, conn.Close())
	}))
}

// serve runs an HTTPS server on every address of a host and returns what a client trusts.
func serve(t *testing.T, h *Host, handler http.HandlerFunc) (*httptest.Server, *tls.Config) {
	t.Helper()
	var l net.Listener
	must(t, h.Do(func() (err error) {
		l, err = net.Listen("tcp", ":6443")
		return err
	}))
	srv := httptest.NewUnstartedServer(handler)
	_ = srv.Listener.Close()
	srv.Listener = l
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that distrust it are part of the tests
	srv.StartTLS()
	t.Cleanup(srv.Close)
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	// its certificate has no such address
	return srv, &tls.Config{RootCAs: pool, InsecureSkipVerify: true}
}

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }

func startClient(t *testing.T, cfg ClientConfig) *Client {
	t.Helper()
	c, err := StartClient(cfg)
	must(t, err)
	t.Cleanup(c.Stop)
	return c
}

func TestClientMeasuresAKnownGap(t *testing.T) {
	l, h := newLab(t)
	_, conf := serve(t, h["a"], ok)
	c := startClient(t, ClientConfig{Host: h["c"], Target: netip.AddrPortFrom(h["a"].Addr(true), 6443),
		TLS: conf})
	answered := func(since time.Time) func() bool {
		return func() bool { return countOK(c.Requests(since)) > 5 }
	}
	wait.Eventually(t, patience, "answers", answered(time.Time{}))
	cut := time.Now()
	must(t, l.Partition(h["a"], h["c"]))
	wait.Eventually(t, patience, "a request that fails", func() bool {
		r := c.Requests(cut)
		return len(r) > 0 && r[len(r)-1].Result == FailedTimeout
	})
	must(t, l.Heal())
	healed := time.Now()
	wait.Eventually(t, patience, "answers again", answered(healed))
	// Retransmission lets requests from inside the gap succeed late, but none before the heal
	// can end earlier than it: the gap is bounded by both instants, whatever the machine does.
	if got := c.Outage(cut, time.Now()); got <= 0 || got > time.Since(cut) {
		t.Errorf("outage %s of a cut of %s", got, healed.Sub(cut))
	}
	for _, r := range c.Requests(cut) {
		if r.OK() && r.Start.Add(r.Took).Before(healed) && r.Start.After(cut.Add(100*time.Millisecond)) {
			t.Errorf("request at %s succeeded through the cut", r.Start.Sub(cut))
		}
	}
}

func countOK(reqs []Request) (n int) {
	for _, r := range reqs {
		if r.OK() {
			n++
		}
	}
	return n
}

func TestClientNamesWhatItGot(t *testing.T) {
	_, h := newLab(t)
	var status atomic.Int32
	status.Store(http.StatusOK)
	srv, conf := serve(t, h["a"], func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-r.Context().Done()
		}
		w.WriteHeader(int(status.Load()))
	})
	to := netip.AddrPortFrom(h["a"].Addr(false), 6443)
	first := func(cfg ClientConfig) string {
		if cfg.Timeout == 0 {
			cfg.Timeout = patience // an answer must come, however late
		}
		cfg.Host = h["b"]
		c := startClient(t, cfg)
		defer c.Stop()
		wait.Eventually(t, patience, "a request", func() bool { return len(c.Requests(time.Time{})) > 0 })
		return c.Requests(time.Time{})[0].Result
	}
	if got := first(ClientConfig{Target: to, TLS: conf}); got != "200" {
		t.Errorf("healthy: %s", got)
	}
	if got := first(ClientConfig{Target: to, TLS: &tls.Config{}}); got != FailedTLS {
		t.Errorf("untrusted: %s", got)
	}
	hang := ClientConfig{Target: to, TLS: conf, Path: "/hang", Timeout: 200 * time.Millisecond}
	if got := first(hang); got != FailedTimeout {
		t.Errorf("hanging: %s", got)
	}
	status.Store(http.StatusInternalServerError)
	if got := first(ClientConfig{Target: to, TLS: conf}); got != "500" {
		t.Errorf("unhealthy: %s", got)
	}
	srv.CloseClientConnections()
	must(t, srv.Listener.Close())
	if got := first(ClientConfig{Target: to, TLS: conf}); got != FailedRefused {
		t.Errorf("closed: %s", got)
	}
	if got := first(ClientConfig{Target: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), 1),
		TLS: conf}); got != FailedRoute {
		t.Errorf("no route: %s", got)
	}
	if _, err := StartClient(ClientConfig{}); err == nil {
		t.Error("an empty configuration is accepted")
	}
}

func TestClientIsCheap(t *testing.T) {
	_, h := newLab(t)
	_, conf := serve(t, h["a"], ok)
	before := cpu(t)
	start := time.Now()
	c := startClient(t, ClientConfig{Host: h["c"], Target: netip.AddrPortFrom(h["a"].Addr(true), 6443),
		TLS: conf})
	time.Sleep(time.Second)
	c.Stop()
	t.Logf("%d requests, client and server together %.1f%% of a core", len(c.Requests(time.Time{})),
		100*float64(cpu(t)-before)/float64(time.Since(start)))
}

func TestCaptureKeepsFramesWhenAsked(t *testing.T) {
	l, h := newLab(t)
	c, err := l.StartCapture(2380)
	must(t, err)
	if !canReach(t, h["a"], h["b"], 80) || !canReach6(t, h["a"], h["b"], 2380) {
		t.Fatal("hosts do not reach each other")
	}
	keep := t.TempDir() + "/sub/kept.pcap"
	wait.Eventually(t, patience, "frames", func() bool { return c.Frames() > 1 })
	must(t, c.Stop(keep))
	b, err := os.ReadFile(keep)
	must(t, err)
	if len(b) < 24+16+42 || string(b[:4]) != "\x4d\x3c\xb2\xa1" {
		t.Errorf("pcap of %d bytes", len(b))
	}
	c, err = l.StartCapture()
	must(t, err)
	must(t, c.Stop(""))
	if _, err := os.Stat(c.file.Name()); err == nil {
		t.Error("the capture was kept without a path")
	}
}
