package kubelease

import (
	"fmt"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"
)

// The API servers take a dead one off the list within seconds; it is still a peer, the last
// to be asked, until it has been gone for so long that it was removed (E11).
func TestPeersAreRemembered(t *testing.T) {
	now := time.Hour
	d, err := New(Config{
		Namespace: "kube-system", Name: "kvip", Log: slog.New(slog.DiscardHandler),
		Clock: func() time.Duration { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after        time.Duration
		listed, want []string
	}{
		{0, []string{"a:1", "b:1"}, []string{"a:1", "b:1"}},
		{time.Minute, []string{"b:1"}, []string{"b:1", "a:1"}},
		{time.Minute, nil, []string{"a:1", "b:1"}},
		{rememberPeers - time.Minute, []string{"c:1"}, []string{"c:1", "b:1"}},
		{2 * time.Minute, []string{"c:1"}, []string{"c:1"}},
		{time.Minute, []string{"a:1", "c:1"}, []string{"a:1", "c:1"}},
	} {
		now += step.after
		d.setPeers(step.listed)
		if got := d.Peers(); !slices.Equal(got, step.want) {
			t.Errorf("at %v with %v listed: peers %v, want %v", now, step.listed, got, step.want)
		}
	}
}

// The list of API servers that started together is complete 10 s later at the latest, and is known
// a second after that; later it is read seldom (E11).
func TestPeersAreReadOftenUntilTheListSettles(t *testing.T) {
	const complete = 10 * time.Second // kube-apiserver's interval of its reconciler of endpoints
	for unchanged, want := range map[time.Duration]time.Duration{
		0: time.Second, complete: time.Second, complete + time.Second: time.Second,
		peersSettle: peersEvery, time.Hour: peersEvery,
	} {
		if got := peersWait(unchanged); got != want {
			t.Errorf("wait %v when nothing has changed for %v, want %v", got, unchanged, want)
		}
	}
}

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
		before := l.driver.Beat()
		l.until("a beat", func() bool { return l.driver.Beat() > before })
		return len(l.driver.Peers()) == maxPeers
	})
	if got := l.driver.Peers(); !slices.Equal(got[:len(real)], real) {
		t.Errorf("peers %v, want %v first", got, real)
	}
	l.store.SetPeers(append([]string{l.servers[0].Host}, real...)...)
	l.until("the true list", func() bool { return slices.Equal(l.driver.Peers()[:len(real)], real) })
}

// What many lists name in turn is bounded as well.
func TestPeersAreBounded(t *testing.T) {
	now := time.Hour
	d, err := New(Config{
		Namespace: "kube-system", Name: "kvip", Log: slog.New(slog.DiscardHandler),
		Clock: func() time.Duration { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		now += peersEvery
		d.setPeers([]string{fmt.Sprintf("10.0.%d.%d:6443", i/200, i%200)})
		if len(d.Peers()) > maxPeers || len(d.seenAt) > maxPeers {
			t.Fatalf("round %d: %d peers, %d remembered", i, len(d.Peers()), len(d.seenAt))
		}
	}
}
