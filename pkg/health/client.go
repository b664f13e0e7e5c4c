package health

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	readyTimeout  = 5 * time.Second // of /readyz: etcd may need long
	pingTimeout   = time.Second     // of /livez/ping
	secondTimeout = 500 * time.Millisecond
	idleTimeout   = 30 * time.Second
	// connectTimeout is for TCP alone: a listener on this host accepts at once.
	connectTimeout = time.Second
	bodyLimit      = 64 << 10
)

// client sends requests to the API server, at the candidate address that answered last. It uses
// HTTP/1.1: one request at a time on one connection needs no more, and costs less than HTTP/2.
type client struct {
	cfg        *Config
	ready      persistentConn
	live       *http.Transport // for /livez/ping: the connection of /readyz may be stuck
	second     *http.Transport // for the second /readyz
	kept       string          // base URL that answered last; only probe uses it
	current    atomic.Pointer[string]
	redialFrom time.Time // when a connection that got 401 may be replaced
	pingAuth   string    // Authorization of the last ping
}

// newClient returns a client that calls disconnected when the server ends the connection of
// /readyz, as persistentConn does.
func newClient(cfg *Config, disconnected func(aborted bool)) *client {
	return &client{
		cfg:   cfg,
		ready: persistentConn{dialer: dialer{cfg}, disconnected: disconnected},
		live:  newTransport(cfg), second: newTransport(cfg),
	}
}

// close closes the connections. No request may be in flight.
func (c *client) close() {
	c.ready.close()
	c.live.CloseIdleConnections()
	c.second.CloseIdleConnections()
}

// probe requests /readyz from the kept address, and from each candidate in turn if that fails.
func (c *client) probe(ctx context.Context) Observation {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	var worst Observation
	first := c.kept
	if c.cfg.URL != "" {
		first = c.cfg.URL
	}
	if first != "" {
		obs, answered := c.probeAt(ctx, first)
		if answered || c.cfg.URL != "" {
			return obs
		}
		worst = obs
	}
	c.kept = ""
	for _, base := range c.cfg.URLs() {
		if base == first || ctx.Err() != nil {
			continue
		}
		obs, answered := c.probeAt(ctx, base)
		if answered {
			c.kept = base
			return obs
		}
		worst = worse(worst, obs)
	}
	if worst.Outcome == 0 {
		return Observation{OutcomeCannotProbe, "cannot probe: there is no address to probe"}
	}
	return worst
}

// probeAt probes one address and reports whether it answered.
func (c *client) probeAt(ctx context.Context, base string) (Observation, bool) {
	c.current.Store(&base)
	target := c.readyURL(base)
	status, body, err := c.ready.get(ctx, target, c.authorization(target))
	if err != nil {
		return fromError(err), false
	}
	// The credentials of a connection are those at its dial, and there may be others by now.
	if now := time.Now(); status == http.StatusUnauthorized && now.After(c.redialFrom) {
		c.ready.close()
		c.redialFrom = now.Add(certificatePeriod)
	}
	return fromResponse(status, body), true
}

// readyURL returns the URL of the page that reports whether the server at base is ready.
func (c *client) readyURL(base string) string {
	if c.cfg.URL != "" {
		return base
	}
	return strings.TrimSuffix(base, "/") + "/readyz"
}

// secondProbe requests /readyz while an earlier request for it is unanswered. A check that blocks
// one request in the server need not block the next, which may get the failed check as its answer.
func (c *client) secondProbe(ctx context.Context) Observation {
	ctx, cancel := context.WithTimeout(ctx, secondTimeout)
	defer cancel()
	target := c.readyURL(c.server())
	status, body, err := get(ctx, c.second, target, c.authorization(target))
	if err != nil {
		return fromError(err)
	}
	return fromResponse(status, body)
}

// server returns the base URL that was probed last, "" if there is none. It is safe for concurrent
// use.
func (c *client) server() string {
	if base := c.current.Load(); base != nil {
		return *base
	}
	return ""
}

// ping requests /livez/ping, which uses neither etcd nor the authorizer's cache, from the address
// that was probed last. Any answer is a sign of life: the error is nil.
func (c *client) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	base := c.server()
	if base == "" {
		return fmt.Errorf("%w: there is no address to probe", errCannotProbe)
	}
	u, err := url.Parse(base)
	if err != nil {
		return fmt.Errorf("%w: %w", errCannotProbe, err)
	}
	auth := c.authorization(base)
	if auth != c.pingAuth { // a client certificate belongs to its connection
		c.live.CloseIdleConnections()
		c.pingAuth = auth
	}
	_, _, err = get(ctx, c.live, u.Scheme+"://"+u.Host+"/livez/ping", auth)
	return err
}

