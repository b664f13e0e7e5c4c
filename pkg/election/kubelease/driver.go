package kubelease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
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
)

// Config of a Driver. Every field is needed except InCluster, Failed and Addresses.
type Config struct {
	Namespace, Name string
	Servers         Servers
	Local           func() []string // addresses of the node's own API server, best first
	InCluster       string          // address of the Service kubernetes, for pods on nodes without an API server (E11)
	Clock           boottime.Clock
	Log             *slog.Logger
	OnFailure          func(op string, err error) // metric hook for failed requests
	// Addresses are the virtual IPs that the Lease is about, for the Services part to read.
	Addresses []netip.AddrPort
}

// Servers hands out API clients by address; *apiclient.Store is one.
type Servers interface {
	Server(host string) (*apiclient.Server, error)
	ReportDenied(source, host string)
	PrunePool(pool string, hosts []string)
}

// maxObjects bounds how many objects are remembered.
const maxObjects = 8

// Driver executes the machine's requests and reports what the Lease says.
type Driver struct {
	cfg    Config
	events chan election.Event

	mu      sync.Mutex
	objects []*coordinationv1.Lease  // the last ones seen, oldest first
	local   string                   // the local address that answered last
	peers   []string                 // other API servers: those listed in the EndpointSlice, then those that were
	seenAt  map[string]time.Duration // when each of them was listed last
	answers map[string]bool          // whether each of them answered when it was asked last
	beat    time.Duration            // instant of the last turn of the loop that learns them (E12)
	trouble map[string]trouble       // why the last attempt of each kind failed, by kind
	worksAt time.Duration            // when a request last succeeded

	conflictWait time.Duration
}

// trouble is why an attempt failed, and when.
type trouble struct {
	why string
	at  time.Duration
}

// staleAfter is when trouble is forgotten: all that still matters is tried again sooner.
const staleAfter = 15 * time.Second

// What a Driver does all the time; each kind has its own trouble.
const (
	aboutRequests = "requests"
	aboutWatch    = "watch"
	aboutPeers    = "peers"
)

// New checks cfg and returns a Driver that does nothing before Run or Do.
func New(cfg Config) (*Driver, error) {
	if cfg.Namespace == "" || cfg.Name == "" {
		return nil, fmt.Errorf("make lease driver: namespace %q and name %q must both be set", cfg.Namespace, cfg.Name)
	}
	if cfg.OnFailure == nil {
		cfg.OnFailure = func(string, error) {}
	}
	return &Driver{cfg: cfg, events: make(chan election.Event, 64), seenAt: map[string]time.Duration{}, answers: map[string]bool{},
		trouble: map[string]trouble{}, conflictWait: conflictWait}, nil
}

// Events delivers what the watch sees. It must be read while Run runs.
func (d *Driver) Events() <-chan election.Event { return d.events }

// Peers returns the addresses of the other API servers as learnt so far, those that were
// there last first.
func (d *Driver) Peers() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.peers...)
}

// Beat is the instant of the last turn of Run's loop, which comes round at least every
// peersEvery, whatever the API server does (E12).
func (d *Driver) Beat() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.beat
}

// Problem says what does not work at present: requests, the watch of the Lease, or learning
// the other API servers. It is empty if all of them do.
func (d *Driver) Problem() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, about := range []string{aboutRequests, aboutWatch, aboutPeers} {
		if d.troubled(about) {
			return d.trouble[about].why
		}
	}
	return ""
}

// troubled is whether the last attempt of one kind failed a short time ago. The caller
// holds the lock.
func (d *Driver) troubled(about string) bool {
	t, ok := d.trouble[about]
	return ok && d.cfg.Clock()-t.at < staleAfter
}

// failed notes a failed attempt, unless it was given up. An outage is logged once, however
// often it is tried again.
func (d *Driver) failed(about, op string, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	d.cfg.OnFailure(op, err)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.troubled(about) {
		d.cfg.Log.Warn("the API server does not do what is asked; trying again", "lease", d.cfg.Name, "about", about, "reason", err)
	}
	d.trouble[about] = trouble{err.Error(), d.cfg.Clock()}
}

// worked notes that an attempt succeeded.
func (d *Driver) worked(about string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.troubled(about) {
		d.cfg.Log.Info("the API server does what is asked again", "lease", d.cfg.Name, "about", about)
	}
	if about == aboutRequests {
		d.worksAt = d.cfg.Clock()
	}
	delete(d.trouble, about)
}

// overtaken is whether a request succeeded after one began that failed. Requests may end
// in another order than they were sent in, when some wait for a hung API server.
func (d *Driver) overtaken(began time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return began < d.worksAt
}

