package controlplane

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/netaddr"
	"github.com/kvip/kvip/pkg/quorum"
	"github.com/kvip/kvip/pkg/reporter"
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
	// foreignMAC is the hardware address of a machine that is not a node.
	foreignMAC = net.HardwareAddr{2, 0, 0, 0, 0, 9}
	ownMAC     = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	discard    = slog.New(slog.DiscardHandler)
)

// journal records the loop's actions in order. Repeated actions are one entry.
type journal struct {
	mu      sync.Mutex
	entries []string
}

func (j *journal) add(entry string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if n := len(j.entries); n == 0 || j.entries[n-1] != entry {
		j.entries = append(j.entries, entry)
	}
}

// take returns the entries since the last take, except some.
func (j *journal) take(except ...string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	entries := slices.DeleteFunc(j.entries, func(e string) bool { return slices.Contains(except, e) })
	j.entries = nil
	return slices.Compact(entries)
}

// Write adds a log record.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, string(p))
	return len(p), nil
}

// testLoop is a loop on a kernel, a lease and a link in memory. It runs in a bubble of
// testing/synctest: its clock is the bubble's.
type testLoop struct {
	t       *testing.T
	cfg     config.Config
	l       *loop
	journal *journal
	log     *journal
	kernel  *vip.Fake
	owner   *vip.Owner
	lease   *fakeLease
	net     *fakeAnnouncer
	metrics *metrics.Set
	health  *reporter.Registry
	events  chan *corev1.Event
	write   func(op vip.Op) // runs before each operation on the kernel, if not nil
	sockets atomic.Int64    // calls that destroy connections
	// destroying, if not nil, blocks the destruction of connections until it is closed.
	destroying chan struct{}
	ownDelete  bool            // the owner deletes within an Update
	addresses  []link.HostAddr // of the host, without those of the owner
	thawed     atomic.Pointer[chan struct{}]
	stop       context.CancelFunc
	done       chan struct{}
}

// withLoop runs the loop with a usable link, a healthy API server and a Lease that it creates.
// After the test it shuts the loop down.
func withLoop(t *testing.T, test func(r *testLoop)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newTestLoop(t)
		r.start()
		defer r.end()
		r.observe()
		r.pass(time.Second / 2) // the loop spaces its requests
		r.did("create")
		test(r)
	})
}

// start runs the loop with a usable link and a healthy API server.
func (r *testLoop) start() {
	ctx, cancel := context.WithCancel(r.t.Context())
	r.stop = cancel
	go func() {
		defer close(r.done)
		r.l.run(ctx)
	}()
	r.send(election.Link{Usable: true, MAC: ownMAC.String()})
	r.send(election.Health{Verdict: election.Healthy})
}

// fakeMessenger records messages. It waits without system calls, as synctest requires.
type fakeMessenger struct {
	woken chan struct{}
	mu    sync.Mutex
	sent  []quorum.Message
}

func newFakeMessenger() *fakeMessenger { return &fakeMessenger{woken: make(chan struct{}, 1)} }

func (m *fakeMessenger) wait(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-m.woken:
	case <-timer.C:
	}
}

func (m *fakeMessenger) wake() {
	select {
	case m.woken <- struct{}{}:
	default:
	}
}

func (m *fakeMessenger) received() (election.Event, bool) { return nil, false }

func (m *fakeMessenger) send(_ string, message quorum.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = append(m.sent, message)
}

func newTestLoop(t *testing.T) *testLoop {
	began := time.Now()
	now := func() time.Duration { return time.Hour + time.Since(began) }
	r := &testLoop{
		t: t, cfg: config.Default(), journal: &journal{}, log: &journal{}, kernel: vip.NewFake(now),
		done: make(chan struct{}), events: make(chan *corev1.Event, 16),
		health: reporter.NewRegistry(now),
	}
	r.lease = &fakeLease{journal: r.journal, events: make(chan election.Event, 16)}
	r.lease.writing = r.checkRelease
	r.net = newFakeAnnouncer(r.journal)
	r.kernel.Hook(r.hook)
	r.cfg.VIPs, r.cfg.NodeName = []netip.Addr{vip4, vip6}, "node-a"
	r.cfg.LeaseDuration, r.cfg.RenewInterval = lease, time.Second
	r.newLoop(func() time.Duration { // of the process, which may be frozen
		if thawed := r.thawed.Load(); thawed != nil {
			<-*thawed
		}
		return now()
	})
	return r
}

// freeze stops the process for a time: each of its goroutines at its next look at the clock.
func (r *testLoop) freeze(d time.Duration) {
	thawed := make(chan struct{})
	r.thawed.Store(&thawed)
	time.Sleep(d)
	r.thawed.Store(nil)
	close(thawed)
}

