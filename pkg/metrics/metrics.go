// Package metrics names every metric of kvip and serves them. Callers pass plain values. It decides
// nothing and reads nothing from the system itself.
package metrics

import (
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// failoverBuckets, in seconds, are dense where kvip's targets lie: 0.1 s for a hand-over, 2.0 and
// 2.5 s for a hung API server or a dead etcd member, 5.5 s for a lost node.
var failoverBuckets = []float64{0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 1.5, 2, 2.5, 3.5, 5.5,
	8, 15, 30}

// Build names the program, for kvip_build_info.
type Build struct{ Version, Commit string }

// Known are the label values that exist. Their counters are 0 and their gauges present from the
// start: increase() does not see a counter that appears at 1, and == 0 does not see an absent
// series.
type Known struct {
	// VIPs of the control plane. Without any, no metric of the control plane is served.
	VIPs []netip.Addr
	// Announcements are the states of the announcement of the VIPs by BGP, the first one being that at
	// start. With some there is no election, and none of its metrics is served.
	Announcements []string
	// Transitions are the reasons for acquiring and releasing a VIP.
	Transitions []string
	// HealthStates are the states of the local API server, the first one being that at start.
	HealthStates []string
	// Fences are the variants of the fence.
	Fences []string
	// Modes are the modes of the holder's right. Dropped are why messages of agents are dropped.
	Modes, Dropped []string
	// Frames are the kinds of announcements.
	Frames []string
	// Services serves the metrics of Services. Refusals are the reasons of their conditions.
	Services bool
	Refusals []string
	// BGPReasons are why sessions of BGP end. Without any, no metric of sessions is served.
	BGPReasons []string
	// Requests are those to the Kubernetes API, Codes the ways in which they fail.
	Requests []Request
	Codes    []string
}

// Request is one kind of request to the Kubernetes API.
type Request struct{ Verb, Resource string }

// CodeOther stands for every code and reason that is not in Known. An API server can answer with
// any text.
const CodeOther = "Other"

// Set has kvip's metrics in a registry of their own. It is safe for concurrent use. The methods of
// a nil *Set do nothing.
type Set struct {
	registry *prometheus.Registry
	known    Known

	holder        *prometheus.GaugeVec
	transitions   *prometheus.CounterVec
	failover      prometheus.Histogram
	renewals      *prometheus.CounterVec
	apiErrors     *prometheus.CounterVec
	healthState   *prometheus.GaugeVec
	announcements *prometheus.CounterVec
	conflicts     *prometheus.CounterVec
	fenceExpiries prometheus.Counter
	fence         *prometheus.GaugeVec
	quorum        *quorumMetrics
	ready         prometheus.Gauge
	leaseTerm     prometheus.Gauge
	degraded      prometheus.Gauge
	credentials   *prometheus.GaugeVec
	tokenExpiry   prometheus.Gauge
	tokenMu       sync.Mutex
	hasToken      bool // tokenExpiry is registered
	services      servicesMetrics
	bgp           *bgpMetrics
}

// New returns a Set that serves the build, the known series, and the metrics of the Go runtime and
// of this process.
func New(build Build, known Known) (*Set, error) {
	s := &Set{
		known:    known,
		registry: prometheus.NewRegistry(),
		holder:   gauges("kvip_holder", "1 while this node owns the VIP, else 0.", "vip"),
		transitions: counters("kvip_transitions_total",
			"Changes between holding and standing by, by reason.", "reason"),
		renewals: counters("kvip_renewals_total", "Renewals of the lease by result.", "result"),
		apiErrors: counters("kvip_api_errors_total",
			"Failed requests to the Kubernetes API by verb, resource and code.", "verb", "resource", "code"),
		healthState: gauges("kvip_health_state",
			"1 for the present state of the local API server, 0 for every other one.", "state"),
		announcements: counters("kvip_announcements_sent_total",
			"Announcements sent by VIP and kind of frame.", "vip", "kind"),
		conflicts: counters("kvip_conflicts_total",
			"Announcements of the VIP by others while this node held it.", "vip"),
		fenceExpiries: prometheus.NewCounter(prometheus.CounterOpts{Name: "kvip_fence_expiries_total",
			Help: "Times the VIP ended at its deadline because no renewal was confirmed."}),
		fence: gauges("kvip_fence_info", "1 for the kind of fence that this kernel gives.", "fence"),
		ready: prometheus.NewGauge(prometheus.GaugeOpts{Name: "kvip_ready",
			Help: "1 while /readyz answers 200."}),
		leaseTerm: prometheus.NewGauge(prometheus.GaugeOpts{Name: "kvip_lease_term",
			Help: "Term of the lease as last seen (leaseTransitions)."}),
		degraded: prometheus.NewGauge(prometheus.GaugeOpts{Name: "kvip_degraded",
			Help: "1 while this node holds the VIP with an API server that is not ready or slow."}),
		credentials: gauges("kvip_credentials",
			"1 for those whose rights are used now, 0 for the others.", "credentials"),
		tokenExpiry: prometheus.NewGauge(prometheus.GaugeOpts{Name: "kvip_token_expiry_timestamp_seconds",
			Help: "When kvip's own token expires, in seconds since 1970; absent without one."}),
		failover: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kvip_failover_duration_seconds",
			Buckets: failoverBuckets,
			Help: "Time from learning that the VIP is free, or its holder silent, to its first " +
				"announcement from this node; without the first claim of a new lease."}),
	}
	s.quorum = newQuorumMetrics()
	s.services, s.bgp = newServicesMetrics(), newBGPMetrics()
	info := gauges("kvip_build_info", "Always 1; the labels identify the build.", "version", "commit",
		"goversion")
	info.WithLabelValues(build.Version, build.Commit, runtime.Version()).Set(1)
	parts := []prometheus.Collector{
		s.apiErrors, s.ready, s.credentials, info, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
	for _, c := range append(parts, s.served()...) {
		if err := s.registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	s.initSeries()
	return s, nil
}

// served returns the metrics of the parts that the agent has.
func (s *Set) served() (parts []prometheus.Collector) {
	switch {
	case len(s.known.VIPs) == 0:
	case len(s.known.Announcements) > 0:
		parts = append(parts, s.healthState, s.bgp.announcement)
	default:
		parts = append(parts, s.holder, s.transitions, s.failover, s.renewals, s.healthState,
			s.announcements, s.conflicts,
			s.fenceExpiries, s.fence, s.leaseTerm, s.degraded)
		parts = append(parts, s.quorum.collectors()...)
	}
	if s.known.Services {
		parts = append(parts, s.services)
	}
	if len(s.known.BGPReasons) > 0 {
		parts = append(parts, s.bgp)
	}
	return parts
}

// newServicesMetrics returns the metrics of Services, which are not registered yet.
func newServicesMetrics() servicesMetrics {
	return servicesMetrics{
		addresses: gauges("kvip_service_addresses",
			"Addresses of Services on this node, by state: owned, or leaving for another node.", "state"),
		moves: counters("kvip_service_moves_total",
			"Addresses of Services that this node took or gave up.", "change"),
		frames: counters("kvip_service_announcements_total",
			"Announcements of Services' addresses sent, by kind of frame.", "kind"),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{Name: "kvip_service_conflicts_total",
			Help: "Announcements by others of Services' addresses that this node owns."}),
		allocator: prometheus.NewGauge(prometheus.GaugeOpts{Name: "kvip_allocator",
			Help: "1 while this node gives out addresses of Services, else 0."}),
		allocated: gauges("kvip_services",
			"Services by the reason of their condition; reported by the allocator.", "reason"),
		used: gauges("kvip_pool_used_addresses",
			"Addresses of a pool that Services have; reported by the allocator.", "pool", "family"),
		size: gauges("kvip_pool_size_addresses", "Addresses of a pool; reported by the allocator.",
			"pool", "family"),
	}
}

