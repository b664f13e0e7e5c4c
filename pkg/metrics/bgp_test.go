package metrics

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// byBGP is what an agent with a control plane by BGP and Services knows.
var byBGP = Known{
	VIPs: []netip.Addr{v4}, Announcements: []string{"standby", "announcing", "worse"},
	HealthStates: []string{"unknown", "ok"}, Services: true,
	BGPReasons: []string{"hold-timer", "bfd-down"},
}

func newBGPSet(t *testing.T) *Set {
	t.Helper()
	s, err := New(Build{}, byBGP)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// torA is a session that is up, torB one that is down and has no BFD.
func torA() BGPSession {
	return BGPSession{Peer: "tor-a", Up: true, Routes: map[string]int{"ipv4": 2, "ipv6": 1},
		Refused: 3, UpdatesSent: 7, UpdatesIgnored: 9, BFD: true, BFDUp: true, Detections: 4}
}

func torB() BGPSession { return BGPSession{Peer: "tor-b", Routes: map[string]int{"ipv4": 0}} }

func useBGP(s *Set) {
	s.BGP(func() []BGPSession { return []BGPSession{torA(), torB()} })
	s.BGPChanged(BGPUp)
	s.BGPChanged("hold-timer")
	s.BGPChanged("hold-timer")
	s.BFDLate(20 * time.Millisecond)
	s.Announcement("announcing")
}

// TestBGPMetrics: each series with its value, and nothing else.
func TestBGPMetrics(t *testing.T) {
	s := newBGPSet(t)
	useBGP(s)
	have := series(t, s)
	maps.DeleteFunc(have, func(name string, _ float64) bool {
		return !strings.HasPrefix(name, "kvip_bgp_") && !strings.HasPrefix(name, "kvip_bfd_")
	})
	want := map[string]float64{
		`kvip_bgp_session_up{peer="tor-a"}`:                 1,
		`kvip_bgp_session_up{peer="tor-b"}`:                 0,
		`kvip_bgp_routes{family="ipv4",peer="tor-a"}`:       2,
		`kvip_bgp_routes{family="ipv6",peer="tor-a"}`:       1,
		`kvip_bgp_routes{family="ipv4",peer="tor-b"}`:       0,
		`kvip_bgp_routes_refused{peer="tor-a"}`:             3,
		`kvip_bgp_routes_refused{peer="tor-b"}`:             0,
		`kvip_bgp_updates_sent_total{peer="tor-a"}`:         7,
		`kvip_bgp_updates_sent_total{peer="tor-b"}`:         0,
		`kvip_bgp_updates_ignored_total{peer="tor-a"}`:      9,
		`kvip_bgp_updates_ignored_total{peer="tor-b"}`:      0,
		`kvip_bfd_up{peer="tor-a"}`:                         1,
		`kvip_bfd_detections_total{peer="tor-a"}`:           4,
		`kvip_bfd_late_seconds_count`:                       1,
		`kvip_bgp_state_changes_total{reason="up"}`:         1,
		`kvip_bgp_state_changes_total{reason="hold-timer"}`: 2,
		`kvip_bgp_state_changes_total{reason="bfd-down"}`:   0,
		`kvip_bgp_state_changes_total{reason="Other"}`:      0,
		`kvip_bgp_announcement_state{state="standby"}`:      0,
		`kvip_bgp_announcement_state{state="announcing"}`:   1,
		`kvip_bgp_announcement_state{state="worse"}`:        0,
	}
	if !maps.Equal(have, want) {
		t.Errorf("served are\n%v\nwant\n%v", have, want)
	}
	if problems, err := testutil.GatherAndLint(s.registry); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// TestBGPServesNoMetricOfTheElection: kvip_holder is 1 on one node, and every node announces.
func TestBGPServesNoMetricOfTheElection(t *testing.T) {
	s := newBGPSet(t)
	useAll(s)
	have := series(t, s)
	for name := range series(t, newSet(t)) {
		family, _, _ := strings.Cut(name, "{")
		election := slices.Contains([]string{"kvip_holder", "kvip_transitions_total", "kvip_degraded",
			"kvip_lease_term", "kvip_fence_info", "kvip_mode", "kvip_agents", "kvip_conflicts_total",
			"kvip_announcements_sent_total", "kvip_renewals_total"}, family)
		if _, served := have[name]; served && election {
			t.Errorf("%s is served", name)
		}
	}
	for _, name := range []string{`kvip_health_state{state="ok"}`, "kvip_ready", "kvip_allocator",
		`kvip_bgp_announcement_state{state="standby"}`} {
		if _, served := have[name]; !served {
			t.Errorf("%s is not served", name)
		}
	}
	for name := range series(t, newSet(t)) {
		if strings.HasPrefix(name, "kvip_bgp_") || strings.HasPrefix(name, "kvip_bfd_") {
			t.Errorf("an agent without BGP serves %s", name)
		}
	}
}

// TestBGPSeriesExistBeforeAnythingHappened, except for those of peers.
func TestBGPSeriesExistBeforeAnythingHappened(t *testing.T) {
	s := newBGPSet(t)
	before := series(t, s)
	if before[`kvip_bgp_announcement_state{state="standby"}`] != 1 {
		t.Errorf("at the start no state is the present one: %v", before)
	}
	useBGP(s)
	for name := range series(t, s) {
		if _, known := before[name]; !known && !strings.Contains(name, `peer="`) {
			t.Errorf("%s appears when it is used", name)
		}
	}
}

// TestBGPLabelsAreBounded: unknown reasons and states add no series, and neither a name that is not
// text nor one that is used twice spoils the page.
func TestBGPLabelsAreBounded(t *testing.T) {
	s := newBGPSet(t)
	before := len(series(t, s))
	for _, text := range []string{"a", "b", "c"} {
		s.BGPChanged(text)
		s.Announcement(text)
	}
	s.BGP(func() []BGPSession { return nil })
	after := series(t, s)
	if len(after) != before || after[`kvip_bgp_state_changes_total{reason="Other"}`] != 3 {
		t.Errorf("%d series became %d: %v", before, len(after), after)
	}
	s.BGP(func() []BGPSession {
		return []BGPSession{{Peer: "a\xff", Up: true}, {Peer: "a?"}, {Peer: "b"}, {Peer: "b", Up: true}}
	})
	have := series(t, s)
	if have[`kvip_bgp_session_up{peer="a?"}`] != 1 || have[`kvip_bgp_session_up{peer="b"}`] != 0 {
		t.Errorf("served are %v", have)
	}
}

// TestBGPPeersThatAreGoneHaveNoSeries: the last values would stay for the agent's life.
func TestBGPPeersThatAreGoneHaveNoSeries(t *testing.T) {
	s := newBGPSet(t)
	useBGP(s)
	s.BGP(func() []BGPSession { return []BGPSession{torB()} })
	for name := range series(t, s) {
		if strings.Contains(name, "tor-a") {
			t.Errorf("%s is served", name)
		}
	}
}

// TestBGPConcurrentUse is for the race detector.
func TestBGPConcurrentUse(t *testing.T) {
	s := newBGPSet(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 50 {
				useBGP(s)
			}
		})
	}
	for range 20 {
		if _, err := s.registry.Gather(); err != nil {
			t.Error(err)
		}
	}
	group.Wait()
	if got := series(t, s)[`kvip_bgp_state_changes_total{reason="hold-timer"}`]; got != 400 {
		t.Errorf("counted %v of 400", got)
	}
}

func TestBGPMetricsWithoutASet(t *testing.T) {
	var s *Set
	useBGP(s) // an agent without metrics does not panic
	if s != nil {
		t.Error("there is a set")
	}
}
