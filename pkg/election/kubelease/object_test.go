package kubelease

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/election"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 123456789, time.UTC)

func ptr[T any](v T) *T { return &v }

// lease returns a Lease with fields of other programs.
func lease() *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Name: "kvip", ResourceVersion: "41", Labels: map[string]string{"app": "kvip"},
		Annotations: map[string]string{
			"example.com/note": "mine", AnnotationReleased: `{"holder":"z","term":6}`,
		},
	}, Spec: coordinationv1.LeaseSpec{Strategy: ptr(coordinationv1.OldestEmulationVersion)}}
}

// TestDecodeIsBounded: a long holder is cut and remains a holder. A proof that is too long is not a
// proof.
func TestDecodeIsBounded(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	l := lease()
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds = &long, ptr[int32](math.MaxInt32)
	l.Annotations = map[string]string{
		AnnotationMAC: long, AnnotationDegraded: long, AnnotationRequestedBy: long,
		AnnotationTransitions: "[" + long + "]",
		AnnotationReleased:    `{"holder":"` + long + `","term":6}`, AnnotationWrite: long,
		AnnotationMode: long,
	}
	want := election.Record{
		Exists: true, Version: 41, Holder: long[:maxName], MAC: long[:maxName],
		Degraded: long[:maxName], RequestedBy: long[:maxName],
		Duration: election.MaxLease,
	}
	if got := Decode(l); got != want {
		t.Errorf("read %.2000v", got)
	}
	l.Spec.LeaseDurationSeconds = ptr[int32](-5)
	if got := Decode(l); got.Duration != 0 {
		t.Errorf("a negative duration is %v", got.Duration)
	}
	if list := Transitions("[" + strings.Repeat("{},", 1000) + "{}]"); len(list) != maxTransitions {
		t.Errorf("%d transitions are kept", len(list))
	}
}

// TestEncodeDecode: each kind of write is read back, and keeps the fields of other programs.
func TestEncodeDecode(t *testing.T) {
	for _, want := range []election.Record{
		{Holder: "a", Term: 1, Duration: 5 * time.Second, Seq: 7, Mark: election.Mark{
			Fast: true, Voters: "a,b,c", Holder: "a", Term: 1, Duration: 5 * time.Second, Seq: 7,
		}},
		{Holder: "a", Term: math.MaxInt32, Duration: election.MaxLease, Seq: math.MaxUint64,
			MAC: "02:00:00:00:00:01", Degraded: "APIServerNotReady"},
		{Holder: "node \"1\"\n", Term: 2, Duration: 2 * time.Second, Seq: 1, RequestedBy: "b"},
		{Holder: "a", Term: 3, Duration: 5 * time.Second, Seq: 8,
			Degraded: "APIServerSlow", Latency: 1250 * time.Millisecond,
			RequestedBy: "b", RequestedLatency: time.Millisecond, SlowMoves: election.MaxSlowMoves},
		{Term: 2, Duration: 2 * time.Second, Seq: 1,
			Released: election.Proof{Holder: "node \"1\"", Term: 2, Reason: election.ReasonShutdown}},
	} {
		for _, kind := range []election.Kind{
			election.Claim, election.Renew, election.Release, election.RequestTransfer,
		} {
			base := lease()
			l := encode(base, election.Action{Kind: kind, Record: want}, noon)
			got := Decode(l)
			if kind == election.Claim {
				if n := len(Transitions(got.History)); n != 1 {
					t.Errorf("a claim left %d transitions", n)
				}
				got.History = ""
			}
			want.Exists, want.Version = true, 41
			if got != want {
				t.Errorf("%s: wrote %+v, read %+v", kind, want, got)
			}
			if l.Annotations["example.com/note"] != "mine" || l.Labels["app"] != "kvip" ||
				l.Spec.Strategy == nil {
				t.Errorf("%s: fields of other programs are missing: %+v", kind, l)
			}
			if base.Spec.HolderIdentity != nil || base.Annotations[AnnotationWrite] != "" {
				t.Errorf("%s changed the object it builds on", kind)
			}
		}
	}
}

// TestTimes: acquireTime is when the tenure began, renewTime the holder's last write. A transfer
// request is not a write of the holder (E6).
func TestTimes(t *testing.T) {
	old := metav1.NewMicroTime(noon.Add(-time.Hour))
	for kind, want := range map[election.Kind]struct{ acquired, renewed time.Time }{
		election.Claim:           {noon, noon},
		election.Renew:           {old.Time, noon},
		election.Release:         {old.Time, noon},
		election.RequestTransfer: {old.Time, old.Time},
	} {
		base := lease()
		base.Spec.AcquireTime, base.Spec.RenewTime = &old, &old
		l := encode(base, election.Action{Kind: kind, Record: tenure()}, noon)
		acquired, renewed := metav1.NewMicroTime(want.acquired), metav1.NewMicroTime(want.renewed)
		if !l.Spec.AcquireTime.Equal(&acquired) || !l.Spec.RenewTime.Equal(&renewed) {
			t.Errorf("%s: acquired %v, renewed %v, want %v, %v",
				kind, l.Spec.AcquireTime, l.Spec.RenewTime, want.acquired, want.renewed)
		}
	}
	released := election.Action{Kind: election.Release, Record: election.Record{Term: 1}}
	if l := encode(lease(), released, noon); l.Spec.HolderIdentity != nil {
		t.Errorf("a released lease names the holder %q", *l.Spec.HolderIdentity)
	}
}

