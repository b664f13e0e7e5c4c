package allocator

import (
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

// version returns the Service a/web at a version.
func version(v string) *svc.Service {
	return &svc.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", ResourceVersion: v}}
}

var allocated = desiredStatus{isReady: true, reason: ReasonAllocated}

// newIdleQueue returns a queue whose work the test does.
func newIdleQueue(t *testing.T) (*fixture, *statusQueue) {
	t.Helper()
	r := newFixture(t)
	a, _ := r.allocator("x")
	return r, a.queue
}

// next takes the next write from the queue as a worker does; nil if there is none.
func (q *statusQueue) next() *statusWrite {
	select {
	case key := <-q.queue:
		w := q.writes[key]
		if w != nil && w.queued {
			w.queued, w.running = false, true
			return w
		}
	default:
	}
	return nil
}

func TestAWriteWaitsForItsEcho(t *testing.T) {
	r, q := newIdleQueue(t)
	q.set(version("7"), allocated)
	w := q.next()
	if w == nil {
		t.Fatal("nothing is queued")
	}
	w.finish(w.service, &metav1.ObjectMeta{ResourceVersion: "9"}, nil, r.clock())
	for _, v := range []string{"7", "8"} {
		if q.set(version(v), allocated); q.next() != nil {
			t.Errorf("version %s is written although 9 was", v)
		}
	}
	if q.set(version("9"), desiredStatus{clear: true}); len(q.writes) != 0 {
		t.Error("a matching status is still queued")
	}
	q.set(version("9"), allocated)
	if q.next() == nil {
		t.Error("a change after the echo is not written")
	}
}

// After a restore of etcd versions begin again: the echo of a write is not awaited for ever.
func TestAVersionThatNeverComes(t *testing.T) {
	r, q := newIdleQueue(t)
	q.set(version("1000"), allocated)
	w := q.next()
	w.finish(w.service, &metav1.ObjectMeta{ResourceVersion: "1001"}, nil, r.clock())
	r.advance(echoTimeout - 1)
	if q.set(version("7"), allocated); q.next() != nil {
		t.Error("the echo is not awaited")
	}
	r.advance(1)
	if q.set(version("7"), allocated); q.next() == nil {
		t.Error("the echo is awaited for ever")
	}
}

func TestAFailedWriteIsRepeated(t *testing.T) {
	r, q := newIdleQueue(t)
	failed := errors.New("broken by the test")
	want := statusRetry.Min
	for range 10 {
		q.set(version("7"), allocated)
		w := q.next()
		if w == nil {
			t.Fatal("it is not repeated")
		}
		w.finish(w.service, nil, failed, r.clock())
		if got := w.retryAt - r.clock(); got != want {
			t.Errorf("the pause is %v, want %v", got, want)
		}
		r.advance(want - 1)
		if q.set(version("7"), allocated); q.next() != nil {
			t.Error("it is repeated too soon")
		}
		r.advance(1)
		want = min(2*want, statusRetry.Max)
	}
	q.set(version("7"), allocated)
	q.next().finish(q.writes["a/web"].service, nil, failed, r.clock())
	if q.set(version("8"), allocated); q.next() == nil {
		t.Error("a changed Service is not written at once")
	}
}

// A Service that changes during its write is written again at once.
func TestAChangeWhileItIsWritten(t *testing.T) {
	r, q := newIdleQueue(t)
	q.set(version("7"), allocated)
	w := q.next()
	before := w.service
	q.set(version("8"), allocated)
	if q.next() != nil {
		t.Fatal("it is written twice at once")
	}
	w.finish(before, nil, errors.New("conflict"), r.clock())
	if q.set(version("8"), allocated); q.next() == nil {
		t.Error("it waits")
	}
}

func TestRetain(t *testing.T) {
	_, q := newIdleQueue(t)
	q.set(version("7"), allocated)
	q.retain(map[ipam.ServiceKey]bool{"b/web": true})
	if len(q.writes) != 0 || q.next() != nil {
		t.Error("a removed Service is queued")
	}
	q.set(version("7"), allocated)
	q.set(version("7"), allocated) // a second entry in the queue, after the forgotten one
	if q.next() == nil || q.next() != nil {
		t.Error("it is not written once")
	}
	q.retain(nil)
	if len(q.writes) != 1 {
		t.Error("a running write is removed")
	}
}

// A failed write after a successful one has its own due time.
func TestAFailureAfterAWrite(t *testing.T) {
	r, q := newIdleQueue(t)
	q.set(version("7"), allocated)
	if q.isWaiting() {
		t.Error("it waits with a queued write")
	}
	w := q.next()
	w.finish(w.service, &metav1.ObjectMeta{ResourceVersion: "8"}, nil, r.clock())
	if !q.isWaiting() {
		t.Error("it does not wait for the watch to show what was written")
	}
	q.set(version("8"), desiredStatus{reason: "Other"})
	w = q.next()
	w.finish(w.service, nil, errors.New("refused by the test"), r.clock())
	if !q.isWaiting() {
		t.Error("it does not wait before the retry")
	}
	if r.advance(statusRetry.Min); q.isWaiting() {
		t.Error("it waits for longer than that")
	}
}

func TestAFullQueueLosesNothing(t *testing.T) {
	_, q := newIdleQueue(t)
	q.queue = make(chan ipam.ServiceKey, 1)
	other := version("7")
	other.Name = "other"
	q.set(version("7"), allocated)
	q.set(other, allocated)
	q.next()
	q.set(other, allocated)
	if q.next() == nil {
		t.Error("it is lost")
	}
	if q.isEmpty() {
		t.Error("empty with two writes")
	}
}

// A Service that is deleted during its write is not a failure.
func TestADeletedServiceIsNotAFailure(t *testing.T) {
	r := newFixture(t)
	a, k := r.allocator("x")
	r.elect(k)
	a.queue.set(version("7"), allocated)
	a.queue.write(t.Context(), "a/web")
	if w := a.queue.writes["a/web"]; w.written != nil || w.failures != 0 || w.running {
		t.Errorf("the write is %+v", w)
	}
	if r.Log.Count("cannot write the status") > 0 {
		t.Error("it is logged")
	}
}

func TestOnlyTheLeaderWritesStatuses(t *testing.T) {
	r := newFixture(t)
	a, _ := r.allocator("x")
	a.queue.set(version("7"), allocated)
	a.queue.write(t.Context(), "a/web")
	if n := r.Server.RequestCount("PATCH", "/services"); n != 0 {
		t.Errorf("%d writes", n)
	}
}
