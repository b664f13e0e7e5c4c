package agent

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/anycast"
	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/bfd"
	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/bgp/advertiser"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/test/lab/wait"
	"github.com/kvip/kvip/test/testutil"
)

// torSession is a session that is established.
func torSession() bgp.Status {
	s := bgp.Status{Name: "tor-a", Address: netip.MustParseAddr("192.0.2.1"), LocalAS: 65010,
		PeerAS: 65000, State: bgp.Established, UpdatesSent: 2, Refused: 4,
		BFD: &bfd.Status{State: bfd.Up, Detections: 3}}
	s.Routes[bgp.IPv4] = 1
	return s
}

// TestBGPReports: a session that begins is on every page, an Event and an object of the node. The
// metrics of BGP have its changes.
func TestBGPReports(t *testing.T) {
	e, a := bareAgent(t)
	r := testutil.Must(newBGPReports(a))
	observed := r.observe(advertiser.Config{})
	r.attach(func() []bgp.Status { return []bgp.Status{torSession()} })
	router, err := apiclient.NewRouter(apiclient.RouterConfig{
		Store: e.Creds, Local: func() []string { return []string{e.Server.Host} },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.connect(router, nil)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.run(ctx) }()
	observed.OnChange(torSession())
	down := torSession()
	down.State, down.Code = bgp.Idle, bgp.ReasonBFDDown
	observed.OnChange(down)
	observed.OnLate(time.Millisecond)
	requested := func(path string) bool {
		for _, one := range e.Server.Requests() {
			if strings.HasPrefix(one.Path, path) {
				return true
			}
		}
		return false
	}
	wait.Eventually(t, 30*time.Second, "the Event and the object", func() bool {
		return requested("/api/v1/namespaces/default/events") &&
			requested("/apis/kvip.dev/v1alpha1/bgpnodestates/n1/status")
	})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	page := scrape(t, a.metrics)
	for _, line := range []string{
		`kvip_bgp_session_up{peer="tor-a"} 1`, `kvip_bgp_routes{family="ipv4",peer="tor-a"} 1`,
		`kvip_bgp_routes{family="ipv6",peer="tor-a"} 0`, `kvip_bgp_routes_refused{peer="tor-a"} 4`,
		`kvip_bgp_updates_sent_total{peer="tor-a"} 2`, `kvip_bfd_up{peer="tor-a"} 1`,
		`kvip_bfd_detections_total{peer="tor-a"} 3`, `kvip_bfd_late_seconds_count 1`,
		`kvip_bgp_state_changes_total{reason="up"} 1`,
		`kvip_bgp_state_changes_total{reason="bfd-down"} 1`,
	} {
		if !strings.Contains(page, "\n"+line+"\n") {
			t.Errorf("%s is not served", line)
		}
	}
	var s status.Agent
	if r.addStatus(&s, false); s.BGP == nil || len(s.BGP.Sessions) != 1 || s.BGP.Announcement != "" {
		t.Errorf("the page shows %+v", s.BGP)
	}
}

// TestBGPReportsBeforeTheStart: nothing is known yet, and a scrape does no harm.
func TestBGPReportsBeforeTheStart(t *testing.T) {
	_, a := bareAgent(t)
	r := testutil.Must(newBGPReports(a))
	if list := r.sessions(); len(list) != 0 {
		t.Errorf("sessions %v", list)
	}
	var services, control status.Agent
	control.State = "starting"
	r.addStatus(&services, false)
	r.addStatus(&control, true)
	if services.BGP != nil || control.BGP == nil || control.BGP.Announcement != "starting" {
		t.Errorf("pages %+v and %+v", services.BGP, control.BGP)
	}
	if err := r.CreateEvent(t.Context(), nil); err == nil {
		t.Error("an Event is created without a router")
	}
}

// TestKnownLabelsByBGP: no metric of an election is served, and each reason is known.
func TestKnownLabelsByBGP(t *testing.T) {
	cfg := config.Default()
	cfg.VIPs, cfg.Announce = append(cfg.VIPs, vip4), config.AnnounceBGP
	k := knownLabels(cfg)
	if len(k.Transitions)+len(k.Modes)+len(k.Fences)+len(k.Dropped) != 0 || len(k.HealthStates) == 0 ||
		!slices.Equal(k.BGPReasons, words(bgp.Reasons())) ||
		!slices.Equal(k.Announcements, words(anycast.States())) ||
		!slices.Equal(requests(cfg), []metrics.Request{createEvents}) {
		t.Errorf("%+v", k)
	}
	cfg.VIPs, cfg.Announce, cfg.Services = nil, config.AnnounceARP, true
	k = knownLabels(cfg)
	if len(k.BGPReasons) == 0 || len(k.Announcements) != 0 ||
		!slices.Contains(requests(cfg), patchNodeStates) {
		t.Errorf("Services: %+v", k)
	}
}
