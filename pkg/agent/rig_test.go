package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/vip"
)

const (
	self  = "node-a_boot_1"
	other = "node-b_boot_2"
	lease = 5 * time.Second
)

var (
	vip4 = netip.MustParseAddr("10.0.0.100")
	vip6 = netip.MustParseAddr("fd00::100")
)

// journal is what the loop did to the world, in order; the same word twice in a row is one.
type journal struct {
	mu    sync.Mutex
	words []string
}

func (j *journal) add(word string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if n := len(j.words); n == 0 || j.words[n-1] != word {
		j.words = append(j.words, word)
	}
}

// take returns the words since the last take, without those named.
func (j *journal) take(without ...string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	words := slices.DeleteFunc(j.words, func(w string) bool { return slices.Contains(without, w) })
	j.words = nil
	return slices.Compact(words)
}

// all returns the words so far.
func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.words)
}

func (j *journal) Write(p []byte) (int, error) { // of slog
	j.mu.Lock()
	defer j.mu.Unlock()
	j.words = append(j.words, string(p))
	return len(p), nil
}

// rig is a loop on a kernel, a lease and a network in memory. It runs in a bubble of
// testing/synctest: its clock is the bubble's, and an hour passes in no time.
type rig struct {
	t       *testing.T
	l       *loop
	journal *journal
	log     *journal
	kernel  *vip.Fake
	lease   *fakeLease
	net     *fakeSpeaker
	metrics *metrics.Set
	events  chan *corev1.Event
	write   func(op vip.Op)
	sockets atomic.Int64
	// destroying, if not nil, holds up the destruction of connections until it closes.
	destroying chan struct{}
	atOnce     bool // the owner deletes by itself, within an Update
	stop       context.CancelFunc
	done       chan struct{}
}

// play runs the loop and tells it that the link is usable, the API server healthy and that
// there is no lease, which it makes. Whatever the story did, the loop ends when it is told to.
func play(t *testing.T, story func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start()
		defer r.end()
		r.observe()
		r.pass(time.Second / 2) // the loop spaces its requests
		r.did("create")
		story(r)
	})
}

// start runs the loop and tells it that the link is usable and the API server healthy.
func (r *rig) start() {
	ctx, cancel := context.WithCancel(r.t.Context())
	r.stop = cancel
	go func() {
		defer close(r.done)
		r.l.run(ctx)
	}()
	r.send(election.Link{Usable: true, MAC: "02:00:00:00:00:01"})
	r.send(election.Health{Verdict: election.Healthy})
}

