package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/svc/inspect"
	"github.com/kvip/kvip/pkg/svc/speaker"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

func TestStatusServiceRefusesInTheUsersTerms(t *testing.T) {
	for _, row := range []struct {
		name string
		args []string
		says string
	}{
		{"no name", nil, "name a Service, as NAME or NAMESPACE/NAME"},
		{"two names", []string{"web", "shop"}, `"shop" is one argument too many`},
		{"unknown output", []string{"web", "-o", "yaml"},
			`--output: "yaml" is unknown; give text or json`},
		{"unknown flag", []string{"web", "--all-namespaces"}, "unknown flag: --all-namespaces"},
		{"empty name", []string{""}, `"" cannot name a Service`},
		{"namespace alone", []string{"shop/"}, `"shop/" cannot name a Service`},
		{"three parts", []string{"shop/web/80"},
			`"shop/web/80" cannot name a Service; give NAME or NAMESPACE/NAME`},
		{"name of a directory", []string{"shop/.."}, "cannot name a Service"},
		{"empty namespace", []string{"/web"}, `--namespace: "" cannot name a namespace`},
		{"impossible namespace", []string{"web", "-n", "a.b"},
			`--namespace: "a.b" cannot name a namespace`},
		{"impossible namespace in the name", []string{"a.b/web"},
			`--namespace: "a.b" cannot name a namespace`},
		{"two namespaces", []string{"shop/web", "-n", "default"},
			`--namespace: "default" is not the namespace of "shop/web"`},
		{"impossible namespace of the Leases", []string{"web", "--lease-namespace", "a.b"},
			`--lease-namespace: "a.b" cannot name a namespace`},
		{"port 0", []string{"web", "--port", "0"}, "--port: 0 is out of range"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := kvip(t, append([]string{"status", "service"}, row.args...)...)
			if got.code != exitUsage || got.stdout != "" || !strings.Contains(got.stderr, row.says) {
				t.Errorf("exit code %d, stdout %q, stderr %s", got.code, got.stdout, got.stderr)
			}
		})
	}
}

// shop returns the flags for a cluster with the Services default/web and shop/web, which have no
// condition yet.
func shop(t *testing.T) ([]string, *fakecluster.Env) {
	t.Helper()
	e := fakecluster.New(t)
	for owner, addr := range map[string]string{"default/web": "192.0.2.10",
		"shop/web": "2001:db8::10"} {
		e.PutService(
			owner,
			func(s *corev1.Service) {
				s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: addr}}
			},
		)
	}
	e.PutNode("a", "127.0.0.1")
	e.PutNodeLease(svc.NodeInfo{Node: "a"}, "a_1", 5)
	file := filepath.Join(t.TempDir(), "admin.conf")
	if err := e.Store.WriteKubeconfig(file, "https://127.0.0.1:1",
		fakeapi.User{Token: "t"}); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(e.Server.Host)
	if err != nil {
		t.Fatal(err)
	}
	return []string{"--kubeconfig", file, "--port", port}, e
}

