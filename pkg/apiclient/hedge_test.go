package apiclient

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kvip/kvip/test/fakeapi"
)

var conflict = apierrors.NewConflict(coordinationv1.Resource("leases"), "a", errors.New("x"))

// reply is how one server answers: after a while, with an error. A negative time means never.
type reply struct {
	after time.Duration
	err   error
}

// hedged runs hedge in fake time over hosts a, b, c, ... with these replies, in the order of the
// requests. It returns the request that won, which were sent when, and the duration.
func hedged(t *testing.T, cfg HedgeConfig, hosts string, replies ...reply) (
	won int, sent []string, took time.Duration, err error,
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		began := time.Now()
		late := func(host string) {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, "late "+host)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 1900*time.Millisecond)
		defer cancel()
		won, err = hedge(ctx, cfg, strings.Split(hosts, ""), late,
			func(ctx context.Context, host string) (int, error) {
				mu.Lock()
				sent = append(sent, host+"@"+time.Since(began).String())
				n := 0
				for _, s := range sent {
					if !strings.HasPrefix(s, "late") {
						n++
					}
				}
				r := replies[min(n, len(replies))-1]
				mu.Unlock()
				if r.after < 0 {
					<-ctx.Done()
					return 0, ctx.Err()
				}
				select {
				case <-ctx.Done():
					return 0, ctx.Err()
				case <-time.After(r.after):
				}
				return n, r.err
			})
		took = time.Since(began)
	})
	return won, sent, took, err
}

// TestHedge has every reason to send a request again, or not.
func TestHedge(t *testing.T) {
	const ms = time.Millisecond
	broken, never := io.ErrUnexpectedEOF, reply{after: -1}
	final := func(err error) bool { return apierrors.IsConflict(err) }
	peers := HedgeConfig{Delay: 100 * ms, Final: final, Grace: 50 * ms}
	renewal := HedgeConfig{Delay: 500 * ms, Attempts: 5, Retry: IsNoResponse}
	stay := HedgeConfig{Delay: 100 * ms, Attempts: 5, Stay: true}
	for _, c := range []struct {
		name    string
		cfg     HedgeConfig
		hosts   string
		replies []reply
		won     int
		sent    string
		took    time.Duration
		err     error
	}{
		{"answered", peers, "abc", []reply{{10 * ms, nil}}, 1, "a@0s", 10 * ms, nil},
		{"silent", peers, "abc", []reply{never, {10 * ms, nil}}, 2, "a@0s late a b@100ms", 110 * ms, nil},
		{"slow, and first", peers, "abc", []reply{{105 * ms, nil}, never}, 1,
			"a@0s late a b@100ms", 105 * ms, nil},
		{"broken", peers, "abc", []reply{{10 * ms, broken}, {10 * ms, nil}}, 2,
			"a@0s b@10ms", 20 * ms, nil},
		{"all broken", peers, "ab", []reply{{10 * ms, broken}}, 0, "a@0s b@10ms", 20 * ms, broken},
		{"an answer counts more than silence", HedgeConfig{Delay: 100 * ms}, "abc",
			[]reply{{10 * ms, broken}, {10 * ms, conflict}, {10 * ms, broken}}, 0,
			"a@0s b@10ms c@20ms", 30 * ms, conflict},
		{"conflict", peers, "abc", []reply{{10 * ms, conflict}}, 0, "a@0s", 10 * ms, conflict},
		{"a copy was applied", peers, "abc", []reply{{140 * ms, nil}, {10 * ms, conflict}}, 1,
			"a@0s late a b@100ms", 140 * ms, nil},
		{"a copy stays silent", peers, "abc", []reply{never, {10 * ms, conflict}}, 0,
			"a@0s late a b@100ms", 160 * ms, conflict},
		{"a copy fails", peers, "abc", []reply{{120 * ms, broken}, {10 * ms, conflict}}, 0,
			"a@0s late a b@100ms", 120 * ms, conflict},
		{"the only server, again", renewal, "a", []reply{never, {10 * ms, nil}}, 2,
			"a@0s late a a@500ms", 510 * ms, nil},
		{"round", renewal, "ab", []reply{never, never, {10 * ms, nil}}, 3,
			"a@0s late a b@500ms late b a@1s", 1010 * ms, nil},
		{"an error of the server ends it", renewal, "ab", []reply{{10 * ms, conflict}}, 0,
			"a@0s", 10 * ms, conflict},
		{"a later copy is refused, the first was written", renewal, "ab",
			[]reply{{520 * ms, nil}, {10 * ms, conflict}}, 1, "a@0s late a b@500ms", 520 * ms, nil},
		{"while another is open", renewal, "abc", []reply{never, {10 * ms, conflict}, {10 * ms, nil}}, 3,
			"a@0s late a b@500ms late b c@1s", 1010 * ms, nil},
		{"stays", stay, "ab", []reply{never, never, {10 * ms, nil}}, 3,
			"a@0s a@100ms a@200ms", 210 * ms, nil},
		{"stays with the next one after an error", stay, "ab",
			[]reply{{10 * ms, broken}, never, {10 * ms, nil}}, 3, "a@0s b@10ms b@110ms", 120 * ms, nil},
		{"refused once by the only server", renewal, "a", []reply{{0, broken}}, 0, "a@0s", 0, broken},
		{"time is up", renewal, "ab", []reply{never}, 0,
			"a@0s late a b@500ms late b a@1s late a b@1.5s", 1900 * ms, context.DeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			won, sent, took, err := hedged(t, c.cfg, c.hosts, c.replies...)
			if won != c.won || strings.Join(sent, " ") != c.sent || took != c.took ||
				!errors.Is(err, c.err) {
				t.Errorf("request %d won, sent %s, %v after %v", won, strings.Join(sent, " "), err, took)
			}
		})
	}
}

