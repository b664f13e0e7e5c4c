package speaker

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

// hedged makes attempts, each with its number from 1.
func hedged(t *testing.T, try func(ctx context.Context, number int64) error) (a attempt, n int64) {
	t.Helper()
	var attempts, switches atomic.Int64
	a = hedge(t.Context(), func() { switches.Add(1) }, func(ctx context.Context) attempt {
		n := attempts.Add(1)
		return attempt{sent: time.Duration(n), err: try(ctx, n)}
	})
	if attempts.Load() != switches.Load()+1 {
		t.Errorf("%d attempts with %d switches of the server", attempts.Load(), switches.Load())
	}
	return a, attempts.Load()
}

// TestS2RenewalDoesNotWaitForASilentServer: a request that etcd lost while it had no leader is never
// answered, and the failure detector must not take the wait for an outage.
func TestS2RenewalDoesNotWaitForASilentServer(t *testing.T) {
	ended := make(chan struct{})
	a, _ := hedged(t, func(ctx context.Context, n int64) error {
		if n == 1 {
			<-ctx.Done()
			close(ended)
			return ctx.Err()
		}
		return nil
	})
	if a.err != nil || a.sent != 2 {
		t.Errorf("attempt %d answered with %v, want the second to succeed", a.sent, a.err)
	}
	select {
	case <-ended:
	default:
		t.Error("the first attempt still runs")
	}
}

// TestALaterConflictDoesNotDecide: both attempts carry one version, and the first one was written.
func TestALaterConflictDoesNotDecide(t *testing.T) {
	refused := make(chan struct{})
	a, _ := hedged(t, func(_ context.Context, n int64) error {
		if n == 1 {
			<-refused
			return nil
		}
		if n == 2 {
			close(refused)
		}
		return errors.New("conflict")
	})
	if a.err != nil || a.sent != 1 {
		t.Errorf("attempt %d answered with %v, want the first to succeed", a.sent, a.err)
	}
}

func TestAFailedRenewalEnds(t *testing.T) {
	refuse := func(context.Context, int64) error { return errors.New("refused") }
	if a, n := hedged(t, refuse); a.err == nil || n != 1 {
		t.Errorf("%v after %d attempts, want an error of the first", a.err, n)
	}
	silent := func(ctx context.Context, _ int64) error { <-ctx.Done(); return ctx.Err() }
	a, n := hedged(t, silent)
	if !errors.Is(a.err, context.DeadlineExceeded) || n < 2 || n > int64(maxAttempts) {
		t.Errorf("%v after %d attempts, want a few and a timeout", a.err, n)
	}
}