// Do executes one Create, Claim, Renew, Release, Want or Read and returns its answer.
// It returns by the action's deadline or when ctx ends; a failed write may still have
// been applied.
func (d *Driver) Do(ctx context.Context, a election.Action) election.Event {
	ctx, cancel := context.WithTimeout(ctx, a.Deadline-d.cfg.Clock())
	defer cancel()
	began := d.cfg.Clock()
	lease, err := d.try(ctx, a)
	switch {
	case err == nil || isConflict(err):
		d.worked(aboutRequests)
	case d.overtaken(began): // a later request succeeded meanwhile: this is no trouble any more
		d.cfg.OnFailure(a.Kind.String(), err)
	default:
		d.failed(aboutRequests, a.Kind.String(), fmt.Errorf("%s lease %s/%s: %w", a.Kind, d.cfg.Namespace, d.cfg.Name, err))
	}
	if a.Kind == election.Read {
		return d.readDone(a, lease, err)
	}
	return d.written(a, lease, err)
}

func (d *Driver) readDone(a election.Action, lease *coordinationv1.Lease, err error) election.Event {
	switch {
	case err == nil:
		return election.ReadDone{Seq: a.Seq, OK: true, Record: d.remember(lease)}
	case apierrors.IsNotFound(err):
		return election.ReadDone{Seq: a.Seq, OK: true}
	}
	return election.ReadDone{Seq: a.Seq}
}

func (d *Driver) written(a election.Action, lease *coordinationv1.Lease, err error) election.Event {
	switch {
	case err == nil:
		return election.Written{Seq: a.Seq, Outcome: election.OutcomeOK, Version: d.remember(lease).Version}
	case isConflict(err):
		return election.Written{Seq: a.Seq, Outcome: election.OutcomeConflict}
	}
	return election.Written{Seq: a.Seq, Outcome: election.OutcomeFailed}
}

// isConflict is whether the Lease is not what the write built on.
func isConflict(err error) bool {
	return errors.Is(err, errUnknownBase) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

// send makes one attempt at one API server.
func (d *Driver) send(ctx context.Context, host string, a election.Action) (*coordinationv1.Lease, error) {
	server, err := d.cfg.Servers.Server(host)
	if err != nil {
		return nil, err
	}
	lease, err := d.call(ctx, server, a)
	d.refused(server, err)
	return lease, err
}

// refused tells when an API server refused the credentials, so that others may be used.
func (d *Driver) refused(server *apiclient.Server, err error) {
	if apiclient.IsDenied(err) {
		d.cfg.Servers.ReportDenied(server.Source, server.Host)
	}
}

func (d *Driver) call(ctx context.Context, server *apiclient.Server, a election.Action) (*coordinationv1.Lease, error) {
	var request *rest.Request
	switch a.Kind {
	case election.Read: // without a resourceVersion: a quorum read
		request = server.REST().Get().Name(d.cfg.Name)
	case election.Create:
		empty := coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: d.cfg.Namespace, Name: d.cfg.Name}}
		request = server.REST().Post().Body(d.publish(encode(&empty, a, time.Now())))
	default: // PUT, not PATCH: API priority and fairness counts it as leader election (E11)
		base := d.known(a.Base.Version)
		if base == nil {
			return nil, errUnknownBase
		}
		request = server.REST().Put().Name(d.cfg.Name).Body(d.publish(encode(base, a, time.Now())))
	}
	// The client must not wait for the Retry-After of an answer itself, and not send a write
	// twice that was applied: the machine decides when to try again.
	lease := &coordinationv1.Lease{}
	err := request.Namespace(d.cfg.Namespace).Resource("leases").MaxRetries(0).Do(ctx).Into(lease)
	return lease, err
}

// errUnknownBase says that a write builds on an object that is not at hand any more. It
// counts as a conflict: the answer to both is to read again.
var errUnknownBase = errors.New("the lease has changed since")

// remember keeps an object that writes may build on, and returns what it says.
func (d *Driver) remember(l *coordinationv1.Lease) election.Record {
	r := Decode(l)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.objects = append(d.objects, l)
	d.objects = d.objects[max(0, len(d.objects)-maxObjects):]
	return r
}

// known returns the object of that version if it is still at hand.
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

// Read reads the Lease once with a quorum, for people: the record, and when its holder
// renewed it by the holder's wall clock. A Lease that does not exist is no error. Of the
// local addresses, which may be all API servers here, the first that answers is believed.
func (d *Driver) Read(ctx context.Context) (election.Record, time.Time, error) {
	lease, err := d.hedge(ctx, d.hosts(), election.Action{Kind: election.Read})
	if apierrors.IsNotFound(err) {
		return election.Record{}, time.Time{}, nil
	}
	if err != nil {
		return election.Record{}, time.Time{}, fmt.Errorf("read lease %s/%s: %w", d.cfg.Namespace, d.cfg.Name, err)
	}
	if lease.Spec.RenewTime == nil {
		return Decode(lease), time.Time{}, nil
	}
	return Decode(lease), lease.Spec.RenewTime.Time, nil
}
