package speaker

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/apiclient"
)

// hedged plays attempts, each by its number from 1.
func hedged(t *testing.T, try func(ctx context.Context, number int64) error) (answer attempt, attempts int64) {
	t.Helper()
	h := &NodeLease{cfg: NodeLeaseConfig{Router: apiclient.NewRouter(apiclient.RouterConfig{})}}
	var count atomic.Int64
	answer = h.hedge(t.Context(), func(ctx context.Context) attempt {
		n := count.Add(1)
		return attempt{sent: time.Duration(n), err: try(ctx, n)}
	})
	return answer, count.Load()
}

// TestS2RenewalDoesNotWaitForASilentServer: what etcd lost while it had no leader is never answered, and the
// judge must not take the wait for it as an outage.
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
		t.Error("the first attempt goes on")
	}
}

// TestALaterAttemptThatIsRefusedDoesNotDecide: both carry one version, and the first was written.
func TestALaterAttemptThatIsRefusedDoesNotDecide(t *testing.T) {
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
	if a, n := hedged(t, func(context.Context, int64) error { return errors.New("refused") }); a.err == nil || n != 1 {
		t.Errorf("%v after %d attempts, want an error after one that is answered", a.err, n)
	}
	a, n := hedged(t, func(ctx context.Context, _ int64) error { <-ctx.Done(); return ctx.Err() })
	if !errors.Is(a.err, context.DeadlineExceeded) || n < 2 || n > int64(mostAttempts) {
		t.Errorf("%v after %d attempts, want to give up after some", a.err, n)
	}
}
