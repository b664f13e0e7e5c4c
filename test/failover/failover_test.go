package failover

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
)

func TestFaultsAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Faults() {
		if f.Key == "" || f.Name == "" || f.Break == nil || seen[f.Key] {
			t.Errorf("fault %q: incomplete, or twice", f.Key)
		}
		seen[f.Key] = true
		if (f.Undo == nil) != (f.UndoAfter == 0) || f.UndoAfter > 0 && f.Watch <= f.UndoAfter {
			t.Errorf("fault %q: undone after %s, watched for %s", f.Key, f.UndoAfter, f.Watch)
		}
		meets := f.Meets(f.Tool) && f.Meets(KvipQuick) == (f.Tool == KvipQuick)
		if f.Target <= 0 || !meets {
			t.Errorf("fault %q: target %v, tool %q", f.Key, f.Target, f.Tool)
		}
		if again, ok := FaultByKey(f.Key); !ok || again.Name != f.Name {
			t.Errorf("fault %q is not found by its key", f.Key)
		}
	}
	if _, ok := FaultByKey("nonsense"); ok {
		t.Error("a fault was found that does not exist")
	}
}

// answers makes requests every 10 ms, the last of which start at now; change edits each.
func answers(now time.Time, n int, change func(i int, r *netlab.Request)) []netlab.Request {
	reqs := make([]netlab.Request, n)
	for i := range reqs {
		reqs[i] = netlab.Request{Start: now.Add(time.Duration(i-n+1) * askEvery), Result: "200",
			Server: "cp2"}
		if change != nil {
			change(i, &reqs[i])
		}
	}
	return reqs
}

func TestServerIsWhoAnswersEverything(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name string
		reqs []netlab.Request
		want string
	}{
		{"all answered", answers(now, 100, nil), "cp2"},
		{"no requests", nil, ""},
		{"too short to say", answers(now, 15, nil), ""},
		{"most hang", answers(now.Add(-200*time.Millisecond), 100, nil), ""},
		{"one failed", answers(now, 100, func(i int, r *netlab.Request) {
			if i == 90 {
				r.Result = netlab.FailedReset
			}
		}), ""},
		{"one failed before", answers(now, 100, func(i int, r *netlab.Request) {
			if i == 60 {
				r.Result = netlab.FailedTimeout
			}
		}), "cp2"},
		{"another took over long ago", answers(now, 100, func(i int, r *netlab.Request) {
			if i < 60 {
				r.Server = "cp1"
			}
		}), "cp2"},
		{"two servers by turns", answers(now, 100, func(i int, r *netlab.Request) {
			if i%2 == 0 {
				r.Server = "cp1"
			}
		}), ""},
	} {
		if got := server(tt.reqs, now); got != tt.want {
			t.Errorf("%s: served by %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestPaceOfARun(t *testing.T) {
	full, quick := Pace{}, Pace{Quick: true}
	for _, tt := range []struct {
		name   string
		pace   Pace
		back   bool
		passed time.Duration
		want   bool
	}{
		{"time has come", full, false, 8 * time.Second, true},
		{"too early", full, true, 7 * time.Second, false},
		{"too early, but quick and served again", quick, true, time.Second, true},
		{"quick and not served", quick, false, time.Second, false},
	} {
		if got := tt.pace.due(tt.back, tt.passed, 8*time.Second); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestVersionsOfTheTools(t *testing.T) {
	if got := keepalivedVersion(
		[]byte("Keepalived v2.2.7 (01/16,2022)\n\nCopyright(C)")); got != "2.2.7" {
		t.Errorf("version of keepalived %q", got)
	}
	if got := kvipVersion(
		[]byte("kvip v0.1.0 (commit abc, go1.26.0, linux/amd64)\n")); got != "v0.1.0" {
		t.Errorf("version of kvip %q", got)
	}
	if got := kvipVersion([]byte("something else")); got != "unknown" {
		t.Errorf("version of something else %q", got)
	}
}

func TestKvipIsFoundByEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kvip")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho kvip v9 '('commit x')'\n"),
		0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KVIP_BINARY", path)
	t.Setenv("KVIP_VERSION", "")
	if got, version, err := FindKvip(t.Context()); err != nil || got != path || version != "v9" {
		t.Errorf("found %s, version %s: %v", got, version, err)
	}
	t.Setenv("KVIP_VERSION", "abc")
	if _, version, err := FindKvip(t.Context()); err != nil || version != "abc" {
		t.Errorf("version %s: %v", version, err)
	}
	t.Setenv("KVIP_BINARY", path+"-missing")
	if _, _, err := FindKvip(t.Context()); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("a missing kvip: %v", err)
	}
}

func TestKeepalivedConfigIsAsBenchmarksSay(t *testing.T) {
	got := keepalivedConfig("cp1", netip.MustParseAddr("10.77.0.100"), 200)
	for _, want := range []string{
		"router_id cp1\n", "vrrp_version 3\n", "advert_int 0.1\n", "state BACKUP\n", "nopreempt\n",
		"interval 1\n",
		"https://127.0.0.1:6443/readyz\"", "10.77.0.100/32 dev eth0\n", "priority 200\n",
		"interface eth0\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the configuration lacks %q:\n%s", want, got)
		}
	}
	if strings.Count(got, "{") != strings.Count(got, "}") || strings.Contains(got, "%!") {
		t.Errorf("malformed configuration:\n%s", got)
	}
}

func TestStateOfVRRPIsTheLastSinceTheStart(t *testing.T) {
	const first = "Starting Keepalived v2.2.7\n(apiserver) Entering BACKUP STATE " +
		"(init)\n(apiserver) Entering MASTER STATE\n"
	for log, want := range map[string]string{
		"":    "",
		first: "MASTER",
		first + "(apiserver) Entering FAULT STATE\n":                                     "FAULT",
		first + "Starting Keepalived v2.2.7\n":                                           "",
		first + "Starting Keepalived v2.2.7\n(apiserver) Entering BACKUP STATE (init)\n": "BACKUP",
	} {
		if got := vrrpState([]byte(log)); got != want {
			t.Errorf("state %q, want %q, in:\n%s", got, want, log)
		}
	}
}

func TestFigures(t *testing.T) {
	for d, want := range map[time.Duration]string{
		12400 * time.Microsecond: "12 ms", 5500 * time.Millisecond: "5.50 s",
		999 * time.Millisecond: "999 ms", time.Second: "1.00 s",
	} {
		if got := Figure(d); got != want {
			t.Errorf("%s shown as %q, want %q", d, got, want)
		}
	}
}
