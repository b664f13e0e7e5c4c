package inspect

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/svc/speaker"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

const (
	web        = "shop/web"
	closedHost = "127.0.0.9" // the servers of these tests only listen on 127.0.0.1
)

func configFor(e *fakecluster.Env, owner string) Config {
	namespace, name, _ := strings.Cut(owner, "/")
	return Config{
		Router: e.Router, Reader: svc.Reader{Class: "kvip.dev/kvip"},
		LeaseNamespace: fakecluster.Namespace, Namespace: namespace, Name: name,
	}
}

// servePage starts an agent's page and returns its port.
func servePage(t *testing.T, page http.HandlerFunc) int {
	t.Helper()
	server := httptest.NewServer(page)
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return number
}

// pageOf returns a page that answers r for the Service web, and refuses other queries.
func pageOf(r speaker.Report) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/services" || q.URL.Query().Get("name") != web {
			http.Error(w, "unexpected query "+q.URL.String(), http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(r)
	}
}

// addNode adds a node with these addresses and a Lease that names the port of its page.
func addNode(e *fakecluster.Env, node string, port int, addresses ...string) {
	e.PutNodeLease(svc.NodeInfo{Node: node, StatusPort: port}, node+"_1", 5)
	e.PutNode(node, closedHost, func(n *corev1.Node) {
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: node}}
		for _, a := range addresses {
			internal := corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a}
			n.Status.Addresses = append(n.Status.Addresses, internal)
		}
	})
}

func TestServiceUsesTheReportOfTheOwner(t *testing.T) {
	e := fakecluster.New(t)
	e.PutService(web, func(s *corev1.Service) {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{
			{IP: vip4.String()}, {Hostname: "no.address.example"}, {IP: vip6.String()},
		}
		s.Status.Conditions = []metav1.Condition{
			{Type: "Other", Reason: "Other"},
			{Type: svc.Condition, Reason: "Allocated", Message: "from pool main"},
		}
	})
	a := answerOf("a", true, report(vip4, "b", "", "by a"), report(vip6, "b", "leaving", "by a"))
	b := answerOf("b", true, report(vip4, "b", "owned", "by b"), report(vip6, "b", "owned", "by b"))
	a.Problem = "write table: no space"
	addNode(e, "a", servePage(t, pageOf(a)), "127.0.0.1")
	// No server listens at the first address of b.
	addNode(e, "b", servePage(t, pageOf(b)), closedHost, "127.0.0.1")

	got, err := Service(t.Context(), configFor(e, web))
	if err != nil {
		t.Fatal(err)
	}
	status := fmt.Sprint(got.Status) == fmt.Sprint([]netip.Addr{vip4, vip6})
	if got.Service != web || !got.Managed || got.SkipReason != "" || !status ||
		got.Condition == nil || got.Condition.Reason != "Allocated" {
		t.Errorf("of the API: %+v", got)
	}
	if len(got.Unreachable) != 0 || len(got.Problems) != 1 || got.Problems["a"] != a.Problem {
		t.Errorf("unreachable are %v, problems %v", got.Unreachable, got.Problems)
	}
	if len(got.Addresses) != 2 {
		t.Fatalf("addresses: %+v", got.Addresses)
	}
	for i, addr := range []netip.Addr{vip4, vip6} {
		one := got.Addresses[i]
		if one.Address != addr || !one.Present || one.Node != "b" || one.Sentence != "by b" ||
			!one.Since.Equal(since) {
			t.Errorf("%s: %+v", addr, one)
		}
	}
	if on := got.Addresses[1].On; len(on) != 2 || on["a"] != "leaving" || on["b"] != "owned" {
		t.Errorf("%s is on %v", vip6, on)
	}
}

