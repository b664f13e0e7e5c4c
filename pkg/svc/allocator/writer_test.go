package allocator

import (
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

// version is the Service a/web at a version.
func version(v string) *svc.Service {
	return &svc.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", ResourceVersion: v}}
}

var allocated = wish{ok: true, reason: ReasonAllocated}

// newIdle returns a writer whose work is done by hand.
func newIdle(t *testing.T) (*rig, *writer) {
	t.Helper()
	r := newRig(t)
	a, _ := r.allocator("x")
	return r, a.writer
}

// begin takes the next job from the queue as a worker does; nil if there is none.
func (w *writer) begin() *job {
	select {
	case owner := <-w.queue:
		j := w.jobs[owner]
		if j != nil && j.queued {
			j.queued, j.running = false, true
			return j
		}
	default:
	}
	return nil
}

func TestAJobWaitsUntilItsWriteIsSeen(t *testing.T) {
	r, w := newIdle(t)
	w.service(version("7"), allocated)
	j := w.begin()
	if j == nil {
		t.Fatal("nothing is to be written")
	}
	j.done(j.service, &metav1.ObjectMeta{ResourceVersion: "9"}, nil, r.clock())
	for _, v := range []string{"7", "8"} {
		if w.service(version(v), allocated); w.begin() != nil {
			t.Errorf("version %s is written although 9 was", v)
		}
	}
	if w.service(version("9"), wish{clear: true}); len(w.jobs) != 0 {
		t.Error("what is so is a job still")
	}
	w.service(version("9"), allocated)
	if w.begin() == nil {
		t.Error("a version that was seen is not written")
	}
}

// After etcd was restored from a backup versions begin anew: what was written is not waited for for ever.
func TestAVersionThatNeverComes(t *testing.T) {
	r, w := newIdle(t)
	w.service(version("1000"), allocated)
	j := w.begin()
	j.done(j.service, &metav1.ObjectMeta{ResourceVersion: "1001"}, nil, r.clock())
	r.pass(notSeen - 1)
	if w.service(version("7"), allocated); w.begin() != nil {
		t.Error("it is not waited for")
	}
	r.pass(1)
	if w.service(version("7"), allocated); w.begin() == nil {
		t.Error("it is waited for for ever")
	}
}

func TestAFailedJobIsTriedAgain(t *testing.T) {
	r, w := newIdle(t)
	failed := errors.New("broken by the test")
	want := firstRetry
	for range 10 {
		w.service(version("7"), allocated)
		j := w.begin()
		if j == nil {
			t.Fatal("it is not tried again")
		}
		j.done(j.service, nil, failed, r.clock())
		if j.pause != want {
			t.Errorf("the pause is %v, want %v", j.pause, want)
		}
		r.pass(want - 1)
		if w.service(version("7"), allocated); w.begin() != nil {
			t.Error("it is tried again too soon")
		}
		r.pass(1)
		want = min(2*want, lastRetry)
	}
	w.service(version("7"), allocated)
	w.begin().done(w.jobs["a/web"].service, nil, failed, r.clock())
	if w.service(version("8"), allocated); w.begin() == nil {
		t.Error("a Service that has changed is not tried at once")
	}
}

// A Service that changes while it is written is tried at once.
func TestAChangeWhileItIsWritten(t *testing.T) {
	r, w := newIdle(t)
	w.service(version("7"), allocated)
	j := w.begin()
	before := j.service
	w.service(version("8"), allocated)
	if w.begin() != nil {
		t.Fatal("it is written twice at a time")
	}
	j.done(before, nil, errors.New("conflict"), r.clock())
	if w.service(version("8"), allocated); w.begin() == nil {
		t.Error("it waits")
	}
}

func TestWhatIsForgottenIsNotWritten(t *testing.T) {
	_, w := newIdle(t)
	w.service(version("7"), allocated)
	w.only(map[ipam.Owner]bool{"b/web": true})
	if len(w.jobs) != 0 || w.begin() != nil {
		t.Error("a Service that is gone is a job")
	}
	w.service(version("7"), allocated)
	w.service(version("7"), allocated) // a second entry in the queue, after the forgotten one
	if w.begin() == nil || w.begin() != nil {
		t.Error("it is not written once")
	}
	w.only(nil)
	if len(w.jobs) != 1 {
		t.Error("what is being written is forgotten")
	}
}

// What fails after something was written is due at its own time.
func TestAFailureAfterAWrite(t *testing.T) {
	r, w := newIdle(t)
	w.service(version("7"), allocated)
	if w.waits() {
		t.Error("it waits with a job in the queue")
	}
	j := w.begin()
	j.done(j.service, &metav1.ObjectMeta{ResourceVersion: "8"}, nil, r.clock())
	if !w.waits() {
		t.Error("it does not wait for the watch to show what was written")
	}
	w.service(version("8"), wish{reason: "Other"})
	j = w.begin()
	j.done(j.service, nil, errors.New("refused by the test"), r.clock())
	if !w.waits() {
		t.Error("it does not wait before it tries again")
	}
	if r.pass(firstRetry); w.waits() {
		t.Error("it waits for longer than that")
	}
}

func TestAFullQueueLosesNothing(t *testing.T) {
	_, w := newIdle(t)
	w.queue = make(chan ipam.Owner, 1)
	other := version("7")
	other.Name = "other"
	w.service(version("7"), allocated)
	w.service(other, allocated)
	w.begin()
	w.service(other, allocated)
	if w.begin() == nil {
		t.Error("it is lost")
	}
	if w.idle() {
		t.Error("idle with two jobs")
	}
}

// A Service that is deleted while it is written is no trouble.
func TestAServiceThatIsGone(t *testing.T) {
	r := newRig(t)
	a, k := r.allocator("x")
	r.sit(k)
	a.writer.service(version("7"), allocated)
	a.writer.work(t.Context(), "a/web")
	if j := a.writer.jobs["a/web"]; j.written != nil || j.pause != 0 || j.running {
		t.Errorf("the job is %+v", j)
	}
	if r.Log.Count("cannot write the status") > 0 {
		t.Error("it is logged as trouble")
	}
}

func TestWithoutTheSeatNothingIsWritten(t *testing.T) {
	r := newRig(t)
	a, _ := r.allocator("x")
	a.writer.service(version("7"), allocated)
	a.writer.work(t.Context(), "a/web")
	if n := r.Server.Count("PATCH", "/services"); n != 0 {
		t.Errorf("%d writes", n)
	}
}
