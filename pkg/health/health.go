// Package health judges whether the API server of this node serves, by polling its
// /readyz over one kept-alive connection. It does not decide who holds the VIP, and it
// knows nothing of Kubernetes beyond the health endpoints of the API server.
package health

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/boottime"
)

// Verdict is the judgement that an election acts on.
type Verdict int

const (
	// Unknown is the verdict until the first other one: nothing is proven yet.
	Unknown Verdict = iota
	// Healthy: the API server has been ready for a while.
	Healthy
	// Soft: it lives but does not serve well. A holder may stay if nobody is better.
	Soft
	// Dead: it does not serve and a client cannot be helped by waiting.
	Dead
)

// String returns the verdict in lower case, as it appears on the page /status.
func (v Verdict) String() string {
	switch v {
	case Healthy:
		return "healthy"
	case Soft:
		return "not-ready"
	case Dead:
		return "dead"
	default:
		return "unknown"
	}
}

// told is how the log tells of a verdict.
var told = map[Verdict]string{
	Unknown: "API server is not judged yet",
	Healthy: "API server is healthy",
	Soft:    "API server is alive but not ready",
	Dead:    "API server is dead",
}

// Codes that State.Code takes: stable labels for metrics and events.
const (
	CodeOK           = "ok"
	CodeUnauthorized = "unauthorized" // alive, but it does not know our credentials
	CodeRefused      = "refused"      // nothing listens on any candidate address
	CodeShutdown     = "shutdown"     // it has begun its graceful shutdown
	CodeNotReady     = "not-ready"    // /readyz fails for another reason
	CodeSlow         = "slow"         // /readyz is not answered, /livez/ping is
	CodeSilent       = "silent"       // not even /livez/ping is answered
	CodeHung         = "hung"         // silent, and the process stands still
	CodeBroken       = "broken"       // every connection ends without an answer
	CodeCertificate  = "certificate"  // the TLS handshake fails
	CodeUnknown      = "unknown"      // not probed yet, or this side cannot probe
)

// Codes returns every code, CodeUnknown first.
func Codes() []string {
	return []string{CodeUnknown, CodeOK, CodeUnauthorized, CodeRefused, CodeShutdown, CodeNotReady, CodeSlow, CodeSilent,
		CodeHung, CodeBroken, CodeCertificate}
}

// State is a judgement with its reason.
type State struct {
	Verdict Verdict
	Reason  string        // a sentence for people
	Code    string        // one of the Code constants
	Warning string        // alive but worth a look: credentials not accepted; else empty
	Since   time.Duration // when this verdict began, time since boot
	// Doubtful reports whether the last answer was a failure although the verdict is Healthy: one
	// more makes it Soft.
	Doubtful bool
	// Latency is the largest time that /readyz took to answer within the last second, or
	// for how long it has not answered yet: 1 ms to MaxLatency, 0 if it is not known. It
	// is as of the call of OnState, and a change of it alone is no new state.
	Latency time.Duration
}

// Slow reports whether the API server serves badly because it is slow: that may be load,
// which would follow the VIP to the next node.
func (s State) Slow() bool {
	return s.Verdict == Soft && (s.Code == CodeSlow || s.Code == CodeSilent)
}

// Config says what to probe. Zero values are as documented; URLs or URL is required.
type Config struct {
	// URLs returns base URLs to try in order, for example https://127.0.0.1:6443 and
	// then the node's address. It is asked whenever the address in use fails; the first
	// one that answers is kept.
	URLs func() []string
	// URL, if set, is polled as it is in place of URLs' /readyz. The process behind it is
	// taken to live as long as its /livez/ping gives any answer. Credentials are shown to it only over
	// https and at an address of URLs.
	URL string
	// TLS is asked at each dial, so that renewed certificates are picked up. nil: the
	// system's roots and no client certificate. A missing ServerName becomes the host dialled.
	TLS func() (*tls.Config, error)
	// Authorization returns the header's value ("Bearer ..."), or "". nil: none.
	Authorization func() string
	// Period is the least time between the starts of two polls; 0 = 100 ms.
	Period time.Duration
	// Clock stamps the states; nil = boottime.Boottime.
	Clock boottime.Clock
	// Log receives one record per change of verdict; nil = slog.Default.
	Log *slog.Logger
	// OnState is called from Run's goroutine, with the new state at every change and with
	// the present one at least once a second, as a sign of life (E12). It must not block.
	OnState func(State)
}

// DefaultPeriod is the polling period of E7.
const DefaultPeriod = 100 * time.Millisecond

// New checks the configuration and fills in its defaults. It starts nothing.
func New(cfg Config) (*Prober, error) {
	if cfg.URL == "" && cfg.URLs == nil {
		return nil, errors.New("configure health probe: neither URL nor URLs is set")
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
		cfg.Period = DefaultPeriod
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if strings.HasPrefix(cfg.URL, "http://") && cfg.Authorization != nil {
		cfg.Log.Warn("probing without credentials", "reason", cfg.URL+" is not https; name the page with https to show it credentials")
	}
	if cfg.OnState == nil {
		cfg.OnState = func(State) {}
	}
	return &Prober{cfg: cfg, lost: make(chan struct{}, 1)}, nil
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
