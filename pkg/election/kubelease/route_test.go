package kubelease

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

// E11: if loopback is not reachable, the same request goes to the node's address. The address that
// answered comes first from then on.
func TestLoopbackThenNodeAddress(t *testing.T) {
	l := newLab(t, 1)
	loopback, node := dead(t), l.servers[0].Host
	l.at(loopback, node)
	l.holding()
	if got := l.driver.cfg.Router.Hosts(); got[0] != node {
		t.Errorf("the next request goes to %v, want the node's address first", got)
	}
	if f := l.failures(); len(f) != 0 {
		t.Errorf("failures %v were reported although one address answered", f)
	}
	l.at(loopback) // the node's address changed
	if got := l.driver.cfg.Router.Hosts(); !slices.Equal(got, []string{loopback}) {
		t.Errorf("an address that is not the node's any more is used: %v", got)
	}
}

// E11: a request that a slow server may have applied is not sent to another address.
func TestASilentServerGetsTheOnlyRequest(t *testing.T) {
	l := newLab(t, 2)
	held := l.holding()
	l.servers[0].SetMode(fakeapi.Hang)
	l.at(l.servers[0].Host, l.servers[1].Host)
	renewal := election.Action{Kind: election.Renew, Base: held, Record: tenure()}
	got := l.do(renewal, 200*time.Millisecond)
	if got.(election.Written).Outcome != election.OutcomeFailed || len(l.servers[1].Requests()) != 0 {
		t.Errorf("renewal ended with %+v, the second address got %v", got, l.servers[1].Requests())
	}
}

// E11: after 401 or 403 the next credentials are used, for requests and for the watch.
func TestRefusedCredentialsRotate(t *testing.T) {
	l := newLab(t, 1, fakeapi.User{Token: "unbound"}, fakeapi.User{Token: "bound"})
	l.servers[0].RejectUser("unbound")
	if got := l.do(election.Action{Kind: election.Read}, patience).(election.ReadDone); got.OK {
		t.Fatal("refused credentials read the lease")
	}
	p := l.driver.cfg.Health.NotReady()
	if !strings.Contains(p, "read lease kube-system/kvip") || !strings.Contains(p, "nauthorized") {
		t.Errorf("problem %q", p)
	}
	l.holding()
	if p := l.driver.cfg.Health.NotReady(); p != "" {
		t.Errorf("problem %q after a success", p)
	}
	if f := l.failures(); !slices.Equal(f, []string{"read"}) {
		t.Errorf("failures %v, want one read", f)
	}
	l.servers[0].SetMode(fakeapi.Forbidden)
	l.read403()
	l.servers[0].SetMode(fakeapi.Serving)
	if !strings.HasSuffix(l.source(), "0.conf") {
		t.Errorf("after 403 the credentials are those of %s", l.source())
	}
	l.run() // the first are still refused: the watch finds the second
	l.await("the lease", func(r election.Record) bool { return r.Holder == "a" })
}

func (l *lab) read403() {
	l.t.Helper()
	if got := l.do(election.Action{Kind: election.Read}, patience).(election.ReadDone); got.OK {
		l.t.Fatal("a forbidden read succeeded")
	}
}

// withPeers is a lab of n servers whose agent has learned the others.
func withPeers(t *testing.T, n int) (*lab, election.Record) {
	t.Helper()
	l := newLab(t, n)
	var hosts []string
	for _, s := range l.servers {
		hosts = append(hosts, s.Host)
	}
	l.store.SetPeers(hosts...)
	held := l.holding()
	l.run()
	testutil.Eventually(l.t, "the peers", func() bool { return len(l.driver.Peers()) == n-1 })
	if got := l.driver.Peers(); !slices.Equal(got, hosts[1:]) {
		t.Fatalf("peers %v, want the others %v", got, hosts[1:])
	}
	l.driver.cfg.Router.ConnectPeers(t.Context())
	return l, held
}

// E11: if the node's own API server is dead, the release goes to a peer, over a connection that was
// opened before.
func TestReleaseGoesToAPeer(t *testing.T) {
	l, held := withPeers(t, 3)
	l.servers[0].SetMode(fakeapi.Hang)
	writes := l.store.WriteCount()
	if got := l.write(release(held)); got != election.OutcomeOK {
		t.Fatalf("release: outcome %d", got)
	}
	if n := l.store.WriteCount() - writes; n != 1 {
		t.Errorf("%d writes were applied", n)
	}
	requests := l.servers[1].Requests()
	last, first := requests[len(requests)-1], requests[0]
	if last.Method != "PUT" || last.Client != first.Client || last.ServerName != "kubernetes" {
		t.Errorf("the release was %+v, want an update over the connection of %+v", last, first)
	}
	if l.servers[0].RequestCount("PUT", "/leases") != 1 { // the claim
		t.Error("the release was sent to the dead API server although a peer answered")
	}
}

