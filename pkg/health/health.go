// Package health decides whether the API server of this node serves clients, by polling its /readyz
// over one kept-alive connection. It does not decide who holds the virtual IP, and knows nothing of
// Kubernetes beyond the health endpoints of the API server.
package health

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/reporter"
)

// Codes that State.Code takes: stable labels for metrics and logs.
const (
	CodeOK           = "ok"
	CodeUnauthorized = "unauthorized" // alive, but it rejects the probe's credentials
	CodeRefused      = "refused"      // nothing listens on any candidate address
	CodeShutdown     = "shutdown"     // graceful shutdown has begun
	CodeNotReady     = "not-ready"    // /readyz fails for another reason
	CodeSlow         = "slow"         // /readyz is unanswered, /livez/ping is answered
	CodeSilent       = "silent"       // /livez/ping is unanswered too
	CodeHung         = "hung"         // silent, and the process does not use its sockets
	CodeBroken       = "broken"       // every connection ends without an answer
	CodeCertificate  = "certificate"  // the TLS handshake fails
	CodeUnknown      = "unknown"      // not probed yet, or this side cannot probe
)

// Codes returns every code, CodeUnknown first.
func Codes() []string {
	return []string{
		CodeUnknown, CodeOK, CodeUnauthorized, CodeRefused, CodeShutdown, CodeNotReady, CodeSlow,
		CodeSilent, CodeHung, CodeBroken, CodeCertificate,
	}
}

// State is a verdict with its reason.
type State struct {
	Verdict election.Verdict
	Reason  string        // a sentence for people
	Code    string        // one of the Code constants
	Warning string        // healthy, but the credentials are rejected; else empty
	Since   time.Duration // when this verdict began, time since boot
	// LastProbeFailed reports whether the last answer was a failure although the verdict is
	// Healthy: one more makes it NotReady.
	LastProbeFailed bool
	// Latency is the longest time that /readyz took to answer within the last second, or has not
	// answered yet: 1 ms to 1 min, 0 if unknown. It is as of the call of OnState. A change of
	// Latency alone is not a new state.
	Latency time.Duration
	// Observed is when the last request began that shows this state, time since boot: a poll that
	// was answered or failed, or one during a silence that is reported. As with Latency, a change
	// alone is not a new state.
	Observed time.Duration
}

// Slow reports whether the API server is not ready because it is slow. That may be load, which
// would follow the virtual IP to the next node.
func (s State) Slow() bool {
	return s.Verdict == election.NotReady && (s.Code == CodeSlow || s.Code == CodeSilent)
}

// Config is what to probe. URLs or URL is required.
type Config struct {
	// URLs returns base URLs to try in order, for example https://127.0.0.1:6443 and then the
	// node's address. It is called whenever the address in use fails. The first one that answers
	// is kept.
	URLs func() []string
	// URL, if set, is polled as it is instead of the /readyz pages of URLs. Its server counts as
	// alive as long as its /livez/ping gives any answer. Credentials are sent only over https and
	// to an address of URLs.
	URL string
	// TLS is called at each dial, so that renewed certificates are used. Nil: the system's roots
	// and no client certificate. A missing ServerName becomes the host dialled.
	TLS func() (*tls.Config, error)
	// Authorization returns the value of the header ("Bearer ..."), or "". Nil: no header.
	Authorization func() string
	// Period is the minimum time between the starts of two polls. 0 is 100 ms (E7).
	Period time.Duration
	// Clock stamps the states. Nil is boottime.Now.
	Clock boottime.Clock
	// Log receives one record per change of verdict. Nil discards.
	Log *slog.Logger
	// Reporter receives a heartbeat every 0.5 s, and whether the API server is healthy. Nil
	// discards.
	Reporter *reporter.Reporter
	// OnState is called from Run's goroutine: at every change with the new state, and every 0.5 s
	// with the present one. It must not block. Nil discards.
	OnState func(State)
}

const defaultPeriod = 100 * time.Millisecond

// New validates the configuration and fills in its defaults. It starts nothing.
func New(cfg Config) (*Prober, error) {
	if cfg.URL == "" && cfg.URLs == nil {
		return nil, errors.New("configure health probe: URL or URLs is required")
	}
	if cfg.URL != "" {
		if err := checkURL(cfg.URL); err != nil {
			return nil, fmt.Errorf("configure health probe: %w", err)
		}
	}
	if cfg.Period < 0 {
		return nil, fmt.Errorf("configure health probe: period %v is negative", cfg.Period)
	}
	if cfg.Period == 0 {
		cfg.Period = defaultPeriod
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if strings.HasPrefix(cfg.URL, "http://") && cfg.Authorization != nil {
		cfg.Log.Warn("probing without credentials", "reason", cfg.URL+" is not an https URL")
	}
	if cfg.OnState == nil {
		cfg.OnState = func(State) {}
	}
	p := &Prober{cfg: cfg, disconnected: backoff.NewSignal(), aborted: backoff.NewSignal()}
	p.client = newClient(&p.cfg, func(aborted bool) {
		if aborted && cfg.URL == "" { // an API server says goodbye; other servers may not
			p.aborted.Notify()
		}
		p.disconnected.Notify()
	})
	p.sockets = &socketProbe{dialer: dialer{&p.cfg}, server: p.client.server}
	p.poll, p.secondPoll = newWorker(p.client.probe), newWorker(p.client.secondProbe)
	p.ping, p.socketWorker = newWorker(p.client.ping), newWorker(p.sockets.probe)
	return p, nil
}

func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("parse URL: %w", err)
	}
	if (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return fmt.Errorf("parse URL %q: want http:// or https:// and a host", raw)
	}
	return nil
}
