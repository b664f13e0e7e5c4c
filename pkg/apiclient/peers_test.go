package apiclient

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kvip/kvip/pkg/reporter"
	"github.com/kvip/kvip/test/fakeapi"
)

// TestServersOf: only addresses of hosts count, and a limited number of them.
func TestServersOf(t *testing.T) {
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
		{"Sorted", discoveryv1.EndpointSlice{
			Endpoints: list("10.0.0.2", "10.0.0.1", "10.0.0.2"),
			Ports:     []discoveryv1.EndpointPort{{Port: number(7443)}},
		}, "10.0.0.1:7443 10.0.0.2:7443"},
		{"IPv6", discoveryv1.EndpointSlice{Endpoints: list("2001:db8::1")}, "[2001:db8::1]:6443"},
		{"NoAddress", discoveryv1.EndpointSlice{Endpoints: list(
			"example.org", "", "0.0.0.0", "::", "ff02::1", "fe80::1%eth0", strings.Repeat("1", 10000),
		)}, ""},
		{"Ports", discoveryv1.EndpointSlice{
			Endpoints: list("10.0.0.1"), Ports: []discoveryv1.EndpointPort{
				{Name: &other, Port: number(1)}, {Name: &https, Port: number(-1)},
				{Name: &https, Port: number(70000)}, {Name: &https}, {Name: &https, Port: number(443)},
			},
		}, "10.0.0.1:443"},
		{"Mapped", discoveryv1.EndpointSlice{
			Endpoints: list("::ffff:10.0.0.1", "fd00::1", "10.0.0.1"),
		}, "10.0.0.1:6443 [fd00::1]:6443"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := strings.Join(ServersOf(&row.slice), " "); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
	if got := ServersOf(&discoveryv1.EndpointSlice{Endpoints: list(many...)}); len(got) != MaxServers {
		t.Errorf("%d of %d addresses", len(got), len(many))
	}
}

// TestKeepEndsOtherClients: PrunePool retires the other clients of one pool only.
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
		t.Errorf("requested again: the same %v, %d clients, %v",
			again == clients["services10.0.0.1:6443"], len(s.clients), err)
	}
}

// TestRouterKeepsWhatItKnows: clients of servers that are not peers any more are retired.
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

// E11: the API servers remove a dead one from the list within seconds. It stays a peer, after the
// listed ones, until it has been gone for so long that it was removed.
func TestPeersAreRemembered(t *testing.T) {
	set, now := newPeerSet(), time.Hour
	for _, step := range []struct {
		after        time.Duration
		listed, want []string
		changed      bool
	}{
		{0, []string{"a:1", "b:1"}, []string{"a:1", "b:1"}, true},
		{time.Minute, []string{"b:1"}, []string{"b:1", "a:1"}, false},
		{time.Minute, nil, []string{"a:1", "b:1"}, false},
		{rememberPeers - time.Minute, []string{"c:1"}, []string{"c:1", "b:1"}, true},
		{2 * time.Minute, []string{"c:1"}, []string{"c:1"}, true},
		{time.Minute, []string{"a:1", "c:1"}, []string{"a:1", "c:1"}, true},
	} {
		now += step.after
		changed := set.update(step.listed, now)
		if !slices.Equal(set.hosts, step.want) || changed != step.changed {
			t.Errorf("at %v with %v listed: peers %v, changed %v; want %v, %v",
				now, step.listed, set.hosts, changed, step.want, step.changed)
		}
	}
}

// Peers that respond come first, and are not displaced by a list of others.
func TestRespondingPeersComeFirst(t *testing.T) {
	set := newPeerSet()
	set.update([]string{"a:1", "b:1"}, 0)
	set.responds["b:1"] = true
	var forged []string
	for i := range 2 * MaxServers {
		forged = append(forged, fmt.Sprintf("10.0.0.%d:1", i))
	}
	set.update(forged, time.Minute)
	if len(set.hosts) != MaxServers || set.hosts[0] != "b:1" {
		t.Errorf("%d peers: %v", len(set.hosts), set.hosts)
	}
	if got := set.responding(); !slices.Equal(got, []string{"b:1"}) {
		t.Errorf("responding %v", got)
	}
}

