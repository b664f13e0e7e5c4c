package kubelease

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/test/fakeapi"

	"github.com/kvip/kvip/test/testutil"
)

// patience bounds every wait of the tests. None measures speed.
const patience = 30 * time.Second

// lab is a cluster of fake API servers, all on one port, and an agent on the first node.
type lab struct {
	t       *testing.T
	store   *fakeapi.Store
	servers []*fakeapi.Server
	creds   *apiclient.Store
	driver  *Driver

	mu     sync.Mutex
	local  []string // addresses of the node's own API server
	failed []string // operations that the metric hook heard of
	seq    uint64
}

func newLab(t *testing.T, servers int, users ...fakeapi.User) *lab {
	t.Helper()
	store, err := fakeapi.NewStore()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, store: store}
	address := "127.0.0.1:0"
	for n := range servers {
		server, err := store.Serve(address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		l.servers = append(l.servers, server)
		_, port, _ := net.SplitHostPort(server.Host)
		address = fmt.Sprintf("127.0.0.%d:%s", n+2, port)
	}
	l.at(l.servers[0].Host)
	if len(users) == 0 {
		users = []fakeapi.User{{Token: "agent"}}
	}
	l.agent(users)
	return l
}

// agent makes the driver, with one kubeconfig for each user.
func (l *lab) agent(users []fakeapi.User) {
	l.t.Helper()
	dir := l.t.TempDir()
	var paths []string
	for n, u := range users {
		path := filepath.Join(dir, fmt.Sprintf("%d.conf", n))
		if err := l.store.WriteKubeconfig(path, "https://vip.invalid:6443", u); err != nil {
			l.t.Fatal(err)
		}
		paths = append(paths, path)
	}
	l.creds = testutil.Must(apiclient.NewStore(apiclient.StoreConfig{Kubeconfigs: paths}))
	var err error
	l.driver, err = New(Config{
		Namespace: "kube-system", Name: "kvip", Router: l.newRouter(""), OnFailure: l.fail,
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// newRouter returns a router to the node's own API server and, if given, the in-cluster address.
func (l *lab) newRouter(inCluster string) *apiclient.Router {
	return testutil.Must(apiclient.NewRouter(apiclient.RouterConfig{
		Store: l.creds, Local: l.hosts, InCluster: inCluster, LocalFirst: true,
	}))
}

// at sets the addresses of the node's own API server.
func (l *lab) at(hosts ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.local = hosts
}

func (l *lab) hosts() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.local...)
}

// source returns the source of the credentials in use.
func (l *lab) source() string {
	_, source := l.creds.InUse()
	return source
}

func (l *lab) fail(op string, _ error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, op)
}

func (l *lab) failures() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.failed...)
}

// run runs the driver until the test ends.
func (l *lab) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.driver.Run(ctx) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("Run: %v", err)
		}
	})
}

// do executes an action within the given time.
func (l *lab) do(a election.Action, within time.Duration) election.Event {
	l.seq++
	a.Seq, a.Deadline = l.seq, boottime.Now()+within
	a.Record.Seq = l.seq
	return l.driver.Execute(l.t.Context(), a)
}

// write executes a write with a late deadline.
func (l *lab) write(a election.Action) election.Outcome {
	l.t.Helper()
	got, ok := l.do(a, patience).(election.Written)
	if !ok {
		l.t.Fatalf("%s was not answered with Written", a.Kind)
	}
	return got.Outcome
}

// read reads the Lease as this agent does.
func (l *lab) read() election.Record {
	l.t.Helper()
	got, ok := l.do(election.Action{Kind: election.Read}, patience).(election.ReadDone)
	if !ok || !got.OK {
		l.t.Fatalf("read: %+v", got)
	}
	return got.Record
}

// create creates the Lease with node a as its holder.
func (l *lab) create() {
	l.t.Helper()
	got := l.write(election.Action{Kind: election.Create, Record: tenure()})
	if got != election.OutcomeOK {
		l.t.Fatalf("create: outcome %d", got)
	}
}

// holding creates the Lease, and node a claims it in term 1.
func (l *lab) holding() election.Record {
	l.t.Helper()
	for _, a := range []election.Action{
		{Kind: election.Create, Record: election.Record{Duration: 5 * time.Second}},
		{Kind: election.Claim, Record: tenure()},
	} {
		a.Base = l.read()
		if got := l.write(a); got != election.OutcomeOK {
			l.t.Fatalf("%s: outcome %d", a.Kind, got)
		}
	}
	return l.read()
}

func tenure() election.Record {
	return election.Record{
		Exists: true, Holder: "a", Term: 1, Duration: 5 * time.Second, MAC: "02:00:00:00:00:0a",
	}
}

// release is the action by which node a releases the lease over its peers.
func release(base election.Record) election.Action {
	return election.Action{
		Kind: election.Release, Base: base, PreferPeers: true,
		Record: election.Record{
			Exists: true, Term: 1, Duration: 5 * time.Second,
			Released: election.Proof{Holder: "a", Term: 1, Reason: election.ReasonAPIServerDead},
		},
	}
}

// await reads events of the watch until one matches.
func (l *lab) await(what string, is func(election.Record) bool) election.Record {
	l.t.Helper()
	end := time.After(patience)
	for {
		select {
		case ev := <-l.driver.Events():
			if seen := ev.(election.Observed); is(seen.Record) {
				return seen.Record
			}
		case <-end:
			l.t.Fatalf("the watch never showed %s", what)
		}
	}
}

// dead returns an address without a listener.
func dead(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
