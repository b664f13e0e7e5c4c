package kubelease

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/kvip/kvip/pkg/apiclient"
)

// silent returns addresses on the port at which something accepts and never says a word.
func silent(t *testing.T, count int, port string) (hosts []string) {
	t.Helper()
	for i := range count {
		listener, err := net.Listen("tcp", net.JoinHostPort(fmt.Sprintf("127.7.%d.%d", i/200, i%200+1), port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		hosts = append(hosts, listener.Addr().String())
	}
	return hosts
}

// E11: somebody puts a hundred addresses into the EndpointSlice, and takes the API servers out. Few are
// kept, those that answer come first, and the loop still comes round.
func TestHostileEndpoints(t *testing.T) {
	l, _ := withPeers(t, 3)
	real := l.driver.Peers()
	_, port, err := net.SplitHostPort(real[0])
	if err != nil {
		t.Fatal(err)
	}
	l.store.SetPeers(silent(t, 100, port)...)
	l.until("what somebody wrote", func() bool { return len(l.driver.Peers()) > len(real) })
	l.until("rounds", func() bool {
		before := l.driver.health.LastHeartbeat()
		l.until("a beat", func() bool { return l.driver.health.LastHeartbeat() > before })
		return len(l.driver.Peers()) == apiclient.MaxServers
	})
	if got := l.driver.Peers(); !slices.Equal(got[:len(real)], real) {
		t.Errorf("peers %v, want %v first", got, real)
	}
	l.store.SetPeers(append([]string{l.servers[0].Host}, real...)...)
	l.until("the true list", func() bool { return slices.Equal(l.driver.Peers()[:len(real)], real) })
}
