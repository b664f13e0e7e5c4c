// Package metrics names every metric of kvip, in this one place, and serves them. Callers hand it
// plain values; it decides nothing and never looks at the system by itself.
package metrics

import (
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// failoverBuckets, in seconds, are dense where kvip's targets lie: 0.1 s for a hand-over, 2.0 and
// 2.5 s for a hung API server or a dead etcd member, 5.5 s for a lost node.
var failoverBuckets = []float64{0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 1.5, 2, 2.5, 3.5, 5.5, 8, 15, 30}

// Set is kvip's metrics with a registry of their own. All methods may be called at any time and from
// any goroutine; on a nil *Set they do nothing.
type Set struct {
	registry *prometheus.Registry

	holder        *prometheus.GaugeVec
	transitions   *prometheus.CounterVec
	failover      prometheus.Histogram
	renewals      *prometheus.CounterVec
	apiErrors     *prometheus.CounterVec
	healthState   *prometheus.GaugeVec
	announcements *prometheus.CounterVec
	conflicts     *prometheus.CounterVec
	fenceExpiries prometheus.Counter
	ready         prometheus.Gauge
	leaseTerm     prometheus.Gauge
	degraded      prometheus.Gauge
	credentials   *prometheus.GaugeVec
	tokenExpiry   prometheus.Gauge
	services      servicesMetrics

	mu     sync.Mutex
	health string // the state whose gauge is 1
}

// New returns a Set that reports the given version and commit as build information, beside what the
// Go runtime and the kernel say of this process.
func New(version, commit string) (*Set, error) {
	s := &Set{
		registry:      prometheus.NewRegistry(),
		holder:        gauges("kvip_holder", "1 while this node owns the VIP, else 0.", "vip"),
		transitions:   counters("kvip_transitions_total", "Changes between holding and standing by, by reason.", "reason"),
		renewals:      counters("kvip_renewals_total", "Renewals of the lease by result.", "result"),
		apiErrors:     counters("kvip_api_errors_total", "Failed requests to the Kubernetes API by operation and code.", "op", "code"),
		healthState:   gauges("kvip_health_state", "1 for the present state of the local API server, 0 for its earlier states.", "state"),
		announcements: counters("kvip_announcements_sent_total", "Announcements sent by VIP and kind of frame.", "vip", "kind"),
		conflicts:     counters("kvip_conflicts_total", "Announcements of the VIP by others while this node held it.", "vip"),
		fenceExpiries: prometheus.NewCounter(prometheus.CounterOpts{Name: "kvip_fence_expiries_total", Help: "Times the VIP ended at its deadline because no renewal was confirmed."}),
		ready:         prometheus.NewGauge(prometheus.GaugeOpts{Name: "kvip_ready", Help: "1 while /readyz answers 200."}),
		leaseTerm:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "kvip_lease_term", Help: "Term of the lease as last seen (leaseTransitions)."}),
		degraded:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "kvip_degraded", Help: "1 while this node holds the VIP although its API server is not ready, because no other is."}),
		credentials:   gauges("kvip_credentials", "1 for those whose rights are used now, 0 for the others.", "credentials"),
		tokenExpiry:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "kvip_token_expiry_timestamp_seconds", Help: "When the token that kvip keeps itself expires, in seconds since 1970; 0 without one."}),
		failover: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kvip_failover_duration_seconds", Buckets: failoverBuckets,
			Help: "Time from learning that the VIP is free, or its holder silent, to its first announcement from this node."}),
	}
	s.services = servicesMetrics{
		addresses: gauges("kvip_service_addresses", "Addresses of Services on this node, by state: owned, or leaving for another node.", "state"),
		moves:     counters("kvip_service_moves_total", "Addresses of Services that this node took or gave up.", "change"),
		frames:    counters("kvip_service_announcements_total", "Announcements of Services' addresses sent, by kind of frame.", "kind"),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{Name: "kvip_service_conflicts_total", Help: "Announcements by others of Services' addresses that this node owns."}),
		allocated: gauges("kvip_services", "Services by the reason of their condition; told by the node that gives out addresses.", "reason"),
		used:      gauges("kvip_pool_used_addresses", "Addresses of a pool that Services have; told by the node that gives out addresses.", "pool"),
		size:      gauges("kvip_pool_size_addresses", "Addresses of a pool; told by the node that gives out addresses.", "pool"),
	}
	build := gauges("kvip_build_info", "Always 1; the labels tell the build.", "version", "commit", "goversion")
	build.WithLabelValues(version, commit, runtime.Version()).Set(1)
	for _, c := range []prometheus.Collector{
		s.holder, s.transitions, s.failover, s.renewals, s.apiErrors, s.healthState, s.announcements, s.conflicts,
		s.fenceExpiries, s.ready, s.leaseTerm, s.degraded, s.credentials, s.tokenExpiry, build, s.services,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := s.registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return s, nil
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// Handler serves the metrics in the formats that Prometheus asks for.
func (s *Set) Handler() http.Handler {
	if s == nil {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{})
}

// Holder says whether this node owns the VIP.
func (s *Set) Holder(vip netip.Addr, owns bool) {
	if s != nil {
		s.holder.WithLabelValues(vip.String()).Set(truth(owns))
	}
}

// Transition counts a change between holding and standing by under its reason, a stable code.
func (s *Set) Transition(reason string) {
	if s != nil {
		s.transitions.WithLabelValues(reason).Inc()
	}
}

// Failover records how long the VIP took to arrive here.
func (s *Set) Failover(took time.Duration) {
	if s != nil {
		s.failover.Observe(took.Seconds())
	}
}

// Renewal counts a renewal under its result: ok, conflict, failed.
func (s *Set) Renewal(result string) {
	if s != nil {
		s.renewals.WithLabelValues(result).Inc()
	}
}

// APIError counts a failed request under its operation (get, update, watch, ...) and its HTTP status
// or a stable code such as timeout.
func (s *Set) APIError(op, code string) {
	if s != nil {
		s.apiErrors.WithLabelValues(op, code).Inc()
	}
}

// Health makes state, a stable code, the present state of the local API server.
func (s *Set) Health(state string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.healthState.WithLabelValues(state).Set(1)
	if s.health != "" && s.health != state {
		s.healthState.WithLabelValues(s.health).Set(0)
	}
	s.health = state
}

// Announced counts a sent announcement of the VIP under its kind of frame.
func (s *Set) Announced(vip netip.Addr, kind string) {
	if s != nil {
		s.announcements.WithLabelValues(vip.String(), kind).Inc()
	}
}

// Conflict counts an announcement of the VIP by somebody else.
func (s *Set) Conflict(vip netip.Addr) {
	if s != nil {
		s.conflicts.WithLabelValues(vip.String()).Inc()
	}
}

// FenceExpired counts a VIP that ended at its deadline (E1).
func (s *Set) FenceExpired() {
	if s != nil {
		s.fenceExpiries.Inc()
	}
}

// Ready says what /readyz answers.
func (s *Set) Ready(ready bool) {
	if s != nil {
		s.ready.Set(truth(ready))
	}
}

// Term sets the term of the lease as last seen.
func (s *Set) Term(term int64) {
	if s != nil {
		s.leaseTerm.Set(float64(term))
	}
}

// Degraded says whether this node holds the VIP with an API server that is not ready (E6).
func (s *Set) Degraded(degraded bool) {
	if s != nil {
		s.degraded.Set(truth(degraded))
	}
}

// Credentials makes one of "serviceaccount", "bootstrap" and "none" the one in use.
func (s *Set) Credentials(kind string) {
	if s == nil {
		return
	}
	for _, k := range []string{"serviceaccount", "bootstrap", "none"} {
		s.credentials.WithLabelValues(k).Set(truth(k == kind))
	}
}

// TokenExpiry says when kvip's own token expires; the zero time is that of no token.
func (s *Set) TokenExpiry(at time.Time) {
	if s == nil {
		return
	}
	seconds := 0.0
	if !at.IsZero() {
		seconds = float64(at.Unix())
	}
	s.tokenExpiry.Set(seconds)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
