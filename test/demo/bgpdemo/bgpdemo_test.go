package bgpdemo

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/demo/kindenv"
	"github.com/kvip/kvip/test/lab/netlab"
)

const ms = time.Millisecond

// requests begin every 10 ms from an instant on. Those with these numbers fail.
func requests(from time.Time, n int, failed ...int) []netlab.Request {
	reqs := make([]netlab.Request, n)
	for i := range reqs {
		reqs[i] = netlab.Request{Start: from.Add(time.Duration(i) * 10 * ms), Result: "200"}
		if slices.Contains(failed, i) {
			reqs[i].Result = netlab.FailedTimeout
		}
	}
	return reqs
}

func TestLoss(t *testing.T) {
	start := time.Now()
	reqs := requests(start, 300, 10, 120, 130, 131, 132, 150, 250)
	got := lossOf(reqs, start.Add(1005*ms), start.Add(2*time.Second))
	want := loss{requests: 100, failed: 5, gap: 40 * ms, lasted: 300 * ms}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := lossOf(requests(start, 300), start, start.Add(time.Second)); got.failed != 0 ||
		got.lasted != 0 || got.gap != 10*ms {
		t.Errorf("without a failure: %+v", got)
	}
}

func TestQuiet(t *testing.T) {
	now := time.Now()
	start := now.Add(-quietFor - requestTimeout)
	if err := judgeQuiet("the VIP", requests(start, 350, 340), now); err != nil {
		t.Errorf("a request that may be open: %v", err)
	}
	if err := judgeQuiet("the VIP", requests(start, 350, 0), now); err == nil {
		t.Error("a failed request is accepted")
	}
	if err := judgeQuiet("the VIP", requests(start, 80), now); err == nil {
		t.Error("80 requests are enough")
	}
}

func TestTable(t *testing.T) {
	rows := []row{
		{"API server killed", serverLimit, loss{500, 7, 40 * ms, 120 * ms}, loss{500, 0, 12 * ms, 0}},
		{"router FRR killed", serverLimit, loss{500, 9, 20 * ms, 1500 * ms}, loss{500, 0, 10 * ms, 0}},
	}
	want := `                                VIP                     Service
event                           gap  failed      for        gap  failed      for     limit
API server killed             40 ms       7   120 ms      12 ms       0        -    1.00 s
router FRR killed             20 ms       9   1.50 s      10 ms       0        -    1.00 s
`
	if got := table(rows); !strings.HasPrefix(got, want) {
		t.Errorf("table:\n%s\nwant:\n%s", got, want)
	}
	if err := verdict(rows[:1]); err != nil {
		t.Errorf("a good row: %v", err)
	}
	err := verdict(rows)
	if err == nil || err.Error() !=
		"router FRR killed: requests to the VIP failed for 1.50 s, the limit is 1.00 s" {
		t.Errorf("verdict: %v", err)
	}
	if got, want := rows[0].lines(), []string{
		"VIP:     7 of 500 requests failed within 120 ms, longest gap 40 ms",
		"Service: 0 of 500 requests failed, longest gap 12 ms",
	}; !slices.Equal(got, want) {
		t.Errorf("lines %q, want %q", got, want)
	}
}

func TestNextHops(t *testing.T) {
	for text, want := range map[string]string{
		`[]`: "[]",
		`[{"dst":"10.78.0.1","gateway":"172.18.0.4","dev":"eth1"}]`: "[172.18.0.4]",
		`[{"dst":"10.78.0.1","nexthops":[{"gateway":"172.18.0.10"},{"gateway":"172.18.0.5"}]}]`: "" +
			"[172.18.0.5 172.18.0.10]",
	} {
		via, err := parseVia([]byte(text))
		if got := strings.ReplaceAll(strings.Trim(join(via), " "), "  ", " "); err != nil ||
			"["+got+"]" != want {
			t.Errorf("%s: [%s], %v, want %s", text, got, err, want)
		}
	}
}

func join(all []netip.Addr) string {
	var b strings.Builder
	for _, a := range all {
		b.WriteString(a.String() + " ")
	}
	return b.String()
}

// TestFiles reads the files in kind/ as the demonstration does.
func TestFiles(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	read := func(names ...string) string {
		text, err := os.ReadFile(filepath.Join(append([]string{root, "kind"}, names...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	routers := []netip.Addr{netip.MustParseAddr("172.20.0.7"), netip.MustParseAddr("172.20.0.8")}
	got, err := application(read("bgp", "services.yaml"), read("echo", "echo.yaml"), routers)
	if err != nil {
		t.Fatal(err)
	}
	for text, times := range map[string]int{
		"\nkind: Deployment\n": 1, "\nkind: Service\n": 1, "\nkind: IPPool\n": 1,
		"peerAddress: 172.20.0.7,": 1, "peerAddress: 172.20.0.8,": 1, "172.18.": 2, // in the comment
	} {
		if n := strings.Count(got, text); n != times {
			t.Errorf("%q is %d times in the manifest, want %d:\n%s", text, n, times, got)
		}
	}
	t.Setenv("KVIP_ROUTER_IMAGE", "router")
	f, err := newFabric(nil, root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range f.routers {
		config := read("bgp", m.config)
		for _, text := range []string{exampleNodes.String(), m.behind.String(),
			f.client.behind.String(), addresses.String(), "65010", "65000"} {
			if !strings.Contains(config, text) {
				t.Errorf("%s lacks %s", m.config, text)
			}
		}
		if !strings.Contains(read("bgp", f.client.config), m.behind.String()) {
			t.Errorf("%s lacks %s", f.client.config, m.behind)
		}
	}
}

func TestFlags(t *testing.T) {
	f := &fabric{routers: []*machine{{inside: netip.MustParseAddr("172.18.0.2")},
		{inside: netip.MustParseAddr("172.18.0.3")}}}
	want := "--announce bgp --bgp-as 65010 --bgp-peer 172.18.0.2,as=65000,bfd=300ms/5 " +
		"--bgp-peer 172.18.0.3,as=65000,bfd=300ms/5"
	if got := strings.Join(f.flags(), " "); got != want {
		t.Errorf("flags %s, want %s", got, want)
	}
	const arguments = `"172.18.0.2 172.18.0.3" "10.78.0.0/24 198.51.100.0/24"`
	if got := f.routesCommand(); !strings.Contains(got, arguments) {
		t.Errorf("the script of the routes does not get %s:\n%s", arguments, got)
	}
}

func TestNextCommandsReachTheEngine(t *testing.T) {
	f := &fabric{routers: []*machine{{name: "r1"}, {name: "r2"}}, client: &machine{name: "c"}}
	got := nextSteps(kindenv.Place{DockerDir: "/c/docker-demo", Sudo: true},
		netip.MustParseAddr("10.78.0.16"), f)
	for _, want := range []string{
		"\n  sudo docker -H unix:///c/docker-demo/docker.sock exec r1 vtysh -c ",
		" exec r2 birdc show route all for 10.78.0.16\n", "\n  sudo make kind-down ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing:\n%s", want, got)
		}
	}
}