// E3: invalid annotations of other programs count as absent.
func TestDecodeHostile(t *testing.T) {
	for _, c := range []struct {
		name        string
		annotations map[string]string
		want        election.Record
	}{
		{"nothing", nil, election.Record{}},
		{"no JSON", map[string]string{AnnotationReleased: "a/7"}, election.Record{}},
		{"wrong types", map[string]string{
			AnnotationReleased: `{"holder":7,"term":"x"}`,
		}, election.Record{}},
		{"half a proof", map[string]string{
			AnnotationReleased: `{"holder":"a","term":`,
		}, election.Record{}},
		{"a list", map[string]string{AnnotationReleased: `[{"holder":"a","term":7}]`}, election.Record{}},
		{"a number too large", map[string]string{
			AnnotationReleased: `{"holder":"a","term":1e99}`,
		}, election.Record{}},
		{"null", map[string]string{AnnotationReleased: `null`}, election.Record{}},
		{"no number", map[string]string{AnnotationWrite: "-1"}, election.Record{}},
		{"too many digits", map[string]string{
			AnnotationWrite: "99999999999999999999",
		}, election.Record{}},
		{"invalid latencies", map[string]string{
			AnnotationLatency: "-5", AnnotationRequestedLatency: "1.5s",
		}, election.Record{}},
		{"large latencies", map[string]string{
			AnnotationLatency: "18446744073709551615", AnnotationRequestedLatency: "60001",
		}, election.Record{Latency: time.Minute, RequestedLatency: time.Minute}},
		{"many moves", map[string]string{
			AnnotationMoves: "9223372036854775808",
		}, election.Record{SlowMoves: election.MaxSlowMoves}},
		{"invalid moves", map[string]string{
			AnnotationMoves: strings.Repeat("9", 1000),
		}, election.Record{}},
		{"invalid history", map[string]string{
			AnnotationTransitions: "{",
		}, election.Record{History: "{"}},
	} {
		l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Annotations: c.annotations}}
		c.want.Exists = true
		if got := Decode(l); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// TestHistory keeps the newest transitions. A broken history starts again.
func TestHistory(t *testing.T) {
	history := "nonsense"
	for n := range int64(25) {
		history = appendTransition(history, Transition{
			Time: noon, From: "a", To: "b", Term: n, Reason: election.ReasonExpired,
		})
	}
	list := Transitions(history)
	if len(list) != maxTransitions || list[0].Term != 15 || list[9].Term != 24 {
		t.Errorf("history of %d: %s", len(list), history)
	}
	if len(history) > 2000 {
		t.Errorf("the history takes %d bytes of the object", len(history))
	}
	for _, broken := range []string{"", "{}", "[1]", "[", `{"to":"a"}`} {
		if got := Transitions(broken); len(got) != 0 {
			t.Errorf("Transitions(%q) = %v", broken, got)
		}
	}
}

// FuzzDecode: no annotation makes Decode or the next write fail, only JSON with a holder is a
// proof, and a decoded record survives a write.
func FuzzDecode(f *testing.F) {
	f.Add("41", "7", "02:00:00:00:00:01", `{"holder":"a","term":7,"reason":"Shutdown"}`,
		"", "", "[]", "a", int32(7), int32(5))
	f.Add("", "-1", "\x00", `{"holder":`, "x", "\"", "{", "", int32(-1), int32(-5))
	f.Add("18446744073709551616", "1e3", "", "null",
		"", "", `[{"time":"x"}]`, "\xff", int32(math.MaxInt32), int32(math.MaxInt32))
	f.Fuzz(func(t *testing.T, version, write, mac, released, degraded, requested, history,
		holder string, term, seconds int32) {
		l := &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{ResourceVersion: version, Annotations: map[string]string{
				AnnotationWrite: write, AnnotationMAC: mac, AnnotationReleased: released,
				AnnotationDegraded: degraded, AnnotationRequestedBy: requested, AnnotationTransitions: history,
			}},
			Spec: coordinationv1.LeaseSpec{
				HolderIdentity: &holder, LeaseTransitions: &term, LeaseDurationSeconds: &seconds,
			},
		}
		r := Decode(l)
		if !r.Exists || r.Holder != holder || r.Term != int64(term) {
			t.Fatalf("decoded %+v", r)
		}
		if r.Released != (election.Proof{}) && !strings.Contains(released, "{") {
			t.Fatalf("%q was taken for the proof %+v", released, r.Released)
		}
		again := Decode(encode(l, election.Action{Kind: election.Renew, Record: r}, noon))
		r.Version = again.Version
		if r.Released.Holder == "" { // a proof needs a holder
			r.Released = election.Proof{}
		}
		if r.Duration <= 0 { // an invalid duration is not written
			again.Duration = r.Duration
		}
		if again != r && !strings.Contains(fmt.Sprint(r), "\uFFFD") && utf8Valid(r) {
			t.Fatalf("a round made %+v of %+v", again, r)
		}
		all := Transitions(appendTransition(history, Transition{To: holder}))
		if n := len(all); n < 1 || n > maxTransitions {
			t.Fatalf("a history of %d", n)
		}
	})
}

// utf8Valid reports whether the proof's texts survive JSON, which is UTF-8.
func utf8Valid(r election.Record) bool {
	return utf8.ValidString(r.Released.Holder + string(r.Released.Reason))
}