func TestServiceReportsUnreachableAgents(t *testing.T) {
	e := fakecluster.New(t)
	e.PutService(web)
	text := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }
	}
	want := map[string]string{}
	for _, row := range []struct {
		node      string
		port      int
		addresses []string
		why       string
	}{
		{"pageless", 0, []string{"127.0.0.1"}, "serves no page (--metrics-address)"},
		{"homeless", 1, nil, "the Node homeless has no address in its status: check its kubelet"},
		{"down", servePage(t, http.NotFound), []string{closedHost}, "connection refused"},
		{"old", servePage(t, http.NotFound), []string{closedHost, "127.0.0.1"}, "404 Not Found"},
		{"html", servePage(t, text("<html>")), []string{"127.0.0.1"},
			"read answer of agent at http://127.0.0.1:"},
		{"half", servePage(t, text(`{"node":"half","addresses":[`)), []string{"127.0.0.1"},
			"unexpected EOF"},
		{"endless", servePage(t, text(`{"node":"`+strings.Repeat("x", maxAnswer))), []string{"127.0.0.1"},
			"unexpected EOF"},
		{"mistaken", servePage(t, pageOf(answerOf("other", true))), []string{"127.0.0.1"},
			`it answers for node "other"`},
		{"foreign", servePage(t, text("{}")), []string{"127.0.0.1"}, `it answers for node ""`},
		{"hung", servePage(t, func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() }),
			[]string{"127.0.0.1"}, "deadline exceeded"},
	} {
		addNode(e, row.node, row.port, row.addresses...)
		want[row.node] = row.why
	}
	e.PutNodeLease(svc.NodeInfo{Node: "gone", StatusPort: 1}, "", 5) // released: not queried
	addNode(e, "good", servePage(t, pageOf(answerOf("good", true, report(vip4, "good", "owned", "")))),
		"127.0.0.1")

	got, err := Service(t.Context(), configFor(e, web))
	if err != nil {
		t.Fatal(err)
	}
	for node, why := range want {
		if !strings.Contains(got.Unreachable[node], why) {
			t.Errorf("%s: %q, want %q", node, got.Unreachable[node], why)
		}
	}
	if len(got.Unreachable) != len(want) {
		t.Errorf("unreachable are %v", got.Unreachable)
	}
	if len(got.Addresses) != 1 || got.Addresses[0].Node != "good" || !got.Addresses[0].Present {
		t.Errorf("the failures of the others hide the answer of good: %+v", got.Addresses)
	}
}

// A Lease with an earlier name remains until it is deleted by hand, with an old port.
func TestServiceIgnoresAnOldLease(t *testing.T) {
	e := fakecluster.New(t)
	e.PutService(web)
	addNode(e, "a", 0, "127.0.0.1")
	old := svc.NodeLease(fakecluster.LeaseName, "a")
	var lease map[string]any
	if _, err := e.Store.Get(fakecluster.LeasePath(old), &lease); err != nil {
		t.Fatal(err)
	}
	e.Put(fakecluster.LeasePath(svc.NodeLease("earlier", "a")), lease)
	addNode(e, "a", servePage(t, pageOf(answerOf("a", true, report(vip4, "a", "owned", "")))),
		"127.0.0.1")
	got, err := Service(t.Context(), configFor(e, web))
	if err != nil || len(got.Unreachable) != 0 || len(got.Addresses) != 1 {
		t.Errorf("%v and %+v", err, got)
	}
}

func TestServiceReportsTheSkipReason(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*corev1.Service)
		why    string
	}{
		"type": {func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP },
			"not of type LoadBalancer"},
		"class": {func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("example.com/x") },
			"loadBalancerClass example.com/x"},
	} {
		e := fakecluster.New(t)
		e.PutService(web, row.change)
		got, err := Service(t.Context(), configFor(e, web))
		if err != nil || got.Managed || !strings.Contains(got.SkipReason, row.why) {
			t.Errorf("%s: %v and %+v", name, err, got)
		}
		text, err := json.Marshal(got)
		if err != nil || !strings.Contains(string(text), `"status":[],"addresses":[]`) {
			t.Errorf("%s: as JSON %v, %s", name, err, text)
		}
	}
}

func TestServiceFailsWithTheAPI(t *testing.T) {
	for _, row := range []struct {
		name   string
		owner  string
		denied []fakeapi.DenyRule
		want   string
		is     func(error) bool
	}{
		{"no such Service", "shop/none", nil, "get service shop/none: ", apierrors.IsNotFound},
		{"other namespace", "default/web", nil, "get service default/web: ", apierrors.IsNotFound},
		{"Services forbidden", web, []fakeapi.DenyRule{{Path: "/services", Code: http.StatusForbidden}},
			"get service shop/web: ", apierrors.IsForbidden},
		{"Leases forbidden", web, []fakeapi.DenyRule{{Path: "/leases", Code: http.StatusForbidden}},
			"list leases of nodes in kube-system: ", apierrors.IsForbidden},
		{"Nodes forbidden", web, []fakeapi.DenyRule{{Path: "/nodes", Code: http.StatusForbidden}},
			"list nodes: ", apierrors.IsForbidden},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := fakecluster.New(t)
			e.PutService(web)
			e.Server.Deny(row.denied...)
			_, err := Service(t.Context(), configFor(e, row.owner))
			if err == nil || !strings.HasPrefix(err.Error(), row.want) || !row.is(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestServiceValidates(t *testing.T) {
	e := fakecluster.New(t)
	for field, remove := range map[string]func(*Config){
		"Router":         func(c *Config) { c.Router = nil },
		"LeaseNamespace": func(c *Config) { c.LeaseNamespace = "" },
		"Namespace":      func(c *Config) { c.Namespace = "" },
		"Name":           func(c *Config) { c.Name = "" },
	} {
		cfg := configFor(e, web)
		remove(&cfg)
		_, err := Service(t.Context(), cfg)
		if err == nil || err.Error() != "configure inspection: "+field+" is required" {
			t.Errorf("without %s: %v", field, err)
		}
	}
}
