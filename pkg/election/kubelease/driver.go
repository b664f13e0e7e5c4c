package kubelease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/reporter"
	"github.com/kvip/kvip/pkg/required"
)

// Config of a Driver. Namespace, Name and Router are required.
type Config struct {
	Namespace, Name string
	// Router finds API servers. It is made with LocalFirst (E11).
	Router *apiclient.Router
	// Clock is the clock of the machine's deadlines. Nil means boottime.Now.
	Clock boottime.Clock
	// Health receives the states of requests, of the watch and of reading the peers, and
	// heartbeats. Nil discards them.
	Health *reporter.Registry
	// Log receives failures, once per outage. Nil discards them.
	Log *slog.Logger
	// OnFailure is called for each failed request, for metrics. It may be nil.
	OnFailure func(op string, err error)
	// Addresses are the VIPs of the Lease, for the Services part to read.
	Addresses []netip.AddrPort
}

const (
	// hedgeDelay is how long one API server may be silent until the next one is asked as well.
	hedgeDelay = 100 * time.Millisecond
	// claimDelay is how long a claim in mode fast may be unanswered until it is sent again. A follower
	// of etcd forwards a write to a leader that died, until it notices that, and the write is lost.
	claimDelay = 50 * time.Millisecond
	// claimAttempts limits how often.
	claimAttempts = int(election.FastClaimTimeout / claimDelay)
	// conflictGrace is how long after a conflict the other copies of a write may still succeed.
	conflictGrace = 50 * time.Millisecond
	// maxObjects bounds how many versions of the Lease are kept.
	maxObjects = 8
	// staleAfter is when a failure is forgotten: all that still matters is retried sooner.
	staleAfter = 15 * time.Second
	// heartbeatTimeout is for the loop that follows the peers, which waits for answers and pauses
	// for up to 20 s (E12).
	heartbeatTimeout = 90 * time.Second
)

// Driver executes the machine's requests and reports changes of the Lease.
type Driver struct {
	cfg    Config
	events chan election.Event
	health *reporter.Reporter          // heartbeats
	states map[kind]*reporter.Reporter // of each kind of requests

	mu          sync.Mutex
	objects     []*coordinationv1.Lease // the versions seen last, oldest first
	succeededAt time.Duration           // when a request last succeeded

	conflictGrace time.Duration
}

// kind is a kind of requests with a state of its own.
type kind string

const (
	leaseRequests kind = "requests"
	leaseWatch    kind = "watch"
	peerReads     kind = "peers"
)

// New returns a Driver. Execute works at once, the watch once Run runs.
func New(cfg Config) (*Driver, error) {
	if err := required.Fields("lease driver", map[string]bool{
		"Namespace": cfg.Namespace == "", "Name": cfg.Name == "", "Router": cfg.Router == nil,
	}); err != nil {
		return nil, err
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.OnFailure == nil {
		cfg.OnFailure = func(string, error) {}
	}
	if cfg.Health == nil {
		cfg.Health = reporter.NewRegistry(cfg.Clock)
	}
	d := &Driver{
		cfg: cfg, events: make(chan election.Event, 64), conflictGrace: conflictGrace,
		health: cfg.Health.Component("lease driver"), states: map[kind]*reporter.Reporter{},
	}
	d.health.SetTimeout(heartbeatTimeout)
	for _, k := range []kind{leaseRequests, leaseWatch, peerReads} {
		d.states[k] = cfg.Health.Component("lease " + string(k))
	}
	return d, nil
}

// Events returns what the watch sees. It must be read while Run runs.
func (d *Driver) Events() <-chan election.Event { return d.events }

// Run watches the Lease and follows the other API servers until ctx ends.
func (d *Driver) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.cfg.Router.FollowPeers(ctx, d.health, d.peersRead)
	}()
	w := watcher{
		namespace: d.cfg.Namespace, name: d.cfg.Name, router: d.cfg.Router, log: d.cfg.Log,
		succeeded: func() { d.succeeded(leaseWatch) },
		failed:    func(op string, err error) { d.failed(leaseWatch, op, err) },
		deliver:   d.deliver,
	}
	w.run(ctx)
	<-done
	return nil
}

// peersRead records the outcome of reading the peers.
func (d *Driver) peersRead(err error) {
	if err != nil {
		d.failed(peerReads, "get-endpointslice", err)
		return
	}
	d.succeeded(peerReads)
}