func TestStatusServiceAsksTheCluster(t *testing.T) {
	reach, e := shop(t)
	e.PutService(
		"shop/other",
		func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("example.com/x") },
	)
	for _, row := range []struct {
		args   []string
		code   int
		stdout string // a part of it; empty: nothing at all
		stderr string
	}{
		{[]string{"web"}, exitFailure, "In status   192.0.2.10\n", "no agent answers"},
		{[]string{"web", "-n", "shop"}, exitFailure, "In status   2001:db8::10\n", "no agent answers"},
		{[]string{"shop/web"}, exitFailure, "Service     shop/web\n", "no agent answers"},
		{[]string{"shop/web", "-n", "shop"}, exitFailure,
			"No answer   a: its agent serves no page (--metrics-address)\n", "no agent answers"},
		{[]string{"web", "--service-class-only"}, exitUnhealthy, "(--service-class-only)",
			"no node announces service default/web: "},
		{[]string{"shop/other"}, exitUnhealthy, "loadBalancerClass example.com/x",
			"no node announces service shop/other: "},
		{[]string{"none"}, exitFailure, "", "get service default/none: "},
		{[]string{"web", "-n", "none"}, exitFailure, "", "get service none/web: "},
		{[]string{"web", "--namespace=shop", "-o", "json"}, exitFailure, `"service": "shop/web"`,
			"no agent answers"},
		{[]string{"web", "--port", "1"}, exitFailure, "", "no API server at [127.0.0.1:1] answers"},
	} {
		t.Run(strings.Join(row.args, " "), func(t *testing.T) {
			t.Setenv("KUBERNETES_SERVICE_HOST",
				"") // where the tests run in a pod, its cluster is not the one meant
			got := kvip(t, append(append([]string{"status", "service"}, reach...), row.args...)...)
			if got.code != row.code {
				t.Errorf("exit code %d, want %d", got.code, row.code)
			}
			if !strings.Contains(got.stdout, row.stdout) || (row.stdout == "") != (got.stdout == "") {
				t.Errorf("stdout %q, want %q", got.stdout, row.stdout)
			}
			if !strings.Contains(got.stderr, row.stderr) || (row.stderr == "") != (got.stderr == "") {
				t.Errorf("stderr %q, want %q", got.stderr, row.stderr)
			}
		})
	}
}

func TestStatusServiceAsJSON(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	reach, _ := shop(t)
	got := kvip(t, append([]string{"status", "service", "web", "-o", "json"}, reach...)...)
	var report inspect.Report
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || got.code != exitFailure {
		t.Fatalf("exit code %d, %v: %s%s", got.code, err, got.stdout, got.stderr)
	}
	if report.Service != "default/web" || !report.Managed || len(report.Status) != 1 ||
		report.Status[0] != netip.MustParseAddr("192.0.2.10") ||
		report.Unreachable["a"] == "" {
		t.Errorf("got %+v", report)
	}
}

// TestStatusServiceTellsWhetherItIsAnnounced by its exit code.
func TestStatusServiceTellsWhetherItIsAnnounced(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	reach, e := shop(t)
	var answer atomic.Pointer[speaker.Report]
	agent := httptest.NewServer(
		http.HandlerFunc(
			func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(answer.Load()) },
		),
	)
	defer agent.Close()
	e.PutNodeLease(
		svc.NodeInfo{Node: "a", StatusPort: agent.Listener.Addr().(*net.TCPAddr).Port},
		"a_1",
		5,
	)
	for _, row := range []struct {
		name     string
		addr     speaker.AddressReport
		code     int
		problems string // on stdout and stderr
	}{
		{"announced", speaker.AddressReport{Node: "a", Present: true, State: "owned"}, exitOK, ""},
		{"announced elsewhere", speaker.AddressReport{Node: "b", Sentence: "b is better"}, exitUnhealthy,
			"no node announces 192.0.2.10"},
		{"nowhere", speaker.AddressReport{Sentence: "no node is alive"}, exitUnhealthy,
			"no node announces 192.0.2.10"},
		{"kept in silence", speaker.AddressReport{Node: "b", Present: true, State: "leaving"},
			exitUnhealthy,
			"no node announces 192.0.2.10"},
	} {
		row.addr.Address = netip.MustParseAddr("192.0.2.10")
		answer.Store(
			&speaker.Report{Node: "a", Fresh: true, Addresses: []speaker.AddressReport{row.addr}},
		)
		for _, output := range []string{"text", "json"} {
			got := kvip(t, append([]string{"status", "service", "web", "-o", output}, reach...)...)
			if got.code != row.code || !strings.Contains(got.stdout, "192.0.2.10") ||
				!strings.Contains(got.stdout, row.problems) ||
				!strings.Contains(got.stderr, row.problems) ||
				(row.problems == "") != (got.stderr == "") {
				t.Errorf("%s, %s: exit code %d, %s%s", row.name, output, got.code, got.stdout, got.stderr)
			}
		}
	}
}
