package allocator

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/svc"
)

const (
	// eventInterval is the least time between two equal Events.
	eventInterval = 10 * time.Minute
	// maxEvents limits how many Events are remembered.
	maxEvents = 10_000
)

// events posts Events. It is safe for concurrent use.
type events struct {
	cfg     Config
	allowed *permissions

	mu     sync.Mutex
	posted map[string]time.Duration
}

func newEvents(cfg Config, allowed *permissions) *events {
	return &events{cfg: cfg, allowed: allowed, posted: map[string]time.Duration{}}
}

// post posts an Event about a Service, at most once in eventInterval.
func (e *events) post(ctx context.Context, s *svc.Service, kind, reason, message string) {
	e.postAbout(ctx, reference(s), kind, reason, message)
}

// postAbout posts an Event about any object, at most once in eventInterval.
func (e *events) postAbout(
	ctx context.Context, object corev1.ObjectReference, kind, reason, message string,
) {
	key := strings.Join([]string{object.Kind, object.Namespace, object.Name, reason, message}, " ")
	if e.isDue(key) {
		e.send(ctx, object, kind, reason, message)
	}
}

// postChange posts an Event about a change of a Service, even if the same was posted recently: the
// last Event has the present state.
func (e *events) postChange(ctx context.Context, s *svc.Service, kind, reason, message string) {
	e.send(ctx, reference(s), kind, reason, message)
}

func reference(s *svc.Service) corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: "v1", Kind: "Service",
		Namespace: s.Namespace, Name: s.Name, UID: s.UID, ResourceVersion: s.ResourceVersion,
	}
}

// send posts an Event, with best effort. Events about objects without a namespace are in the
// namespace default.
func (e *events) send(
	ctx context.Context, object corev1.ObjectReference, kind, reason, message string,
) {
	namespace := object.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	wall := time.Now()
	now := metav1.NewTime(wall)
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("%s.%x", object.Name, wall.UnixNano()),
		},
		InvolvedObject: object, Reason: reason, Message: svc.Brief(message), Type: kind,
		Source:         corev1.EventSource{Component: "kvip", Host: e.cfg.Node},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
	failures := e.cfg.failures()
	err := failures.send(ctx, e.cfg.Router, "create", "events",
		func(ctx context.Context, s *apiclient.Server) error {
			_, err := s.Core.Events(namespace).Create(ctx, event, metav1.CreateOptions{})
			if failures.count("create", "events", err); apierrors.IsForbidden(err) { // keep the credentials
				e.allowed.missing("create events", "changes are logged only", err)
				return nil
			}
			return err
		})
	if err != nil {
		e.cfg.Log.Debug("cannot post an Event", "service", object.Name, "err", err)
	}
}

// isDue reports whether an Event was not posted within eventInterval, and records it.
func (e *events) isDue(key string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.cfg.Clock()
	if at, ok := e.posted[key]; ok && now-at < eventInterval {
		return false
	}
	if len(e.posted) >= maxEvents {
		clear(e.posted)
	}
	e.posted[key] = now
	return true
}
