package monitoring

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/metrics"
)

// patience bounds every wait for Prometheus.
const patience = 30 * time.Second

// prometheus is a real one that scrapes the targets as job kvip.
type prometheus struct {
	t   *testing.T
	url string
}

// startPrometheus runs one on loopback until the test ends.
func startPrometheus(t *testing.T, targets ...string) prometheus {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yaml")
	text := fmt.Sprintf(
		"global: {scrape_interval: 200ms, scrape_timeout: 200ms}\nscrape_configs:\n- job_name: kvip\n  "+
			"static_configs:\n  - targets: [%s]\n",
		strings.Join(targets, ", "))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	cmd := exec.Command(tool(t, "prometheus"), "--config.file="+config, "--storage.tsdb.path="+
		filepath.Join(dir, "data"), "--web.listen-address="+address)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Prometheus says\n%s", log.String())
		}
	})
	p := prometheus{t: t, url: "http://" + address}
	p.wait("Prometheus is ready", func() bool {
		response, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return p
}

// freeAddress returns an address of loopback with a closed port.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func (p prometheus) wait(what string, done func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// query returns the labels of each sample that the expression has now.
func (p prometheus) query(expr string) []map[string]string {
	p.t.Helper()
	response, err := http.Get(p.url + "/api/v1/query?" + url.Values{"query": {expr}}.Encode())
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   struct {
			Result []struct {
				Metric map[string]string `json:"metric"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil ||
		answer.Status != "success" {
		p.t.Fatalf("query %s: %v %s", expr, err, answer.Error)
	}
	all := make([]map[string]string, 0, len(answer.Data.Result))
	for _, sample := range answer.Data.Result {
		all = append(all, sample.Metric)
	}
	return all
}

// agent serves what the metrics of a real agent serve, until it is closed.
func agent(t *testing.T, holds bool) (*metrics.Set, *httptest.Server) {
	t.Helper()
	set, err := metrics.New(metrics.Build{Version: "v1.0.0", Commit: "abc"}, metrics.Known{
		VIPs: []netip.Addr{vip}, Transitions: []string{"Released"},
		HealthStates: []string{"unknown", "ok"}, Frames: []string{"arp-request"},
		Services: true, Refusals: []string{"PoolExhausted"},
	})
	if err != nil {
		t.Fatal(err)
	}
	set.Holder(vip, holds)
	set.Allocator(holds)
	set.Ready(true)
	set.Health("ok")
	set.Credentials("serviceaccount")
	set.Term(7)
	server := httptest.NewServer(set.Handler())
	t.Cleanup(server.Close)
	return set, server
}

var vip = netip.MustParseAddr("192.0.2.10")

// TestAlarmsSeeRealAgentsAndTheirEnd: with agents that are well no alarm has a sample. The first
// announcement by a foreign host has one. When all agents are gone, the holder is missed at once.
func TestAlarmsSeeRealAgentsAndTheirEnd(t *testing.T) {
	holder, first := agent(t, true)
	_, second := agent(t, false)
	p := startPrometheus(t, first.Listener.Addr().String(), second.Listener.Addr().String())
	p.wait("both agents are scraped",
		func() bool { return len(p.query("kvip_ready == 1 and up == 1")) == 2 })
	alarms := map[string]string{}
	for _, file := range ruleFiles(t) {
		for _, r := range rules(t, file) {
			alarms[r.Alert] = r.Expr
			if samples := p.query(r.Expr); len(samples) > 0 {
				t.Errorf("all is well, and %s would fire for %v", r.Alert, samples)
			}
		}
	}
	holder.Conflict(vip)
	holder.ServiceConflict()
	for _, alarm := range []string{"KvipAddressConflict", "KvipServiceAddressConflict"} {
		p.wait(alarm, func() bool { return len(p.query(alarms[alarm])) == 1 })
	}
	first.Close()
	second.Close()
	for alarm, samples := range map[string]int{"KvipNoHolder": 1, "KvipServicesDown": 1,
		"KvipNoAllocator": 1, "KvipAgentDown": 2} {
		p.wait(alarm, func() bool { return len(p.query(alarms[alarm])) == samples })
	}
}

// bgpAgent serves what the metrics of an agent with --announce=bgp serve.
func bgpAgent(t *testing.T, sessions func() []metrics.BGPSession) (*metrics.Set, *httptest.Server) {
	t.Helper()
	set, err := metrics.New(metrics.Build{Version: "v1.0.0", Commit: "abc"}, metrics.Known{
		VIPs: []netip.Addr{vip}, HealthStates: []string{"unknown", "ok"},
		Announcements: []string{"standby", "announcing", "worse"}, BGPReasons: []string{"hold-timer"},
	})
	if err != nil {
		t.Fatal(err)
	}
	set.BGP(sessions)
	set.Announcement("announcing")
	set.Ready(true)
	set.Health("ok")
	set.Credentials("serviceaccount")
	server := httptest.NewServer(set.Handler())
	t.Cleanup(server.Close)
	return set, server
}

// TestAlarmsSeeRealAgentsWithBGP: that every node announces is right, and no alarm of the election
// has a sample. When a session ends, its alarm has one, and when no node announces, another one.
func TestAlarmsSeeRealAgentsWithBGP(t *testing.T) {
	var down atomic.Bool
	sessions := func() []metrics.BGPSession {
		return []metrics.BGPSession{{Peer: "tor-a", Up: !down.Load(), BFD: true, BFDUp: !down.Load()},
			{Peer: "tor-b", Up: true}}
	}
	one, first := bgpAgent(t, sessions)
	two, second := bgpAgent(t, sessions)
	p := startPrometheus(t, first.Listener.Addr().String(), second.Listener.Addr().String())
	p.wait("both agents are scraped",
		func() bool { return len(p.query("kvip_ready == 1 and up == 1")) == 2 })
	alarms := map[string]string{}
	for _, file := range ruleFiles(t) {
		for _, r := range rules(t, file) {
			alarms[r.Alert] = r.Expr
			if samples := p.query(r.Expr); len(samples) > 0 && filepath.Base(file) != "services.yaml" {
				t.Errorf("all is well, and %s would fire for %v", r.Alert, samples)
			}
		}
	}
	down.Store(true)
	fires := func(alarm string, samples int) {
		p.wait(alarm, func() bool { return len(p.query(alarms[alarm])) == samples })
	}
	fires("KvipBGPSessionDown", 2)
	one.Announcement("standby")
	two.Announcement("standby")
	fires("KvipBGPNotAnnounced", 1)
	first.Close()
	second.Close()
	fires("KvipNoHolder", 1)
}

// TestAbsentAgentsAreAnAlarm: no agent was ever there, as with a scrape configuration that finds
// none.
func TestAbsentAgentsAreAnAlarm(t *testing.T) {
	p := startPrometheus(t)
	for _, file := range ruleFiles(t) {
		for _, r := range rules(t, file) {
			want := 0
			if r.Alert == "KvipNoHolder" || r.Alert == "KvipServicesDown" || r.Alert == "KvipNoAllocator" {
				want = 1
			}
			if samples := p.query(r.Expr); len(samples) != want {
				t.Errorf("without any agent %s has the samples %v", r.Alert, samples)
			}
		}
	}
}
