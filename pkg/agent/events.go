package agent

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/printable"
)

// eventTimeout bounds the attempt to post an Event; it is told once, best effort.
const eventTimeout = 2 * time.Second

// reportTransition posts one Event about a change of holder, on the Lease, by the node
// that took over.
func (l *loop) reportTransition(a election.Action) {
	l.requests.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), eventTimeout)
		defer cancel()
		if err := l.post(ctx, transitionEvent(l.cfg.Namespace, l.cfg.LeaseName, vips(l.cfg.VIPs), a, time.Now())); err != nil {
			l.metrics.APIError(requestOf("create-event"), errorCode(err))
			l.log.Warn("cannot post an Event", "lease", l.cfg.LeaseName, "reason", err)
		}
	})
}

// transitionEvent describes a move for `kubectl get events`.
func transitionEvent(namespace, lease, vip string, a election.Action, now time.Time) *corev1.Event {
	from := election.NodeName(a.PreviousHolder)
	if from == "" {
		from = "nobody"
	}
	to, known := election.NodeName(a.Record.Holder), a.Reason
	if known.Sentence() == "" { // a word of somebody else
		known = election.ReasonReleased
	}
	at := metav1.NewTime(now)
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s.%x", lease, now.UnixNano())},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "coordination.k8s.io/v1", Kind: "Lease", Namespace: namespace, Name: lease,
		},
		Reason:         string(known),
		Message:        printable.Message(fmt.Sprintf("%s moved from %s to %s: %s", vip, from, to, whose(from, a.Reason))),
		Type:           corev1.EventTypeNormal,
		Source:         corev1.EventSource{Component: "kvip", Host: to},
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}
}

// whose explains a move. All reasons but silence are the last holder's own words.
func whose(from string, why election.Reason) string {
	switch {
	case why == election.ReasonExpired:
		return why.Sentence()
	case why.Sentence() == "":
		return fmt.Sprintf("%s says %q", from, string(why))
	}
	return from + " says that " + why.Sentence()
}