func (r *testLoop) newLoop(now boottime.Clock) {
	log := slog.New(slog.NewTextHandler(r.log, nil))
	var err error
	if r.owner, err = vip.New(vip.Config{
		VIPs: r.cfg.VIPs, Kernel: r.kernel, Clock: now, Log: log, DestroySockets: r.destroySockets,
	}); err != nil {
		r.t.Fatal(err)
	}
	if r.metrics, err = metrics.New(metrics.Build{}, metrics.Known{
		VIPs: r.cfg.VIPs, Codes: []string{"Timeout"},
	}); err != nil {
		r.t.Fatal(err)
	}
	links := &linkTracker{
		current: link.Link{Index: 7, Name: "eth0", Usable: true, MAC: ownMAC},
		events:  make(chan election.Event),
	}
	r.l = &loop{
		vips: r.cfg.VIPs, log: log, metrics: r.metrics, owner: r.owner, lease: r.lease,
		announcer: r.net, conflicts: r.net, links: links,
		relay: &fakeRelay{journal: r.journal}, messages: newFakeMessenger(),
		allowFast: func() { r.journal.add("allow-fast") },
		addresses: func() ([]link.HostAddr, error) { return r.addresses, nil },
		inbox:     make(chan func() election.Event, inboxSize), now: now,
		recorder: recorder{
			cfg: r.cfg, id: self, vips: netaddr.Join(r.cfg.VIPs, ","), log: log, metrics: r.metrics,
			link:        links.link,
			createEvent: func(_ context.Context, ev *corev1.Event) error { r.events <- ev; return nil },
			onFailure:   func(op string, err error) { r.journal.add("failed " + op + ": " + err.Error()) },
			health:      r.health.Component("election loop"),
			probe:       r.health.Component("health probe"),
		},
	}
	if r.l.machine, err = election.New(election.Config{
		ID: self, Lease: lease, Renew: time.Second, FirstSeq: 1000,
	}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *testLoop) destroySockets([]netip.Addr) (int, error) {
	r.sockets.Add(1)
	if r.destroying != nil {
		<-r.destroying
	}
	return 0, nil
}

// hook records operations on the kernel, and checks that no address is deleted while it is
// announced.
func (r *testLoop) hook(op vip.Op, _ vip.Address) {
	if op == vip.OpList {
		return
	}
	if op == vip.OpDelete && r.net.announcing() && !r.ownDelete {
		r.t.Error("an address is deleted while it is still announced")
	}
	r.journal.add(string(op))
	if r.write != nil {
		r.write(op)
	}
}

// checkRelease checks E5 at every release: this host has no address.
func (r *testLoop) checkRelease(a election.Action) {
	if a.Kind == election.Release && r.hasAddress() {
		r.t.Error("E5: the lease is released while the address is on this host")
	}
}

// hasAddress reports whether any of the addresses is on this host.
func (r *testLoop) hasAddress() bool { return r.kernel.Has(vip4) || r.kernel.Has(vip6) }

// send sends an event to the loop and waits until the loop has handled it.
func (r *testLoop) send(ev election.Event) {
	r.l.post(r.t.Context(), func() election.Event { return ev })
	synctest.Wait()
}

// pass advances the clock.
func (r *testLoop) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// observe makes the watch deliver the Lease.
func (r *testLoop) observe() {
	r.lease.events <- election.Observed{Record: r.lease.get()}
	synctest.Wait()
}

// edit changes the Lease as another node would. The watch delivers it.
func (r *testLoop) edit(change func(*election.Record)) {
	r.lease.edit(change)
	r.observe()
}

// released makes node-b hold the Lease and release it with proof (E3).
func (r *testLoop) released() {
	r.edit(func(l *election.Record) {
		*l = election.Record{
			Exists: true, Version: l.Version, Holder: other, Term: 1, Duration: lease, Seq: 1,
			MAC: "02:00:00:00:00:02",
		}
	})
	r.edit(func(l *election.Record) {
		l.Holder, l.Seq = "", 2
		l.Released = election.Proof{Holder: other, Term: 1, Reason: election.ReasonShutdown}
	})
}

// hold makes the loop the holder and clears the journal.
func (r *testLoop) hold() {
	r.t.Helper()
	r.released()
	r.want(election.Holding)
	if !r.hasAddress() || !r.net.announcing() {
		r.t.Fatal("the holder does not own and announce")
	}
	r.journal.take()
}

// want checks the state of the machine.
func (r *testLoop) want(state election.State) {
	r.t.Helper()
	if s := r.l.status.Load(); s.State != state {
		r.t.Fatalf("state %s (%s), want %s\n%s", s.State, s.Reason, state,
			strings.Join(r.journal.take(), " "))
	}
}

// did checks the journal since it was last read, except renewals and some others.
func (r *testLoop) did(want string, except ...string) {
	r.t.Helper()
	if got := strings.Join(r.journal.take(append(except, "renew")...), " "); got != want {
		r.t.Errorf("did %q, want %q", got, want)
	}
}

// logged reports whether one log record has all the texts.
func (r *testLoop) logged(texts ...string) bool {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return slices.ContainsFunc(r.log.entries, func(record string) bool {
		return !slices.ContainsFunc(texts, func(t string) bool { return !strings.Contains(record, t) })
	})
}

// end shuts the loop down, which must end and leave no address (E5).
func (r *testLoop) end() {
	r.stop()
	select {
	case <-r.done:
	case <-time.After(time.Minute): // of the bubble's time
		r.t.Error("the loop does not end")
		<-r.done
	}
	if r.hasAddress() {
		r.t.Error("an address is left after the end")
	}
	if r.net.announcing() {
		r.t.Error("the address is announced after the end")
	}
}

// fakeLease is an API server with one Lease. A write to another version than the present one is a
// conflict.
type fakeLease struct {
	journal *journal
	events  chan election.Event
	writing func(a election.Action) // runs before each action

	mu     sync.Mutex
	record election.Record
	down   bool
}

func (f *fakeLease) Events() <-chan election.Event { return f.events }

func (f *fakeLease) Execute(_ context.Context, a election.Action) election.Event {
	f.journal.add(a.Kind.String())
	f.writing(a)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case a.Kind == election.Read && f.down:
		return election.ReadDone{Seq: a.Seq}
	case a.Kind == election.Read:
		return election.ReadDone{Seq: a.Seq, OK: true, Record: f.record}
	case f.down:
		return election.Written{Seq: a.Seq, Outcome: election.OutcomeFailed}
	case a.Base.Version != f.record.Version || a.Base.Exists != f.record.Exists:
		return election.Written{Seq: a.Seq, Outcome: election.OutcomeConflict}
	}
	version := f.record.Version + 1
	f.record = a.Record
	f.record.Exists, f.record.Version = true, version
	return election.Written{Seq: a.Seq, Outcome: election.OutcomeOK, Version: version}
}

