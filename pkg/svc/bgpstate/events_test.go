package bgpstate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/bgp"
)

// events is an API server that keeps Events, or fails, or hangs.
type events struct {
	mu    sync.Mutex
	list  []*corev1.Event
	at    []time.Time
	fails error
	hangs bool
}

func (e *events) CreateEvent(ctx context.Context, ev *corev1.Event) error {
	if e.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list, e.at = append(e.list, ev), append(e.at, time.Now())
	return e.fails
}

// recordEvents runs an EventRecorder in a bubble during a script.
func recordEvents(t *testing.T, e *events, script func(r *EventRecorder)) (logged string) {
	t.Helper()
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r, err := NewEventRecorder(EventConfig{
			Node: "cp1", Creator: e, Log: slog.New(slog.NewTextHandler(&out, nil)),
			Clock: func() time.Duration { return time.Since(began) },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		script(r)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return out.String()
}

// TestEvents: the reason is in words, and the Event is on the Node as kubectl looks for it.
func TestEvents(t *testing.T) {
	e := &events{}
	recordEvents(t, e, func(r *EventRecorder) {
		r.Changed(up("tor"))
		time.Sleep(time.Minute)
		r.Changed(down("tor", bgp.ReasonHoldTimer, "the peer sent nothing\nfor 9s"))
		time.Sleep(time.Minute)
		r.Changed(down("tor", bgp.ReasonStopped, "kvip stops"))
		time.Sleep(time.Minute)
	})
	if len(e.list) != 2 {
		t.Fatalf("%d Events: %v", len(e.list), e.list)
	}
	for i, want := range []struct{ reason, kind, message string }{
		{"BGPSessionUp", "Normal", "BGP session with tor (192.0.2.1) is up"},
		{"BGPSessionDown", "Warning", "BGP session with tor (192.0.2.1) is down: hold-timer: " +
			`the peer sent nothing\nfor 9s`},
	} {
		ev := e.list[i]
		if ev.Reason != want.reason || ev.Type != want.kind || ev.Message != want.message {
			t.Errorf("%s %s %q, want %+v", ev.Reason, ev.Type, ev.Message, want)
		}
		on := ev.InvolvedObject
		if ev.Namespace != "default" || on.Kind != "Node" || on.Name != "cp1" || on.UID != "cp1" ||
			on.Namespace != "" || ev.Source.Component != "kvip" || ev.Source.Host != "cp1" ||
			ev.Count != 1 || ev.FirstTimestamp.IsZero() || !strings.HasPrefix(ev.Name, "cp1.") {
			t.Errorf("%+v", ev)
		}
	}
}

// TestEventsArePaced: a session that flaps has one Event in 10 s, with the last state and the
// number of ends. Other peers do not wait for it.
func TestEventsArePaced(t *testing.T) {
	e := &events{}
	recordEvents(t, e, func(r *EventRecorder) {
		for range 150 {
			r.Changed(down("tor-a", bgp.ReasonBFDDown, "BFD is down"))
			time.Sleep(100 * time.Millisecond)
			r.Changed(up("tor-a"))
			time.Sleep(100 * time.Millisecond)
		}
		r.Changed(up("tor-b"))
		time.Sleep(time.Minute)
	})
	var flapping []int
	for i, ev := range e.list {
		if strings.Contains(ev.Message, "tor-a") {
			flapping = append(flapping, i)
		}
	}
	if len(flapping) < 3 || len(flapping) > 5 || len(e.list) != len(flapping)+1 {
		t.Fatalf("%d Events, %d of them on tor-a", len(e.list), len(flapping))
	}
	for n := 1; n < len(flapping); n++ {
		if pause := e.at[flapping[n]].Sub(e.at[flapping[n-1]]); pause < eventInterval {
			t.Errorf("%v between two Events", pause)
		}
	}
	ended := regexp.MustCompile("it ended (before, )?[45][0-9] times")
	if got := e.list[flapping[1]].Message; !ended.MatchString(got) {
		t.Errorf("second Event: %s", got)
	}
	names := map[string]bool{}
	for _, ev := range e.list {
		if names[ev.Name] {
			t.Errorf("%s is used twice", ev.Name)
		}
		names[ev.Name] = true
	}
}

// TestEventsNeverBlockASession: with an API server that hangs, Changed returns at once, and what
// waits is bounded.
func TestEventsNeverBlockASession(t *testing.T) {
	e := &events{hangs: true}
	logged := recordEvents(t, e, func(r *EventRecorder) {
		began := time.Now()
		for i := range 10 * bgp.MaxPeers {
			r.Changed(up(fmt.Sprint("tor-", i)))
		}
		if took := time.Since(began); took != 0 { // the clock of the bubble
			t.Errorf("it took %v", took)
		}
		r.mu.Lock()
		if len(r.peers) > bgp.MaxPeers {
			t.Errorf("%d peers wait", len(r.peers))
		}
		r.mu.Unlock()
		time.Sleep(10 * time.Minute)
		r.Changed(up("later"))
		r.mu.Lock()
		if len(r.peers) != 1 {
			t.Errorf("%d peers are kept", len(r.peers))
		}
		r.mu.Unlock()
	})
	if strings.Count(logged, "cannot create an Event on the Node") != 1 {
		t.Errorf("log:\n%s", logged)
	}
}

// TestEventFailuresAreLoggedOnce, and again after a success.
func TestEventFailuresAreLoggedOnce(t *testing.T) {
	e := &events{fails: errors.New("forbidden")}
	logged := recordEvents(t, e, func(r *EventRecorder) {
		for i := range 10 {
			e.mu.Lock()
			if e.fails = errors.New("forbidden"); i == 5 {
				e.fails = nil
			}
			e.mu.Unlock()
			r.Changed(up("tor"))
			time.Sleep(time.Minute)
		}
	})
	if len(e.list) != 10 || strings.Count(logged, "cannot create an Event on the Node") != 2 {
		t.Errorf("%d Events, log:\n%s", len(e.list), logged)
	}
}

func TestEventRecorderNeedsANodeAndACreator(t *testing.T) {
	_, err := NewEventRecorder(EventConfig{})
	for _, field := range []string{"Node", "Creator"} {
		if err == nil || !strings.Contains(err.Error(), field+" is required") {
			t.Errorf("%v does not name %s", err, field)
		}
	}
}
