package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Quorum is what the election reports of mode fast.
type Quorum struct {
	Mode        string        // of the lease; "" while that is not known
	Agents      int           // that this one reaches, itself included
	MajorityAge time.Duration // of the newest majority of a holder in mode fast, else 0
	Blinks      int           // times the fence shut and opened again within a tenure, so far
	LateWakeups int           // times the agent of a holder ran too late, so far
}

// quorumMetrics are the metrics of mode fast.
type quorumMetrics struct {
	mode        *prometheus.GaugeVec
	agents      prometheus.Gauge
	majorityAge prometheus.Gauge
	blinks      prometheus.Counter
	lateWakeups prometheus.Counter
	dropped     *prometheus.CounterVec
	mu          sync.Mutex
	last        Quorum
}

func newQuorumMetrics() *quorumMetrics {
	return &quorumMetrics{
		mode: gauges("kvip_mode", "1 for the mode of the lease as last seen.", "mode"),
		agents: prometheus.NewGauge(prometheus.GaugeOpts{Name: "kvip_agents",
			Help: "Agents of the lease that this one knows, itself included."}),
		majorityAge: prometheus.NewGauge(prometheus.GaugeOpts{Name: "kvip_majority_age_seconds",
			Help: "Time since a majority of the voters last acknowledged this holder in mode fast."}),
		blinks: prometheus.NewCounter(prometheus.CounterOpts{Name: "kvip_blinks_total",
			Help: "Times the fence shut because of a late majority, and opened again."}),
		lateWakeups: prometheus.NewCounter(prometheus.CounterOpts{Name: "kvip_late_wakeups_total",
			Help: "Times the agent of a holder in mode fast ran so late that a beat may have been late."}),
		dropped: counters("kvip_messages_dropped_total",
			"Messages of other agents that were dropped.", "reason"),
	}
}

func (f *quorumMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		f.mode, f.agents, f.majorityAge, f.blinks, f.lateWakeups, f.dropped,
	}
}

// Quorum sets what the election reports of mode fast.
func (s *Set) Quorum(now Quorum) {
	if s == nil {
		return
	}
	f := s.quorum
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Mode != f.last.Mode || now == (Quorum{}) {
		for _, mode := range s.known.Modes {
			f.mode.WithLabelValues(mode).Set(boolValue(mode == now.Mode))
		}
	}
	f.agents.Set(float64(now.Agents))
	f.majorityAge.Set(now.MajorityAge.Seconds())
	f.blinks.Add(float64(max(0, now.Blinks-f.last.Blinks)))
	f.lateWakeups.Add(float64(max(0, now.LateWakeups-f.last.LateWakeups)))
	f.last = now
}

// MessageDropped counts a message of another agent that was dropped.
func (s *Set) MessageDropped(reason string) {
	if s != nil {
		s.quorum.dropped.WithLabelValues(reason).Inc()
	}
}