// E11: after a silent peer the release goes to the next one.
func TestHedgePastASilentPeer(t *testing.T) {
	l, held := withPeers(t, 3)
	l.servers[0].SetMode(fakeapi.Hang)
	l.servers[1].SetMode(fakeapi.Hang)
	if got := l.write(release(held)); got != election.OutcomeOK {
		t.Fatalf("release: outcome %d", got)
	}
	if l.servers[1].RequestCount("PUT", "/leases") != 1 ||
		l.servers[2].RequestCount("PUT", "/leases") != 1 {
		t.Error("the release was not sent to the first peer and then to the second")
	}
	l.at(l.servers[2].Host)
	if r := l.read(); r.Holder != "" || r.Released.Holder != "a" {
		t.Errorf("the lease is %+v", r)
	}
}

// E11: the node's own API server comes before MaxServers silent peers of a forged EndpointSlice,
// within the time of a renewal.
func TestSilentPeersComeAfterTheOwnServer(t *testing.T) {
	l := newLab(t, 1)
	held := l.holding()
	_, port, err := net.SplitHostPort(l.servers[0].Host)
	if err != nil {
		t.Fatal(err)
	}
	l.driver.cfg.Router.SetPeers(silent(t, apiclient.MaxServers, port))
	within := election.RequestTimeout(5 * time.Second)
	renewal := election.Action{Kind: election.Renew, Base: held, Record: tenure(), PreferPeers: true}
	if got := l.do(renewal, within).(election.Written); got.Outcome != election.OutcomeOK {
		t.Errorf("the renewal ended with %+v", got)
	}
}

// E2, E11: a peer applies the release and never answers. Another peer rejects the copy: the release
// is applied once, and reported as a conflict at once.
func TestHedgeAppliesOneWrite(t *testing.T) {
	l, held := withPeers(t, 3)
	l.servers[0].SetMode(fakeapi.Hang)
	l.servers[1].SetMode(fakeapi.DropResponses)
	writes := l.store.WriteCount()
	if got := l.write(release(held)); got != election.OutcomeConflict {
		t.Fatalf("release: outcome %d, want a conflict", got)
	}
	if n := l.store.WriteCount() - writes; n != 1 {
		t.Errorf("%d writes were applied", n)
	}
	got := l.do(election.Action{Kind: election.Read, PreferPeers: true}, patience).(election.ReadDone)
	if !got.OK || got.Record.Released.Holder != "a" {
		t.Errorf("a read over the peers returns %+v", got)
	}
}

// E2, E11: the copy that was applied answers after another was rejected. The write succeeded.
func TestConflictOfACopyIsNoConflict(t *testing.T) {
	l, held := withPeers(t, 3)
	l.driver.conflictGrace = patience
	l.servers[0].SetMode(fakeapi.Hang)
	l.servers[1].SetMode(fakeapi.HoldResponses)
	done := make(chan election.Outcome)
	go func() { done <- l.write(release(held)) }()
	testutil.Eventually(l.t, "the refused copy",
		func() bool { return l.servers[2].RequestCount("PUT", "/leases") == 1 })
	l.servers[1].ReleaseResponses()
	if got := <-done; got != election.OutcomeOK {
		t.Errorf("release: outcome %d, want success", got)
	}
}

// F4: etcd loses a claim that a follower forwards to a leader that died. The claim is sent again,
// and applied once.
func TestClaimInModeFastIsRepeated(t *testing.T) {
	l := newLab(t, 1)
	held := l.holding()
	l.servers[0].SetMode(fakeapi.Hang)
	claim := tenure()
	claim.Mark = election.Mark{Fast: true, Voters: "a,b,c"}
	before, writes := l.servers[0].RequestCount("PUT", "/leases"), l.store.WriteCount()
	done := make(chan election.Event)
	go func() {
		done <- l.do(election.Action{Kind: election.Claim, Base: held, Record: claim}, patience)
	}()
	testutil.Eventually(t, "three copies", func() bool {
		return l.servers[0].RequestCount("PUT", "/leases")-before >= 3
	})
	l.servers[0].SetMode(fakeapi.Serving)
	if got := (<-done).(election.Written); got.Outcome != election.OutcomeOK {
		t.Errorf("the claim ended with %+v", got)
	}
	if n := l.store.WriteCount() - writes; n != 1 {
		t.Errorf("%d writes were applied", n)
	}
}

// TestBusyIsAnsweredAtOnce: the machine repeats a request to a busy API server, not client-go. That
// would use up the request's time and could send a write twice.
func TestBusyIsAnsweredAtOnce(t *testing.T) {
	l := newLab(t, 1)
	held := l.holding()
	l.servers[0].SetMode(fakeapi.TooManyRequests)
	for _, kind := range []election.Kind{election.Create, election.Renew, election.Read} {
		before := len(l.servers[0].Requests())
		got := l.do(election.Action{Kind: kind, Base: held, Record: tenure()}, patience)
		failed := got == election.ReadDone{Seq: l.seq} ||
			got == election.Written{Seq: l.seq, Outcome: election.OutcomeFailed}
		if n := len(l.servers[0].Requests()) - before; !failed || n != 1 {
			t.Errorf("%v ended with %+v after %d requests, want a failure after one", kind, got, n)
		}
	}
}