// deliver passes a state of the Lease to the machine.
func (d *Driver) deliver(ctx context.Context, lease *coordinationv1.Lease, version string) {
	r := election.Record{Version: number(version)}
	if lease != nil {
		r = d.remember(lease)
	}
	select {
	case d.events <- election.Observed{Record: r}:
	case <-ctx.Done():
	}
}

// Peers returns the other API servers, those that responded last first.
func (d *Driver) Peers() []string { return d.cfg.Router.Peers() }

// failing reports whether the last request of a kind failed recently.
func (d *Driver) failing(k kind) bool {
	state, _ := d.states[k].Status()
	return state != reporter.OK
}

// failed records a failed request, unless the caller cancelled it. An outage is logged once.
func (d *Driver) failed(k kind, op string, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	d.cfg.OnFailure(op, err)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.failing(k) {
		d.cfg.Log.Warn("API requests fail; trying again",
			"lease", d.cfg.Name, "requests", string(k), "err", err)
	}
	d.states[k].StoppedFor(staleAfter, err.Error())
}

// succeeded records a successful request.
func (d *Driver) succeeded(k kind) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failing(k) {
		d.cfg.Log.Info("API requests succeed again", "lease", d.cfg.Name, "requests", string(k))
	}
	if k == leaseRequests {
		d.succeededAt = d.cfg.Clock()
	}
	d.states[k].OK()
}

// overtaken reports whether a request succeeded after the instant at which a failed one began.
// Requests may end in another order than they were sent in, if some wait for a hung API server.
func (d *Driver) overtaken(began time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return began < d.succeededAt
}

// Execute executes one Create, Claim, Renew, Release, RequestTransfer or Read and returns the
// answer. It returns by the action's deadline or when ctx ends. A failed write may have been
// applied.
func (d *Driver) Execute(ctx context.Context, a election.Action) election.Event {
	ctx, cancel := context.WithTimeout(ctx, a.Deadline-d.cfg.Clock())
	defer cancel()
	began := d.cfg.Clock()
	lease, err := d.route(ctx, a)
	switch {
	case errors.Is(err, errUnknownBase): // no request was sent
	case err == nil || isConflict(err):
		d.succeeded(leaseRequests)
	case d.overtaken(began): // a later request succeeded: there is no outage any more
		d.cfg.OnFailure(a.Kind.String(), err)
	default:
		err := fmt.Errorf("%s lease %s/%s: %w", a.Kind, d.cfg.Namespace, d.cfg.Name, err)
		d.failed(leaseRequests, a.Kind.String(), err)
	}
	if a.Kind == election.Read {
		return d.readDone(a, lease, err)
	}
	return d.written(a, lease, err)
}

func (d *Driver) readDone(
	a election.Action, lease *coordinationv1.Lease, err error,
) election.Event {
	switch {
	case err == nil:
		return election.ReadDone{Seq: a.Seq, OK: true, Record: d.remember(lease)}
	case apierrors.IsNotFound(err):
		return election.ReadDone{Seq: a.Seq, OK: true}
	}
	return election.ReadDone{Seq: a.Seq}
}

func (d *Driver) written(a election.Action, lease *coordinationv1.Lease, err error) election.Event {
	w := election.Written{Seq: a.Seq, Outcome: election.OutcomeFailed}
	switch {
	case err == nil:
		w.Outcome, w.Version = election.OutcomeOK, d.remember(lease).Version
	case isConflict(err):
		w.Outcome = election.OutcomeConflict
	}
	return w
}

