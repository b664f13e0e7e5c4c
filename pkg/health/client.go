package health

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	readyTimeout = 5 * time.Second // /readyz keeps it: etcd may need long
	pingTimeout  = time.Second     // E7: silence of /livez/ping that is death
	idleTimeout  = 30 * time.Second
	bodyLimit    = 64 << 10

	besideTimeout = 500 * time.Millisecond // of a second /readyz
)

// client asks the API server, on the candidate address that answered last. HTTP/1.1 on
// purpose: one request at a time on one connection needs no more, and costs less.
type client struct {
	cfg   *Config
	ready line
	live  *http.Transport // a connection of its own: the first may be stuck
	extra *http.Transport // and one for the second /readyz
	kept  string          // base URL that answered last; only look reads and writes it
	used  atomic.Pointer[string]
	again time.Time // when a refused connection may be replaced
	auth  string    // of the last ping
}

// newClient makes a client that calls lost when the server ends /readyz's connection.
func newClient(cfg *Config, lost func()) *client {
	return &client{cfg: cfg, ready: line{dialer: dialer{cfg}, lost: lost}, live: newTransport(cfg), extra: newTransport(cfg)}
}

// close drops the connections. No request may be under way.
func (c *client) close() {
	c.ready.close()
	c.live.CloseIdleConnections()
	c.extra.CloseIdleConnections()
}

// look asks /readyz of the address kept; only if that fails, of each candidate in turn.
func (c *client) look(ctx context.Context) Observation {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	var worst Observation
	first := c.kept
	if c.cfg.URL != "" {
		first = c.cfg.URL
	}
	if first != "" {
		obs, answered := c.ask(ctx, first)
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
		obs, answered := c.ask(ctx, base)
		if answered {
			c.kept = base
			return obs
		}
		worst = worse(worst, obs)
	}
	if worst.Outcome == 0 {
		return Observation{OutcomeBlind, "cannot probe: there is no address to probe"}
	}
	return worst
}

// ask asks one address and tells whether it answered.
func (c *client) ask(ctx context.Context, base string) (Observation, bool) {
	c.used.Store(&base)
	target := c.target(base)
	status, body, err := c.ready.get(ctx, target, c.authorization(target))
	if err != nil {
		return fromError(err), false
	}
	c.renew(status)
	return fromResponse(status, body), true
}

// target returns the URL of the page that says whether the server at base is ready.
func (c *client) target(base string) string {
	if c.cfg.URL != "" {
		return base
	}
	return strings.TrimSuffix(base, "/") + "/readyz"
}

// askBeside asks for /readyz while an earlier request for it is unanswered: a check of the
// server's that blocks one request need not block the next, which may be told that it failed.
func (c *client) askBeside(ctx context.Context) Observation {
	ctx, cancel := context.WithTimeout(ctx, besideTimeout)
	defer cancel()
	target := c.target(c.server())
	status, body, err := get(ctx, c.extra, target, c.authorization(target))
	if err != nil {
		return fromError(err)
	}
	return fromResponse(status, body)
}

// server returns the base URL that /readyz was asked of last, "" if there is none. Any
// goroutine may call it.
func (c *client) server() string {
	if base := c.used.Load(); base != nil {
		return *base
	}
	return ""
}

// renew makes the next poll dial anew where the server refuses the credentials: those of a
// connection are as old as the connection, and there may be others by now.
func (c *client) renew(status int) {
	if now := time.Now(); status == http.StatusUnauthorized && now.After(c.again) {
		c.ready.close()
		c.again = now.Add(certificatePeriod)
	}
}

// ping asks /livez/ping, which touches neither etcd nor an authorizer's cache, of the
// address that /readyz was asked of last. Any answer proves life: the error is nil.
func (c *client) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	base := c.server()
	if base == "" {
		return fmt.Errorf("%w: there is no address to probe", errBlind)
	}
	u, err := url.Parse(base)
	if err != nil {
		return fmt.Errorf("%w: %w", errBlind, err)
	}
	auth := c.authorization(base)
	if auth != c.auth { // a client certificate stays with its connection
		c.live.CloseIdleConnections()
		c.auth = auth
	}
	_, _, err = get(ctx, c.live, u.Scheme+"://"+u.Host+"/livez/ping", auth)
	return err
}

// authorization returns what is sent to the target, "" where it may not see the credentials.
func (c *client) authorization(target string) string {
	u, err := url.Parse(target)
	if err != nil || c.cfg.Authorization == nil || u.Scheme != "https" || !c.cfg.trusted(hostPort(u)) {
		return ""
	}
	return c.cfg.Authorization()
}

// get makes one GET request and reads the answer's body, up to bodyLimit.
func get(ctx context.Context, rt http.RoundTripper, target, authorization string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return 0, "", fmt.Errorf("%w: %w", errBlind, err)
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
