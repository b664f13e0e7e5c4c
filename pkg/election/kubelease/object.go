package kubelease

import (
	"encoding/json"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/election"
)

// Annotations of the Lease.
const (
	AnnotationWrite            = "kvip.dev/write"                // number of the holder's last write
	AnnotationMAC              = "kvip.dev/mac"                  // hardware address of the holder
	AnnotationReleased         = "kvip.dev/released"             // proof of an orderly release (E3)
	AnnotationDegraded         = "kvip.dev/degraded"             // why the holder stays without a ready API server (E6)
	AnnotationRequestedBy      = "kvip.dev/requested-by"         // the follower that asks a degraded holder for a release (E6)
	AnnotationLatency          = "kvip.dev/latency-ms"           // how slow the API server of a degraded holder is (E6)
	AnnotationRequestedLatency = "kvip.dev/requested-latency-ms" // latency of its API server (E6)
	AnnotationMoves            = "kvip.dev/slow-moves"           // changes of holder for slowness, less the quiet minutes (E6)
	AnnotationTransitions      = "kvip.dev/transitions"          // the last changes of holder
	maxTransitions             = 10
)

// Transition is one change of holder, as kept in the Lease.
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

// Bounds of what is taken from a Lease: whoever may write it must not fill the memory of all
// agents. What is longer is cut, or counts as absent where a part of it would say nothing.
const (
	maxName    = 512     // of identities, reasons and hardware addresses
	maxProof   = 2 << 10 // of a release
	maxHistory = 16 << 10
)

// short returns the beginning of text.
func short(text string) string { return text[:min(len(text), maxName)] }

// within returns text if it is not longer than limit.
func within(text string, limit int) string {
	if len(text) > limit {
		return ""
	}
	return text
}

// Decode turns a Lease into a Record. What people or other programs put there is taken
// as it is, within bounds; what cannot be read counts as absent, never as proof.
func Decode(l *coordinationv1.Lease) election.Record {
	r := election.Record{
		Exists: true, Version: number(l.ResourceVersion), Seq: number(l.Annotations[AnnotationWrite]), MAC: short(l.Annotations[AnnotationMAC]),
		Degraded: short(l.Annotations[AnnotationDegraded]), RequestedBy: short(l.Annotations[AnnotationRequestedBy]),
		History: within(l.Annotations[AnnotationTransitions], maxHistory),
		Latency: milliseconds(l.Annotations[AnnotationLatency]), RequestedLatency: milliseconds(l.Annotations[AnnotationRequestedLatency]),
		Moves: int(min(number(l.Annotations[AnnotationMoves]), election.MaxMoves)),
	}
	if l.Spec.HolderIdentity != nil {
		r.Holder = short(*l.Spec.HolderIdentity)
	}
	if l.Spec.LeaseTransitions != nil {
		r.Term = int64(*l.Spec.LeaseTransitions)
	}
	if l.Spec.LeaseDurationSeconds != nil {
		seconds := time.Duration(max(0, *l.Spec.LeaseDurationSeconds)) * time.Second
		r.Duration = min(seconds, election.MaxLease)
	}
	var p proof
	if json.Unmarshal([]byte(within(l.Annotations[AnnotationReleased], maxProof)), &p) == nil {
		r.Released = election.Proof{Holder: p.Holder, Term: p.Term, Reason: p.Reason}
	}
	return r
}

// number reads text, 0 if it is none.
func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0 // ParseUint returns the largest number for one too large
	}
	return n
}

// maxLatency is the longest latency that is told apart.
const maxLatency = time.Minute

// milliseconds reads a latency, 0 if it is not known.
func milliseconds(text string) time.Duration {
	return time.Duration(min(number(text), uint64(maxLatency/time.Millisecond))) * time.Millisecond
}

// text writes a number; 0 is to be removed.
func text(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// Transitions reads the history of a Lease, newest last; it is nil if unreadable.
func Transitions(history string) []Transition {
	var list []Transition
	if json.Unmarshal([]byte(within(history, maxHistory)), &list) != nil {
		return nil
	}
	return list[max(0, len(list)-maxTransitions):]
}

// record appends to a history and keeps its newest entries.
func record(history string, t Transition) string {
	list := append(Transitions(history), t)
	list = list[max(0, len(list)-maxTransitions):]
	text, err := json.Marshal(list)
	if err != nil {
		return history
	}
	return string(text)
}

// encode makes the object for a write at now: a copy of the one that the write builds on,
// whose resourceVersion lets the API server refuse it if there is a newer one, and in
// which everything that is not kvip's survives.
func encode(base *coordinationv1.Lease, a election.Action, now time.Time) *coordinationv1.Lease {
	l, r := base.DeepCopy(), a.Record
	at := metav1.NewMicroTime(now)
	seconds, term := int32(r.Duration/time.Second), int32(r.Term)
	l.Spec.HolderIdentity = orNil(r.Holder)
	l.Spec.LeaseTransitions = &term
	if seconds > 0 {
		l.Spec.LeaseDurationSeconds = &seconds
	}
	switch a.Kind {
	case election.Create: // empty, or in place of one that was deleted by hand
		if r.Holder != "" {
			l.Spec.RenewTime = &at
		}
	case election.Claim:
		l.Spec.AcquireTime, l.Spec.RenewTime = &at, &at
	case election.Renew, election.Release:
		l.Spec.RenewTime = &at // not for Want: it is not the holder who writes
	}
	if l.Annotations == nil {
		l.Annotations = map[string]string{}
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

// annotations returns kvip's annotations for a write; an empty one is to be removed.
func annotations(a election.Action, now time.Time) map[string]string {
	r := a.Record
	set := map[string]string{
		AnnotationWrite:            strconv.FormatUint(r.Seq, 10),
		AnnotationMAC:              r.MAC,
		AnnotationDegraded:         r.Degraded,
		AnnotationRequestedBy:      r.RequestedBy,
		AnnotationLatency:          text(r.Latency.Milliseconds()),
		AnnotationRequestedLatency: text(r.RequestedLatency.Milliseconds()),
		AnnotationMoves:            text(int64(r.Moves)),
		AnnotationReleased:         "",
	}
	if r.Released.Holder != "" {
		released, _ := json.Marshal(proof(r.Released)) // three plain fields: cannot fail
		set[AnnotationReleased] = string(released)
	}
	if a.Kind == election.Claim {
		set[AnnotationTransitions] = record(a.Base.History, Transition{
			Time: now.UTC().Truncate(time.Millisecond), From: a.PreviousHolder, To: r.Holder, Term: r.Term, Reason: a.Reason,
		})
	}
	return set
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