// authorization returns the header for target, "" if its server may not see the credentials.
func (c *client) authorization(target string) string {
	u, err := url.Parse(target)
	if err != nil || c.cfg.Authorization == nil || u.Scheme != "https" ||
		!c.cfg.trusted(hostPort(u)) {
		return ""
	}
	return c.cfg.Authorization()
}

// Ready sends one request for /readyz on a connection of its own. It returns nil if /readyz below
// baseURL answers 2xx, else an error with the failed checks. A nil config trusts the system's
// roots. authorization is the header's value or "". ctx limits the time.
func Ready(ctx context.Context, config *tls.Config, authorization, baseURL string) error {
	cfg := &Config{TLS: func() (*tls.Config, error) { return config, nil }}
	transport := newTransport(cfg)
	transport.DisableKeepAlives = true
	defer transport.CloseIdleConnections()
	target := strings.TrimSuffix(baseURL, "/") + "/readyz"
	status, body, err := get(ctx, transport, target, authorization)
	if err != nil {
		return fmt.Errorf("probe API server: %w", err)
	}
	if status < 200 || status > 299 {
		return fmt.Errorf("probe API server %s: %s", baseURL, fromResponse(status, body).Detail)
	}
	return nil
}

// get sends one GET request and reads the body of the answer, up to bodyLimit.
func get(ctx context.Context, rt http.RoundTripper, target, authorization string) (int, string,
	error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return 0, "", fmt.Errorf("%w: %w", errCannotProbe, err)
	}
	req.Header.Set("User-Agent", "kvip")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return 0, "", fmt.Errorf("get %s: %w", target, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
	if err != nil {
		return 0, "", fmt.Errorf("read answer of %s: %w", target, err)
	}
	return resp.StatusCode, string(body), nil
}

// newTransport returns a transport that keeps one connection.
func newTransport(cfg *Config) *http.Transport {
	d := dialer{cfg}
	return &http.Transport{
		Proxy:              nil, // never: a proxy's health is not the API server's
		DialContext:        d.plain,
		DialTLSContext:     d.secure,
		MaxIdleConns:       1,
		IdleConnTimeout:    idleTimeout,
		DisableCompression: true,
	}
}

// dialer makes connections as the configuration says.
type dialer struct{ cfg *Config }

func (d dialer) plain(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: connectTimeout, KeepAlive: -1}
	return dialer.DialContext(ctx, network, address)
}

func (d dialer) secure(ctx context.Context, network, address string) (net.Conn, error) {
	config, err := d.config(address)
	if err != nil {
		return nil, err
	}
	conn, err := d.plain(ctx, network, address)
	if err != nil {
		return nil, err
	}
	client := tls.Client(&countingConn{Conn: conn}, config)
	if err := client.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("handshake with %s: %w", address, err)
	}
	return client, nil
}

// config returns the TLS configuration for a dial: certificates may have been renewed (E7).
func (d dialer) config(address string) (*tls.Config, error) {
	config := &tls.Config{}
	if d.cfg.TLS != nil {
		given, err := d.cfg.TLS()
		if err != nil {
			return nil, fmt.Errorf("%w: load TLS credentials: %w", errCannotProbe, err)
		}
		if given != nil {
			config = given.Clone()
		}
	}
	if !d.cfg.trusted(address) {
		config.Certificates, config.GetClientCertificate = nil, nil
	}
	config.NextProtos = []string{"http/1.1"}
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errCannotProbe, err)
		}
		config.ServerName = host
	}
	return config, nil
}

// trusted reports whether the server at address may see the credentials: it is one of the API
// server's own. Any server may be behind a configured URL.
func (c *Config) trusted(address string) bool {
	if c.URL == "" {
		return true
	}
	return c.URLs != nil && slices.ContainsFunc(c.URLs(), func(base string) bool {
		u, err := url.Parse(base)
		return err == nil && hostPort(u) == address
	})
}

// hostPort returns the address to dial for a URL.
func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "http":
		port = "80"
	default:
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port)
}