func (f *fakeLease) get() election.Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.record
}

func (f *fakeLease) edit(change func(*election.Record)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.record)
	f.record.Version++
}

// setDown makes every request fail, or succeed again.
func (f *fakeLease) setDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// fakeAnnouncer is an announcer and a conflict detector with configured answers.
type fakeAnnouncer struct {
	journal   *journal
	conflicts chan arp.Conflict

	mu      sync.Mutex
	allowed func() bool
	answers map[netip.Addr]net.HardwareAddr
	err     error
	links   []link.Link
}

func newFakeAnnouncer(j *journal) *fakeAnnouncer {
	return &fakeAnnouncer{journal: j, conflicts: make(chan arp.Conflict, 16)}
}

func (a *fakeAnnouncer) Start(allowed func() bool) {
	a.journal.add("announce")
	a.mu.Lock()
	defer a.mu.Unlock()
	a.allowed = allowed
}

func (a *fakeAnnouncer) Stop() {
	a.journal.add("stop")
	a.mu.Lock()
	defer a.mu.Unlock()
	a.allowed = nil
}

func (a *fakeAnnouncer) Defend(netip.Addr) { a.journal.add("defend") }

func (a *fakeAnnouncer) Probe(context.Context, time.Duration) (map[netip.Addr]net.HardwareAddr,
	error) {
	a.journal.add("probe")
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.answers, a.err
}

func (a *fakeAnnouncer) Conflicts() <-chan arp.Conflict { return a.conflicts }

func (a *fakeAnnouncer) SetLink(l link.Link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.links = append(a.links, l)
}

// answer sets the machine that answers probes for vip4, nil for none.
func (a *fakeAnnouncer) answer(mac net.HardwareAddr, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers, a.err = map[netip.Addr]net.HardwareAddr{}, err
	if mac != nil {
		a.answers[vip4] = mac
	}
}

// announcing reports whether a frame could be sent now.
func (a *fakeAnnouncer) announcing() bool {
	a.mu.Lock()
	allowed := a.allowed
	a.mu.Unlock()
	return allowed != nil && allowed()
}

// scrape returns the page /metrics.
func scrape(t *testing.T, set *metrics.Set) string {
	t.Helper()
	w := httptest.NewRecorder()
	set.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