// initSeries creates the series of all known label values.
func (s *Set) initSeries() {
	for _, reason := range s.known.Transitions {
		s.transitions.WithLabelValues(reason)
	}
	for _, result := range []string{"ok", "conflict", "failed"} {
		s.renewals.WithLabelValues(result)
	}
	for _, vip := range s.known.VIPs {
		s.Holder(vip, false)
		s.conflicts.WithLabelValues(vip.String())
		for _, kind := range s.known.Frames {
			s.announcements.WithLabelValues(vip.String(), kind)
		}
	}
	if len(s.known.HealthStates) > 0 {
		s.Health(s.known.HealthStates[0])
	}
	s.Fence("")
	s.Quorum(Quorum{})
	for _, why := range s.known.Dropped {
		s.quorum.dropped.WithLabelValues(why)
	}
	for _, r := range s.known.Requests {
		for _, code := range append([]string{CodeOther}, s.known.Codes...) {
			s.apiErrors.WithLabelValues(r.Verb, r.Resource, code)
		}
	}
	s.bgp.initSeries(s.known)
	s.Credentials("none")
	s.services.initSeries(s.known)
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// Handler serves the metrics in the requested format, OpenMetrics included.
func (s *Set) Handler() http.Handler {
	if s == nil {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// Holder sets whether this node owns the VIP.
func (s *Set) Holder(vip netip.Addr, owns bool) {
	if s != nil {
		s.holder.WithLabelValues(vip.String()).Set(boolValue(owns))
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

// APIError counts a failed request under its code, which is CodeOther unless it is a known one.
func (s *Set) APIError(r Request, code string) {
	if s == nil {
		return
	}
	s.apiErrors.WithLabelValues(r.Verb, r.Resource, knownOr(s.known.Codes, code)).Inc()
}

// knownOr returns a label's value if it is a known one, else CodeOther.
func knownOr(known []string, value string) string {
	if slices.Contains(known, value) {
		return value
	}
	return CodeOther
}

// Health makes state, one of the known ones, the present state of the local API server.
func (s *Set) Health(state string) {
	if s == nil {
		return
	}
	for _, each := range s.known.HealthStates {
		s.healthState.WithLabelValues(each).Set(boolValue(each == state))
	}
}

// Announced counts a sent announcement of the VIP under its kind of frame.
func (s *Set) Announced(vip netip.Addr, kind string) {
	if s != nil {
		s.announcements.WithLabelValues(vip.String(), kind).Inc()
	}
}

// Conflict counts an announcement of the VIP by another host.
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

// Fence sets the variant of the fence.
func (s *Set) Fence(variant string) {
	if s == nil {
		return
	}
	for _, each := range s.known.Fences {
		s.fence.WithLabelValues(each).Set(boolValue(each == variant))
	}
}

// Ready sets whether /readyz answers 200.
func (s *Set) Ready(ready bool) {
	if s != nil {
		s.ready.Set(boolValue(ready))
	}
}

// Term sets the term of the lease as last seen.
func (s *Set) Term(term int64) {
	if s != nil {
		s.leaseTerm.Set(float64(term))
	}
}

// Degraded sets whether this node holds the VIP with an API server that is not ready or slow (E6).
func (s *Set) Degraded(degraded bool) {
	if s != nil {
		s.degraded.Set(boolValue(degraded))
	}
}

// Credentials makes one of "serviceaccount", "bootstrap" and "none" the one in use.
func (s *Set) Credentials(kind string) {
	if s == nil {
		return
	}
	for _, k := range []string{"serviceaccount", "bootstrap", "none"} {
		s.credentials.WithLabelValues(k).Set(boolValue(k == kind))
	}
}

// TokenExpiry sets when kvip's own token expires. The zero time stands for no token, and serves no
// series: an alarm about a near expiry would never end.
func (s *Set) TokenExpiry(at time.Time) {
	if s == nil {
		return
	}
	s.tokenMu.Lock()
	defer s.tokenMu.Unlock()
	if at.IsZero() {
		s.registry.Unregister(s.tokenExpiry)
		s.hasToken = false
		return
	}
	s.tokenExpiry.Set(float64(at.Unix()))
	if !s.hasToken {
		s.hasToken = s.registry.Register(s.tokenExpiry) == nil
	}
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
