package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// allocatedReason is the reason of a Service that has what it requests.
const allocatedReason = "Allocated"

// reasons returns the values of label reason of kvip_services.
func (k Known) reasons() []string {
	return append([]string{allocatedReason, CodeOther}, k.Refusals...)
}

// servicesMetrics are those of the Services part; New names them.
type servicesMetrics struct {
	addresses     *prometheus.GaugeVec
	moves, frames *prometheus.CounterVec
	conflicts     prometheus.Counter
	allocator     prometheus.Gauge
	allocated     *prometheus.GaugeVec
	used, size    *prometheus.GaugeVec
}

func (s servicesMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{s.addresses, s.moves, s.frames, s.conflicts, s.allocator,
		s.allocated, s.used, s.size}
}

// initSeries creates the series of all known label values.
func (s servicesMetrics) initSeries(known Known) {
	for _, state := range []string{"owned", "leaving"} {
		s.addresses.WithLabelValues(state)
	}
	for _, change := range []string{"acquired", "released"} {
		s.moves.WithLabelValues(change)
	}
	for _, kind := range known.Frames {
		s.frames.WithLabelValues(kind)
	}
	for _, reason := range known.reasons() {
		s.allocated.WithLabelValues(reason)
	}
}

// Describe implements prometheus.Collector.
func (s servicesMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, c := range s.all() {
		c.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (s servicesMetrics) Collect(to chan<- prometheus.Metric) {
	for _, c := range s.all() {
		c.Collect(to)
	}
}

// ServiceAddresses sets how many Services' addresses this node has: its own, and those that it
// keeps until another node has them.
func (s *Set) ServiceAddresses(owned, leaving int) {
	if s != nil {
		s.services.addresses.WithLabelValues("owned").Set(float64(owned))
		s.services.addresses.WithLabelValues("leaving").Set(float64(leaving))
	}
}

// ServiceMoved counts an address that was "acquired" or "released".
func (s *Set) ServiceMoved(change string) {
	if s != nil {
		s.services.moves.WithLabelValues(change).Inc()
	}
}

// ServiceAnnounced counts a sent announcement of a Service's address under its kind of frame.
func (s *Set) ServiceAnnounced(kind string) {
	if s != nil {
		s.services.frames.WithLabelValues(kind).Inc()
	}
}

// ServiceConflict counts an announcement by another host of a Service's address.
func (s *Set) ServiceConflict() {
	if s != nil {
		s.services.conflicts.Inc()
	}
}

// Allocator sets whether this node gives out addresses of Services.
func (s *Set) Allocator(here bool) {
	if s != nil {
		s.services.allocator.Set(boolValue(here))
	}
}

// Pool is how many addresses of a family ("ipv4" or "ipv6") a pool has, and how many of them are
// given out.
type Pool struct {
	Name, Family string
	Used, Size   float64
}

// Allocation sets how many Services have what they request, how many do not by reason, and how many
// addresses each pool has and has given out.
func (s *Set) Allocation(allocated int, refused map[string]int, pools []Pool) {
	if s == nil {
		return
	}
	counts := map[string]int{allocatedReason: allocated}
	for reason, count := range refused {
		if !slices.Contains(s.known.Refusals, reason) {
			reason = CodeOther
		}
		counts[reason] += count
	}
	for _, reason := range s.known.reasons() {
		s.services.allocated.WithLabelValues(reason).Set(float64(counts[reason]))
	}
	s.services.used.Reset()
	s.services.size.Reset()
	for _, p := range pools {
		s.services.used.WithLabelValues(p.Name, p.Family).Set(p.Used)
		s.services.size.WithLabelValues(p.Name, p.Family).Set(p.Size)
	}
}