func newRig(t *testing.T) *rig {
	began := time.Now()
	now := func() time.Duration { return time.Hour + time.Since(began) }
	r := &rig{t: t, journal: &journal{}, log: &journal{}, kernel: vip.NewFake(now), done: make(chan struct{}), events: make(chan *corev1.Event, 16)}
	r.lease = &fakeLease{journal: r.journal, events: make(chan election.Event, 16)}
	r.lease.writing = r.checkRelease
	r.net = newFakeSpeaker(r.journal)
	r.kernel.Hook(r.hook)
	list := []netip.Addr{vip4, vip6}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	cfg := config.Default()
	cfg.VIPs, cfg.NodeName, cfg.LeaseDuration, cfg.RenewInterval = list, "node-a", lease, time.Second
	kernel, err := vip.New(vip.Config{VIPs: list, Kernel: r.kernel, Clock: now, Log: log, Sockets: func(netip.Addr) (int, error) {
		r.sockets.Add(1)
		if r.destroying != nil {
			<-r.destroying
		}
		return 0, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if r.metrics, err = metrics.New(Build{Version: "test", Commit: "none"}, known(cfg)); err != nil {
		t.Fatal(err)
	}
	machine, err := election.New(election.Config{ID: self, Lease: lease, Renew: time.Second, FirstSeq: 1000})
	if err != nil {
		t.Fatal(err)
	}
	r.l = &loop{
		cfg: cfg, id: self, log: log, metrics: r.metrics, owner: kernel, lease: r.lease, announce: r.net, listen: r.net,
		machine: machine,
		network: &network{now: selected{Index: 7, Name: "eth0", Usable: true}, events: make(chan election.Event)},
		in:      make(chan election.Event, 64), now: now,
		post: func(_ context.Context, ev *corev1.Event) error { r.events <- ev; return nil },
	}
	return r
}

// hook notes what reaches the kernel, and that nothing is announced when an address goes.
func (r *rig) hook(op vip.Op, _ vip.Address) {
	if op == vip.OpList {
		return
	}
	if op == vip.OpDelete && r.net.announcing() && !r.atOnce {
		r.t.Error("an address is deleted while it is still announced")
	}
	r.journal.add(string(op))
	if r.write != nil {
		r.write(op)
	}
}

// checkRelease asserts E5 at every release: no address of this node is left.
func (r *rig) checkRelease(a election.Action) {
	if a.Kind == election.Release && r.has() {
		r.t.Error("E5: the lease is released while the address is on this host")
	}
}

// has is whether any of the addresses is on this host.
func (r *rig) has() bool { return r.kernel.Has(vip4) || r.kernel.Has(vip6) }

// send gives the loop an event and waits until all that follows at once has happened.
func (r *rig) send(ev election.Event) {
	r.l.in <- ev
	synctest.Wait()
}

// pass lets time pass.
func (r *rig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// observe has the watch deliver the lease as it is.
func (r *rig) observe() {
	r.lease.events <- election.Observed{Record: r.lease.get()}
	synctest.Wait()
}

// edit changes the lease as somebody else would; the watch shows it.
func (r *rig) edit(change func(*election.Record)) {
	r.lease.edit(change)
	r.observe()
}

// released makes the lease one that node-b has just released with proof (E3).
func (r *rig) released() {
	r.edit(func(l *election.Record) {
		*l = election.Record{Exists: true, Version: l.Version, Holder: other, Term: 1, Duration: lease, Seq: 1, MAC: "02:00:00:00:00:02"}
	})
	r.edit(func(l *election.Record) {
		l.Holder, l.Seq, l.Released = "", 2, election.Proof{Holder: other, Term: 1, Reason: election.ReasonShutdown}
	})
}

// hold makes the loop the holder and forgets how it became that.
func (r *rig) hold() {
	r.t.Helper()
	r.released()
	r.want(election.Holding)
	if !r.has() || !r.net.announcing() {
		r.t.Fatal("the holder does not own and announce")
	}
	r.journal.take()
}

// want asserts the state of the machine.
func (r *rig) want(state election.State) {
	r.t.Helper()
	if s := r.l.status.Load(); s.State != state {
		r.t.Fatalf("state %s (%s), want %s\n%s", s.State, s.Reason, state, strings.Join(r.journal.take(), " "))
	}
}

// did asserts what has happened since the journal was last read, renewals apart.
func (r *rig) did(want string) {
	r.t.Helper()
	if got := strings.Join(r.journal.take("renew"), " "); got != want {
		r.t.Errorf("did %q, want %q", got, want)
	}
}

// logged is whether some log record has all the words.
func (r *rig) logged(words ...string) bool {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return slices.ContainsFunc(r.log.words, func(line string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
	})
}

// end shuts the loop down, which must come to an end and leave no address (E5).
func (r *rig) end() {
	r.stop()
	select {
	case <-r.done:
	case <-time.After(time.Minute): // of the bubble's time
		r.t.Error("the loop does not end")
		<-r.done
	}
	if r.has() {
		r.t.Error("an address is left after the end")
	}
	if r.net.announcing() {
		r.t.Error("the loop has ended and announces")
	}
}

// scrape returns the metrics as a page.
func scrape(t *testing.T, set *metrics.Set) string {
	t.Helper()
	_, page := answered(t, set.Handler().ServeHTTP)
	return page
}
