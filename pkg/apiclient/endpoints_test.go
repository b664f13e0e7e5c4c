package apiclient

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kvip/kvip/test/fakeapi"
)

// TestEndpoints takes addresses alone, and a bounded number of them.
func TestEndpoints(t *testing.T) {
	number := func(n int32) *int32 { return &n }
	list := func(addresses ...string) []discoveryv1.Endpoint {
		return []discoveryv1.Endpoint{{Addresses: addresses}}
	}
	var many []string
	for i := range 5000 {
		many = append(many, fmt.Sprintf("10.%d.%d.1", i/200, i%200))
	}
	https, other := "https", "other"
	for _, row := range []struct {
		name  string
		slice discoveryv1.EndpointSlice
		want  string
	}{
		{"Sorted", discoveryv1.EndpointSlice{Endpoints: list("10.0.0.2", "10.0.0.1", "10.0.0.2"), Ports: []discoveryv1.EndpointPort{{Port: number(7443)}}}, "10.0.0.1:7443 10.0.0.2:7443"},
		{"IPv6", discoveryv1.EndpointSlice{Endpoints: list("2001:db8::1")}, "[2001:db8::1]:6443"},
		{"NoAddress", discoveryv1.EndpointSlice{Endpoints: list("example.org", "", "0.0.0.0", "::", "ff02::1", "fe80::1%eth0", strings.Repeat("1", 10000))}, ""},
		{"Ports", discoveryv1.EndpointSlice{Endpoints: list("10.0.0.1"), Ports: []discoveryv1.EndpointPort{
			{Name: &other, Port: number(1)}, {Name: &https, Port: number(-1)}, {Name: &https, Port: number(70000)}, {Name: &https}, {Name: &https, Port: number(443)},
		}}, "10.0.0.1:443"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := strings.Join(Endpoints(&row.slice), " "); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
	if got := Endpoints(&discoveryv1.EndpointSlice{Endpoints: list(many...)}); len(got) != MaxServers {
		t.Errorf("%d of %d addresses", len(got), len(many))
	}
}

// TestKeepEndsOtherClients of one lane alone, and says so to who watches.
func TestKeepEndsOtherClients(t *testing.T) {
	f := newFixture(t)
	s := f.open(f.kubeconfig("admin.conf", fakeapi.User{Token: "t"}))
	clients := map[string]*Server{}
	for _, at := range []string{"", "services"} {
		for _, host := range []string{"10.0.0.1:6443", "10.0.0.2:6443", "[2001:db8::1]:6443"} {
			c, err := s.ServerInPool(at, host)
			if err != nil {
				t.Fatal(err)
			}
			clients[at+host] = c
		}
	}
	s.PrunePool("services", []string{"10.0.0.2:6443"})
	var ended []string
	for key, c := range clients {
		select {
		case <-c.Retired():
			ended = append(ended, key)
		default:
		}
	}
	slices.Sort(ended)
	if got := strings.Join(ended, " "); got != "services10.0.0.1:6443 services[2001:db8::1]:6443" {
		t.Errorf("ended %s", got)
	}
	again, err := s.ServerInPool("services", "10.0.0.1:6443")
	if err != nil || again == clients["services10.0.0.1:6443"] || len(s.clients) != 5 {
		t.Errorf("asked for again: the same %v, %d clients, %v", again == clients["services10.0.0.1:6443"], len(s.clients), err)
	}
}

// TestRouterKeepsWhatItKnows ends the clients of servers that are not listed any more.
func TestRouterKeepsWhatItKnows(t *testing.T) {
	f := newFixture(t)
	s := f.open(f.kubeconfig("admin.conf", fakeapi.User{Token: "t"}))
	r := f.routes(RouterConfig{Store: s, ConnectionPool: "services", Local: local("10.0.0.1:1")})
	var many []string
	for i := range 500 {
		many = append(many, fmt.Sprintf("10.1.%d.%d:6443", i/200, i%200))
	}
	r.SetPeers(many)
	if got := len(r.Hosts()); got != 1+MaxServers {
		t.Errorf("%d hosts", got)
	}
	for range many {
		if _, err := r.Server(); err != nil {
			t.Fatal(err)
		}
		r.Next()
	}
	r.SetPeers(nil)
	if len(s.clients) != 1 {
		t.Errorf("%d clients", len(s.clients))
	}
}
