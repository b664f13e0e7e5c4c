package metrics

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// BGPSession is the session to one BGP peer.
type BGPSession struct {
	Peer string
	Up   bool
	// Routes counts those that the peer has, by family. Refused are beyond the limit of the session.
	Routes  map[string]int
	Refused int
	// UpdatesSent and UpdatesIgnored count messages since the start.
	UpdatesSent, UpdatesIgnored uint64
	// BFD reports whether the path is watched, BFDUp whether it is there. Detections counts how often
	// it was lost.
	BFD, BFDUp bool
	Detections uint64
}

// BGPUp is the reason of a session that came up.
const BGPUp = "up"

// lateBuckets, in seconds, end where a detection time of 3 x 50 ms is over.
var lateBuckets = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.5, 1}

// bgpMetrics are the metrics of BGP. Those of sessions are read when they are served. announcement
// is registered separately: Services have none.
type bgpMetrics struct {
	read         atomic.Pointer[func() []BGPSession]
	announcement *prometheus.GaugeVec
	changes      *prometheus.CounterVec
	late         prometheus.Histogram

	up, routes, refused, sent, ignored, bfdUp, detections *prometheus.Desc
}

func newBGPMetrics() *bgpMetrics {
	session := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"peer"}, labels...), nil)
	}
	return &bgpMetrics{
		announcement: gauges("kvip_bgp_announcement_state",
			"1 for the present state of the VIPs' announcement by BGP, 0 for every other one.", "state"),
		changes: counters("kvip_bgp_state_changes_total",
			"BGP sessions that came up (reason up), and that ended, by reason.", "reason"),
		late: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kvip_bfd_late_seconds",
			Buckets: lateBuckets, Help: "How late the timers of BFD were served."}),
		up: session("kvip_bgp_session_up", "1 while the session to a BGP peer is established."),
		routes: session("kvip_bgp_routes", "Routes that a BGP peer has of this node, by family.",
			"family"),
		refused: session("kvip_bgp_routes_refused",
			"Routes that a BGP peer does not receive because of the limit of its session."),
		sent: session("kvip_bgp_updates_sent_total", "UPDATE messages sent to a BGP peer."),
		ignored: session("kvip_bgp_updates_ignored_total",
			"UPDATE messages of a BGP peer, which are not read."),
		bfdUp: session("kvip_bfd_up", "1 while BFD sees the path to a BGP peer."),
		detections: session("kvip_bfd_detections_total",
			"Times BFD lost the path to a BGP peer."),
	}
}

// initSeries creates the series of all known label values.
func (b *bgpMetrics) initSeries(known Known) {
	for i, state := range known.Announcements {
		b.announcement.WithLabelValues(state).Set(boolValue(i == 0))
	}
	if len(known.BGPReasons) == 0 {
		return
	}
	for _, reason := range append([]string{BGPUp, CodeOther}, known.BGPReasons...) {
		b.changes.WithLabelValues(reason)
	}
}

// Describe implements prometheus.Collector.
func (b *bgpMetrics) Describe(to chan<- *prometheus.Desc) {
	b.changes.Describe(to)
	b.late.Describe(to)
	for _, d := range []*prometheus.Desc{
		b.up, b.routes, b.refused, b.sent, b.ignored, b.bfdUp, b.detections,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector. Two series with the same labels would spoil the whole
// page: of peers with one name the first is served.
func (b *bgpMetrics) Collect(to chan<- prometheus.Metric) {
	b.changes.Collect(to)
	b.late.Collect(to)
	read := b.read.Load()
	if read == nil {
		return
	}
	served := map[string]bool{}
	for _, s := range (*read)() {
		if s.Peer = strings.ToValidUTF8(s.Peer, "?"); !served[s.Peer] {
			served[s.Peer] = true
			b.collectSession(s, to)
		}
	}
}

// collectSession serves the metrics of one session.
func (b *bgpMetrics) collectSession(s BGPSession, to chan<- prometheus.Metric) {
	emit := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, value, append([]string{s.Peer}, labels...)...)
	}
	emit(b.up, prometheus.GaugeValue, boolValue(s.Up))
	for family, n := range s.Routes {
		emit(b.routes, prometheus.GaugeValue, float64(n), family)
	}
	emit(b.refused, prometheus.GaugeValue, float64(s.Refused))
	emit(b.sent, prometheus.CounterValue, float64(s.UpdatesSent))
	emit(b.ignored, prometheus.CounterValue, float64(s.UpdatesIgnored))
	if s.BFD {
		emit(b.bfdUp, prometheus.GaugeValue, boolValue(s.BFDUp))
		emit(b.detections, prometheus.CounterValue, float64(s.Detections))
	}
}

// Announcement makes state, one of Known.Announcements, the present state of the announcement.
func (s *Set) Announcement(state string) {
	if s == nil {
		return
	}
	for _, each := range s.known.Announcements {
		s.bgp.announcement.WithLabelValues(each).Set(boolValue(each == state))
	}
}

// BGP makes read the source of the metrics of sessions. It is called whenever they are served. The
// caller bounds the number of peers, and names each once.
func (s *Set) BGP(read func() []BGPSession) {
	if s != nil {
		s.bgp.read.Store(&read)
	}
}

// BGPChanged counts a session that came up (BGPUp), or ended for a reason, which is CodeOther
// unless it is one of Known.BGPReasons.
func (s *Set) BGPChanged(reason string) {
	if s == nil {
		return
	}
	if reason != BGPUp {
		reason = knownOr(s.known.BGPReasons, reason)
	}
	s.bgp.changes.WithLabelValues(reason).Inc()
}

// BFDLate records how late a timer of BFD was served.
func (s *Set) BFDLate(late time.Duration) {
	if s != nil {
		s.bgp.late.Observe(late.Seconds())
	}
}