// E11: an unreachable peer costs no time. If all are unreachable, the request fails.
func TestHedgePastDeadPeers(t *testing.T) {
	l, held := withPeers(t, 3)
	l.servers[1].Close()
	if got := l.write(release(held)); got != election.OutcomeOK {
		t.Fatalf("release: outcome %d", got)
	}
	l.servers[2].Close()
	l.servers[0].Close()
	if got := l.write(release(l.driver.last())); got != election.OutcomeFailed {
		t.Errorf("release without any server: outcome %d", got)
	}
}

// last is the newest Lease at hand.
func (d *Driver) last() election.Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Decode(d.objects[len(d.objects)-1])
}

// TestWithoutServers: PreferPeers without peers uses the local server. Without any address a
// request fails.
func TestWithoutServers(t *testing.T) {
	l := newLab(t, 1)
	held := l.holding()
	if got := l.write(release(held)); got != election.OutcomeOK {
		t.Errorf("without peers the release goes to the local server: outcome %d", got)
	}
	l.at()
	if got := l.write(release(l.driver.last())); got != election.OutcomeFailed {
		t.Errorf("without any address: outcome %d", got)
	}
	if p := l.driver.cfg.Health.NotReady(); !strings.Contains(p, "no API server") {
		t.Errorf("problem %q", p)
	}
}

// TestFailureOvertakenBySuccess: a request that fails after a later success is not a problem.
func TestFailureOvertakenBySuccess(t *testing.T) {
	l := newLab(t, 2)
	held := l.holding()
	l.servers[0].SetMode(fakeapi.Hang)
	l.at(l.servers[0].Host)
	before, hung := len(l.servers[0].Requests()), make(chan election.Event)
	go func() {
		renewal := election.Action{Kind: election.Renew, Base: held, Record: tenure()}
		hung <- l.do(renewal, 300*time.Millisecond)
	}()
	testutil.Eventually(l.t, "the renewal to hang",
		func() bool { return len(l.servers[0].Requests()) > before })
	l.at(l.servers[1].Host)
	time.Sleep(time.Millisecond) // the clock must tell the two requests apart
	if got := l.do(election.Action{Kind: election.Read}, patience).(election.ReadDone); !got.OK {
		t.Fatal("the other server did not answer")
	}
	if got := (<-hung).(election.Written); got.Outcome != election.OutcomeFailed {
		t.Fatalf("the hung renewal ended with %+v", got)
	}
	if p := l.driver.cfg.Health.NotReady(); p != "" {
		t.Errorf("problem %q though a later request succeeded", p)
	}
	if f := l.failures(); len(f) != 1 {
		t.Errorf("failures %v, want the renewal counted", f)
	}
}

// E11: a pod on a node without an API server uses the in-cluster address, then the peers. Neither
// counts as the node's own.
func TestInClusterComesLast(t *testing.T) {
	l := newLab(t, 1)
	inCluster := l.servers[0].Host
	l.at(dead(t))
	l.driver.cfg.Router = l.newRouter(inCluster)
	l.driver.cfg.Router.SetPeers([]string{"192.0.2.2:6443"})
	l.holding()
	want := []string{l.hosts()[0], inCluster, "192.0.2.2:6443"}
	if got := l.driver.cfg.Router.Hosts(); !slices.Equal(got, want) {
		t.Errorf("asks %v, want %v", got, want)
	}
}

// TestUnknownBaseIsNoSuccess: no request is sent then, so the state of the API server stays as it
// was.
func TestUnknownBaseIsNoSuccess(t *testing.T) {
	l := newLab(t, 1)
	l.holding()
	l.servers[0].SetMode(fakeapi.Unauthorized)
	l.read403()
	problem, sent := l.driver.cfg.Health.NotReady(), len(l.servers[0].Requests())
	got := l.write(election.Action{
		Kind: election.Renew, Base: election.Record{Exists: true, Version: 1 << 40}, Record: tenure(),
	})
	if got != election.OutcomeConflict || len(l.servers[0].Requests()) != sent {
		t.Errorf("outcome %d after %d requests", got, len(l.servers[0].Requests())-sent)
	}
	if now := l.driver.cfg.Health.NotReady(); problem == "" || now != problem {
		t.Errorf("problem %q, and %q before", now, problem)
	}
}

// TestReadsKeepTheOlderVersions: a version that is read again and again is kept once.
func TestReadsKeepTheOlderVersions(t *testing.T) {
	l := newLab(t, 1)
	base := l.holding()
	if got := l.write(election.Action{Kind: election.Renew, Base: base, Record: tenure()}); got !=
		election.OutcomeOK {
		t.Fatalf("renew: outcome %d", got)
	}
	for range maxObjects {
		l.read()
	}
	if l.driver.known(base.Version) == nil {
		t.Error("the version before is not kept")
	}
}
