package kubelease

import (
	"encoding/json"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/election"
)

// Annotations of the Lease.
const (
	// AnnotationWrite is the number of the holder's last write.
	AnnotationWrite = "kvip.dev/write"
	// AnnotationMAC has the hardware addresses of the holder's link and, for a bond, its ports,
	// joined by commas.
	AnnotationMAC = "kvip.dev/mac"
	// AnnotationReleased proves an orderly release (E3).
	AnnotationReleased = "kvip.dev/released"
	// AnnotationDegraded is why the holder stays with an API server that is not ready or slow (E6).
	AnnotationDegraded = "kvip.dev/degraded"
	// AnnotationRequestedBy is the node that requests a release from a degraded holder (E6).
	AnnotationRequestedBy = "kvip.dev/requested-by"
	// AnnotationLatency is the latency of a degraded holder's API server (E6).
	AnnotationLatency = "kvip.dev/latency-ms"
	// AnnotationRequestedLatency is the latency of the requesting node's API server (E6).
	AnnotationRequestedLatency = "kvip.dev/requested-latency-ms"
	// AnnotationMoves counts changes of holder because of slowness, less the quiet minutes (E6).
	AnnotationMoves = "kvip.dev/slow-moves"
	// AnnotationMoveTo is the agent that a person wants as the holder (F11).
	AnnotationMoveTo = "kvip.dev/move-to"
	// AnnotationTransitions has the last changes of holder.
	AnnotationTransitions = "kvip.dev/transitions"
)

// Bounds of what is read from a Lease: a writer of it must not fill the memory of all agents.
const (
	maxName        = 512      // bytes of identities, reasons and hardware addresses, then cut
	maxProof       = 2 << 10  // bytes of a release; a longer one counts as absent
	maxHistory     = 16 << 10 // bytes of transitions; a longer one counts as absent
	maxTransitions = 10
	maxLatency     = time.Minute
)

// Transition is one change of holder, as recorded in the Lease.
type Transition struct {
	Time   time.Time       `json:"time"`
	From   string          `json:"from,omitempty"`
	To     string          `json:"to"`
	Term   int64           `json:"term"`
	Reason election.Reason `json:"reason"`
}

// proof is the JSON form of election.Proof.
type proof struct {
	Holder string          `json:"holder"`
	Term   int64           `json:"term"`
	Reason election.Reason `json:"reason"`
}

// Decode converts a Lease into a Record, within bounds. Unreadable parts count as absent, never as
// a proof.
func Decode(l *coordinationv1.Lease) election.Record {
	a := l.Annotations
	r := election.Record{
		Exists: true, Version: number(l.ResourceVersion), Seq: number(a[AnnotationWrite]),
		Mark: decodeMark(a[AnnotationMode]), MAC: truncate(a[AnnotationMAC]),
		Degraded:         truncate(a[AnnotationDegraded]),
		RequestedBy:      truncate(a[AnnotationRequestedBy]),
		MoveTo:           truncate(a[AnnotationMoveTo]),
		History:          textUpTo(a[AnnotationTransitions], maxHistory),
		Latency:          milliseconds(a[AnnotationLatency]),
		RequestedLatency: milliseconds(a[AnnotationRequestedLatency]),
		SlowMoves:        int(min(number(a[AnnotationMoves]), election.MaxSlowMoves)),
	}
	if l.Spec.HolderIdentity != nil {
		r.Holder = truncate(*l.Spec.HolderIdentity)
	}
	if l.Spec.LeaseTransitions != nil {
		r.Term = int64(*l.Spec.LeaseTransitions)
	}
	if l.Spec.LeaseDurationSeconds != nil {
		seconds := time.Duration(max(0, *l.Spec.LeaseDurationSeconds)) * time.Second
		r.Duration = min(seconds, election.MaxLease)
	}
	var p proof
	if json.Unmarshal([]byte(textUpTo(a[AnnotationReleased], maxProof)), &p) == nil {
		r.Released = election.Proof{Holder: p.Holder, Term: p.Term, Reason: p.Reason}
	}
	return r
}