// The list of API servers that started together is complete after 10 s, and is known a second
// later. After that it is read every 20 s (E11).
func TestPeersAreReadOftenUntilTheListSettles(t *testing.T) {
	const complete = 10 * time.Second // kube-apiserver's interval of its endpoint reconciler
	for unchanged, want := range map[time.Duration]time.Duration{
		0: time.Second, complete: time.Second, complete + time.Second: time.Second,
		peersSettle: peersInterval, time.Hour: peersInterval,
	} {
		if got := peersWait(unchanged); got != want {
			t.Errorf("wait %v when nothing has changed for %v, want %v", got, unchanged, want)
		}
	}
}

// Peers of many different lists are bounded as well.
func TestPeersAreBounded(t *testing.T) {
	set := newPeerSet()
	for i := range 1000 {
		host := fmt.Sprintf("10.0.%d.%d:6443", i/200, i%200)
		set.update([]string{host}, time.Duration(i)*peersInterval)
		if slices.Contains(set.hosts, host) {
			set.responds[host] = true
		}
		if len(set.hosts) > MaxServers || len(set.listedAt) > MaxServers ||
			len(set.responds) > MaxServers {
			t.Fatalf("round %d: %d peers, %d remembered", i, len(set.hosts), len(set.listedAt))
		}
	}
}

// E11, E12: FollowPeers learns the other API servers, connects to them, and reports each read.
func TestFollowPeers(t *testing.T) {
	f := newFixture(t)
	other := f.second()
	f.store.SetPeers(f.server.Host, other.Host)
	r := f.routes(RouterConfig{Local: local(f.server.Host), LocalFirst: true})
	health := reporter.NewRegistry(nil).Component("peers")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reads := make(chan error, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.FollowPeers(ctx, health, func(err error) { reads <- err })
	}()
	if err := <-reads; err != nil {
		t.Fatal(err)
	}
	f.server.Close()
	if err := <-reads; err == nil {
		t.Error("a read without a server succeeded")
	}
	_, port, _ := net.SplitHostPort(other.Host)
	want := net.JoinHostPort("127.0.0.1", port)
	if got := r.Peers(); !slices.Equal(got, []string{want}) || health.LastHeartbeat() == 0 {
		t.Errorf("peers %v, want %v; heartbeat %v", got, want, health.LastHeartbeat())
	}
	if other.RequestCount(http.MethodGet, "/livez") == 0 {
		t.Error("there is no connection to the peer")
	}
	if got := r.DirectHosts(); !slices.Equal(got, []string{f.server.Host, want}) {
		t.Errorf("direct hosts %v", got)
	}
	if got := r.Hosts(); !slices.Equal(got, []string{f.server.Host}) {
		t.Errorf("without an in-cluster address requests go to %v", got)
	}
	cancel()
	<-done
}

func FuzzServersOf(f *testing.F) {
	f.Add("10.0.0.1", "fd00::1", int32(6443))
	f.Add("::ffff:10.0.0.1", "", int32(0))
	f.Add("fe80::1%eth0", "0.0.0.0", int32(70000))
	f.Fuzz(func(t *testing.T, one, two string, port int32) {
		for _, host := range ServersOf(&discoveryv1.EndpointSlice{
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{one, two}}},
			Ports:     []discoveryv1.EndpointPort{{Port: &port}},
		}) {
			a, err := netip.ParseAddrPort(host)
			if err != nil || a.Addr().IsUnspecified() || a.Addr().IsMulticast() || a.Port() == 0 {
				t.Errorf("%q, %q with port %d: %q, %v", one, two, port, host, err)
			}
		}
	})
}
