package bgpstate

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/printable"
	"github.com/kvip/kvip/pkg/required"
)

// EventCreator creates Events.
type EventCreator interface {
	CreateEvent(ctx context.Context, ev *corev1.Event) error
}

// EventConfig configures an EventRecorder.
type EventConfig struct {
	// Node is the name of the Node. Required.
	Node string
	// Creator creates the Events. Required.
	Creator EventCreator
	// OnFailure receives each failed request. Nil discards.
	OnFailure func(err error)
	// Clock is the clock; nil means boottime.Now.
	Clock boottime.Clock
	// Log is the logger; nil discards.
	Log *slog.Logger
}

// EventRecorder creates Events on a Node when BGP sessions begin and end: at most one for a peer in
// eventInterval, which has the last change and how often the session ended. Make it with
// NewEventRecorder.
type EventRecorder struct {
	cfg     EventConfig
	wake    backoff.Signal
	failing bool
	created int64 // makes names unique

	mu    sync.Mutex
	peers map[string]*eventQueue // at most bgp.MaxPeers
}

// eventQueue is what waits for the next Event about a peer.
type eventQueue struct {
	latest  *bgp.Status   // nil: nothing waits
	ends    int           // of the session, since the last Event
	reason  string        // of the last of them
	readyAt time.Duration // the earliest instant of the next Event
}

const (
	eventInterval = 10 * time.Second
	eventTimeout  = 2 * time.Second
	// maxNodeName is how much of a Node's name is in the name of an Event, which has 253 bytes at
	// most.
	maxNodeName = 200
)

// The reasons of Events.
const (
	EventUp   = "BGPSessionUp"
	EventDown = "BGPSessionDown"
)

// NewEventRecorder returns an EventRecorder. It starts nothing.
func NewEventRecorder(cfg EventConfig) (*EventRecorder, error) {
	if err := required.Fields("recorder of Events", map[string]bool{
		"Node": cfg.Node == "", "Creator": cfg.Creator == nil,
	}); err != nil {
		return nil, err
	}
	if cfg.OnFailure == nil {
		cfg.OnFailure = func(error) {}
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &EventRecorder{cfg: cfg, wake: backoff.NewSignal(), peers: map[string]*eventQueue{}}, nil
}

// Changed receives the begin or the end of a session. It does not block, and is safe for concurrent
// use. The end of a session because kvip stops has no Event.
func (r *EventRecorder) Changed(s bgp.Status) {
	if s.Code == bgp.ReasonStopped {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.peers[s.Name]
	if q == nil {
		if r.forget(); len(r.peers) >= bgp.MaxPeers {
			return
		}
		q = &eventQueue{}
		r.peers[s.Name] = q
	}
	if q.latest = &s; !s.Established() {
		q.ends++
		q.reason = fmt.Sprintf("%s: %s", s.Code, s.Reason)
	}
	r.wake.Notify()
}

// forget removes the peers about which an Event may come at once, and none waits.
func (r *EventRecorder) forget() {
	now := r.cfg.Clock()
	for name, q := range r.peers {
		if q.latest == nil && now >= q.readyAt {
			delete(r.peers, name)
		}
	}
}

// Run creates Events until ctx ends.
func (r *EventRecorder) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		due, next := r.take()
		for _, ev := range due {
			r.create(ctx, ev)
		}
		if len(due) == 0 {
			r.wake.Wait(ctx, next)
		}
	}
	return nil
}

// take returns the Events that are due, and the time until the next one is.
func (r *EventRecorder) take() (due []*corev1.Event, next time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, next := r.cfg.Clock(), time.Minute
	for _, q := range r.peers {
		switch {
		case q.latest == nil:
		case now < q.readyAt:
			next = min(next, q.readyAt-now)
		default:
			due = append(due, r.event(q))
			*q = eventQueue{readyAt: now + eventInterval}
		}
	}
	return due, next
}

// create creates an Event. There is no second attempt: the log has the change as well.
func (r *EventRecorder) create(ctx context.Context, ev *corev1.Event) {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	err := r.cfg.Creator.CreateEvent(ctx, ev)
	if err == nil {
		r.failing = false
		return
	}
	r.cfg.OnFailure(err)
	if !r.failing {
		r.cfg.Log.Warn("cannot create an Event on the Node", "node", r.cfg.Node, "err", err)
	}
	r.failing = true
}

// event returns the Event about what waits. Events on Nodes are in the namespace default, and
// `kubectl describe node` finds them by the name as the UID, as those of the kubelet.
func (r *EventRecorder) event(q *eventQueue) *corev1.Event {
	s := q.latest
	peer := s.Name
	if s.Address.IsValid() && s.Address.String() != peer {
		peer += " (" + s.Address.String() + ")"
	}
	reason, kind := EventDown, corev1.EventTypeWarning
	message := fmt.Sprintf("BGP session with %s is down: %s", peer, q.reason)
	switch {
	case s.Established():
		reason, kind = EventUp, corev1.EventTypeNormal
		message = fmt.Sprintf("BGP session with %s is up", peer)
		if q.ends > 0 {
			message += fmt.Sprintf("; it ended before, %s, the last time because of %s", times(q.ends),
				q.reason)
		}
	case q.ends > 1:
		message += fmt.Sprintf("; it ended %s in a short time", times(q.ends))
	}
	wall := time.Now()
	r.created++
	at := metav1.NewTime(wall)
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault,
			Name: fmt.Sprintf("%s.%x", strings.TrimRight(fmt.Sprintf("%.*s", maxNodeName, r.cfg.Node), ".-"),
				wall.UnixNano()+r.created),
		},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Node", Name: r.cfg.Node, UID: types.UID(r.cfg.Node),
		},
		Reason: reason, Message: printable.Message(message), Type: kind,
		Source:         corev1.EventSource{Component: "kvip", Host: r.cfg.Node},
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}
}

// times returns "once" or "2 times".
func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