// No request runs any more when Hedge returns, and the silent server is left.
func TestHedgeLeavesASilentServer(t *testing.T) {
	f := newFixture(t)
	other := f.second()
	f.server.SetMode(fakeapi.Hang)
	r := f.routes(RouterConfig{Local: local(f.server.Host, other.Host)})
	ended := 0
	cfg := HedgeConfig{Delay: 10 * time.Millisecond}
	host, err := Hedge(t.Context(), r, cfg, func(ctx context.Context, s *Server) (string, error) {
		err := ping(ctx, s)
		if s.Host == f.server.Host {
			ended++
		}
		return s.Host, err
	})
	if err != nil || host != other.Host || ended != 1 {
		t.Errorf("%s answered, %v; %d requests ended", host, err, ended)
	}
	if now, _ := r.Server(); now.Host != other.Host {
		t.Errorf("the next request goes to %s", now.Host)
	}
}

func TestHedgeWithoutServers(t *testing.T) {
	f := newFixture(t)
	r := f.routes(RouterConfig{})
	cfg := HedgeConfig{Delay: time.Second}
	_, err := Hedge(t.Context(), r, cfg, func(context.Context, *Server) (int, error) { return 0, nil })
	if !errors.Is(err, ErrNoServer) {
		t.Error(err)
	}
}

// E11: while the own API server is in doubt, peers that responded come before it, and others after.
func TestPeersFirst(t *testing.T) {
	f := newFixture(t)
	r := f.routes(RouterConfig{Local: local("own:1"), LocalFirst: true})
	r.SetPeers([]string{"a:1", "b:1", "c:1"})
	r.peers.responds["b:1"] = true
	if got := r.peersFirst(); !slices.Equal(got, []string{"b:1", "own:1", "a:1", "c:1"}) {
		t.Errorf("order %v", got)
	}
}

// E11: with LocalFirst the local address that responded comes first; neither silence nor the
// in-cluster address changes that.
func TestLocalFirst(t *testing.T) {
	f := newFixture(t)
	r := f.routes(RouterConfig{Local: local("lo:1", "node:1"), InCluster: "svc:1", LocalFirst: true})
	r.SetPeers([]string{"a:1"})
	for _, c := range []struct {
		host string
		err  error
		want string
	}{
		{"node:1", nil, "node:1 lo:1 svc:1 a:1"},
		{"node:1", context.DeadlineExceeded, "node:1 lo:1 svc:1 a:1"},
		{"svc:1", nil, "node:1 lo:1 svc:1 a:1"},
		{"a:1", nil, "node:1 lo:1 svc:1 a:1"},
		{"lo:1", context.Canceled, "node:1 lo:1 svc:1 a:1"},
		{"lo:1", conflict, "lo:1 node:1 svc:1 a:1"},
	} {
		r.Report(&Server{Host: c.host}, c.err)
		r.Next()
		if got := strings.Join(r.Hosts(), " "); got != c.want {
			t.Errorf("after %s with %v: %s, want %s", c.host, c.err, got, c.want)
		}
	}
}