// truncate returns the first maxName bytes of text.
func truncate(text string) string { return text[:min(len(text), maxName)] }

// textUpTo returns text if it has at most limit bytes, and "" otherwise.
func textUpTo(text string, limit int) string {
	if len(text) > limit {
		return ""
	}
	return text
}

// number parses text. It returns 0 for text that is not a number or too large.
func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0 // ParseUint returns the maximum for a number that is too large
	}
	return n
}

// milliseconds parses a latency of at most maxLatency. 0 means unknown.
func milliseconds(text string) time.Duration {
	return time.Duration(min(number(text), uint64(maxLatency/time.Millisecond))) * time.Millisecond
}

// Transitions parses the history of a Lease, newest last. It returns nil for unreadable text.
func Transitions(history string) []Transition {
	var list []Transition
	if json.Unmarshal([]byte(textUpTo(history, maxHistory)), &list) != nil {
		return nil
	}
	return list[max(0, len(list)-maxTransitions):]
}

// appendTransition appends to a history and drops its oldest entries.
func appendTransition(history string, t Transition) string {
	list := append(Transitions(history), t)
	list = list[max(0, len(list)-maxTransitions):]
	text, err := json.Marshal(list)
	if err != nil {
		return history
	}
	return string(text)
}

// encode returns the object for a write at now: a copy of base that keeps the fields of other
// programs. Its resourceVersion makes the API server reject the write if there is a newer version.
func encode(base *coordinationv1.Lease, a election.Action, now time.Time) *coordinationv1.Lease {
	l, r := apiclient.CopyLease(base), a.Record
	at := metav1.NewMicroTime(now)
	seconds, term := int32(r.Duration/time.Second), int32(r.Term)
	l.Spec.HolderIdentity, l.Spec.LeaseTransitions = nil, &term
	if r.Holder != "" {
		l.Spec.HolderIdentity = &r.Holder
	}
	if seconds > 0 {
		l.Spec.LeaseDurationSeconds = &seconds
	}
	switch a.Kind {
	case election.Create: // empty, or in place of a deleted Lease
		if r.Holder != "" {
			l.Spec.RenewTime = &at
		}
	case election.Claim:
		l.Spec.AcquireTime, l.Spec.RenewTime = &at, &at
	case election.Renew, election.Release:
		l.Spec.RenewTime = &at // not for RequestTransfer, which is not written by the holder
	}
	for key, value := range annotations(a, now) {
		if value == "" {
			delete(l.Annotations, key)
			continue
		}
		l.Annotations[key] = value
	}
	return l
}

// annotations returns kvip's annotations for a write. Empty ones are removed.
func annotations(a election.Action, now time.Time) map[string]string {
	r := a.Record
	set := map[string]string{
		AnnotationWrite:            strconv.FormatUint(r.Seq, 10),
		AnnotationMode:             encodeMark(r.Mark),
		AnnotationMAC:              r.MAC,
		AnnotationDegraded:         r.Degraded,
		AnnotationRequestedBy:      r.RequestedBy,
		AnnotationMoveTo:           r.MoveTo,
		AnnotationLatency:          formatNonZero(r.Latency.Milliseconds()),
		AnnotationRequestedLatency: formatNonZero(r.RequestedLatency.Milliseconds()),
		AnnotationMoves:            formatNonZero(int64(r.SlowMoves)),
		AnnotationReleased:         "",
	}
	if r.Released.Holder != "" {
		released, _ := json.Marshal(proof(r.Released)) // three plain fields: cannot fail
		set[AnnotationReleased] = string(released)
	}
	if a.Kind == election.Claim {
		set[AnnotationTransitions] = appendTransition(a.Base.History, Transition{
			Time: now.UTC().Truncate(time.Millisecond), From: a.LastHolder, To: r.Holder,
			Term: r.Term, Reason: a.Reason,
		})
	}
	return set
}

// formatNonZero formats a number; 0 is "".
func formatNonZero(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}