// isConflict reports whether the Lease is not the version that the write is based on.
func isConflict(err error) bool {
	return errors.Is(err, errUnknownBase) || apierrors.IsConflict(err) ||
		apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

// route sends an action to the node's own API server, or hedges it over the peers where the machine
// requests that (E11), and repeats a claim in mode fast until one copy is answered. Each write
// names the version that it is based on, so at most one copy is applied. After a conflict an
// outstanding copy may be the one that was applied.
func (d *Driver) route(ctx context.Context, a election.Action) (*coordinationv1.Lease, error) {
	cfg := d.hedging(a.PreferPeers)
	switch {
	case a.Kind == election.Claim && a.Record.Mark.Fast:
		cfg.Delay, cfg.Attempts, cfg.Stay = claimDelay, claimAttempts, !a.PreferPeers
		return d.hedge(ctx, cfg, a)
	case a.PreferPeers && len(d.cfg.Router.Peers()) > 0:
		return d.hedge(ctx, cfg, a)
	}
	var lease *coordinationv1.Lease
	err := d.cfg.Router.Do(ctx, func(ctx context.Context, s *apiclient.Server) (err error) {
		lease, err = d.send(ctx, s, a)
		return err
	})
	return lease, err
}

// hedging returns how a request is sent to one server after the other.
func (d *Driver) hedging(peersFirst bool) apiclient.HedgeConfig {
	return apiclient.HedgeConfig{
		Delay: hedgeDelay, PeersFirst: peersFirst, Final: isConflict, Grace: d.conflictGrace,
	}
}

func (d *Driver) hedge(
	ctx context.Context, cfg apiclient.HedgeConfig, a election.Action,
) (*coordinationv1.Lease, error) {
	return apiclient.Hedge(ctx, d.cfg.Router, cfg,
		func(ctx context.Context, s *apiclient.Server) (*coordinationv1.Lease, error) {
			return d.send(ctx, s, a)
		})
}

// send sends an action to one API server, once: the client must not wait for a Retry-After or
// repeat a write that was applied. The machine decides when to try again.
func (d *Driver) send(
	ctx context.Context, server *apiclient.Server, a election.Action,
) (*coordinationv1.Lease, error) {
	var request *rest.Request
	switch a.Kind {
	case election.Read: // without a resourceVersion: a quorum read
		request = server.REST().Get().Name(d.cfg.Name)
	case election.Create:
		empty := coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: d.cfg.Namespace, Name: d.cfg.Name},
		}
		request = server.REST().Post().Body(d.encode(&empty, a))
	default: // PUT, not PATCH: API priority and fairness counts it as leader election (E11)
		base := d.known(a.Base.Version)
		if base == nil {
			return nil, errUnknownBase
		}
		request = server.REST().Put().Name(d.cfg.Name).Body(d.encode(base, a))
	}
	lease := &coordinationv1.Lease{}
	request = request.Namespace(d.cfg.Namespace).Resource("leases").MaxRetries(0)
	return lease, request.Do(ctx).Into(lease)
}

// encode returns the object of a write.
func (d *Driver) encode(base *coordinationv1.Lease, a election.Action) *coordinationv1.Lease {
	l := encode(base, a, time.Now())
	setAddresses(l, d.cfg.Addresses)
	return l
}

// errUnknownBase means that a write is based on a version that is not kept any more. It counts as a
// conflict: the answer to both is to read again.
var errUnknownBase = errors.New("the lease has changed since")

// remember keeps an object for writes that are based on it, and returns its record.
func (d *Driver) remember(l *coordinationv1.Lease) election.Record {
	r := Decode(l)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.objects = slices.DeleteFunc(d.objects, func(kept *coordinationv1.Lease) bool {
		return kept.ResourceVersion == l.ResourceVersion
	})
	d.objects = append(d.objects, l)
	d.objects = d.objects[max(0, len(d.objects)-maxObjects):]
	return r
}

// known returns the object of a version, nil if it is not kept any more.
func (d *Driver) known(version uint64) *coordinationv1.Lease {
	text := strconv.FormatUint(version, 10)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.objects {
		if l.ResourceVersion == text {
			return l
		}
	}
	return nil
}

// Read reads the Lease once with a quorum. It returns the record and when the holder renewed it, by
// the holder's wall clock. A missing Lease is not an error. The first server of the Router that
// answers counts.
func (d *Driver) Read(ctx context.Context) (election.Record, time.Time, error) {
	lease, err := d.hedge(ctx, d.hedging(false), election.Action{Kind: election.Read})
	if apierrors.IsNotFound(err) {
		return election.Record{}, time.Time{}, nil
	}
	if err != nil {
		return election.Record{}, time.Time{},
			fmt.Errorf("read lease %s/%s: %w", d.cfg.Namespace, d.cfg.Name, err)
	}
	if lease.Spec.RenewTime == nil {
		return Decode(lease), time.Time{}, nil
	}
	return Decode(lease), lease.Spec.RenewTime.Time, nil
}
