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

// sameEvent is for how long one Event is not posted again.
const sameEvent = 10 * time.Minute

// maxEvents bounds how many Events are remembered.
const maxEvents = 10_000

// events posts Events, each once.
type events struct {
	cfg    Config
	rights *rights

	mu     sync.Mutex
	posted map[string]time.Duration
}

func newEvents(cfg Config, r *rights) *events {
	return &events{cfg: cfg, rights: r, posted: map[string]time.Duration{}}
}

// post tells the cluster something about a Service, once in a while.
func (e *events) post(ctx context.Context, s *svc.Service, kind, reason, message string) {
	e.about(ctx, reference(s), kind, reason, message)
}

// change tells the cluster that something about a Service has changed, also if it was so a short time ago: the last
// Event says what is so now.
func (e *events) change(ctx context.Context, s *svc.Service, kind, reason, message string) {
	e.send(ctx, reference(s), kind, reason, message)
}

func reference(s *svc.Service) corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: "v1", Kind: "Service", Namespace: s.Namespace, Name: s.Name, UID: s.UID, ResourceVersion: s.ResourceVersion,
	}
}

// about tells the cluster something about any object, once in a while.
func (e *events) about(ctx context.Context, object corev1.ObjectReference, kind, reason, message string) {
	if e.fresh(strings.Join([]string{object.Kind, object.Namespace, object.Name, reason, message}, " ")) {
		e.send(ctx, object, kind, reason, message)
	}
}

// send posts an Event, best effort. Events about objects without a namespace are in the namespace default.
func (e *events) send(ctx context.Context, object corev1.ObjectReference, kind, reason, message string) {
	namespace := object.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	wall := time.Now()
	now := metav1.NewTime(wall)
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s.%x", object.Name, wall.UnixNano())},
		InvolvedObject: object, Reason: reason, Message: svc.Brief(message), Type: kind,
		Source:         corev1.EventSource{Component: "kvip", Host: e.cfg.Node},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
	failed := e.cfg.failed()
	err := failed.do(ctx, e.cfg.Router, "create", "events", func(ctx context.Context, s *apiclient.Server) error {
		_, err := s.Core.Events(namespace).Create(ctx, event, metav1.CreateOptions{})
		if failed.of("create", "events", err); apierrors.IsForbidden(err) { // no reason to change credentials
			e.rights.missing("create events", "what happens is told in the log alone", err)
			return nil
		}
		return err
	})
	if err != nil {
		e.cfg.Log.Debug("cannot post an Event", "service", object.Name, "reason", err)
	}
}

// fresh is whether this Event was not posted a short time ago.
func (e *events) fresh(key string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.cfg.Clock()
	if at, ok := e.posted[key]; ok && now-at < sameEvent {
		return false
	}
	if len(e.posted) >= maxEvents {
		clear(e.posted)
	}
	e.posted[key] = now
	return true
}
