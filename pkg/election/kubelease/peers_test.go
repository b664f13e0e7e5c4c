package kubelease

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/test/testutil"
)

// silent returns addresses with the port that accept connections and never answer.
func silent(t *testing.T, count int, port string) (hosts []string) {
	t.Helper()
	for i := range count {
		host := fmt.Sprintf("127.7.%d.%d", i/200, i%200+1)
		listener, err := net.Listen("tcp", net.JoinHostPort(host, port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		hosts = append(hosts, listener.Addr().String())
	}
	return hosts
}

// E11: a hundred forged addresses replace the API servers in the EndpointSlice. MaxServers of them
// are kept, the responding peers come first, and the loop keeps running.
func TestHostileEndpoints(t *testing.T) {
	l, _ := withPeers(t, 3)
	servers := l.driver.Peers()
	_, port, err := net.SplitHostPort(servers[0])
	if err != nil {
		t.Fatal(err)
	}
	l.store.SetPeers(silent(t, 100, port)...)
	testutil.Eventually(l.t, "the forged list",
		func() bool { return len(l.driver.Peers()) > len(servers) })
	testutil.Eventually(l.t, "rounds", func() bool {
		before := l.driver.health.LastHeartbeat()
		testutil.Eventually(l.t, "a beat",
			func() bool { return l.driver.health.LastHeartbeat() > before })
		return len(l.driver.Peers()) == apiclient.MaxServers
	})
	if got := l.driver.Peers(); !slices.Equal(got[:len(servers)], servers) {
		t.Errorf("peers %v, want %v first", got, servers)
	}
	l.store.SetPeers(append([]string{l.servers[0].Host}, servers...)...)
	testutil.Eventually(l.t, "the true list",
		func() bool { return slices.Equal(l.driver.Peers()[:len(servers)], servers) })
}
