package health

import (
	"context"
	"testing"
)

func TestErrandAnswersEachOrder(t *testing.T) {
	n := 0
	e := newErrand(func(context.Context) int { n++; return n })
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() { e.serve(ctx); close(served) }()
	for want := 1; want <= 3; want++ {
		e.start(ctx)
		if got := <-e.answers; got != want {
			t.Errorf("answer %d, want %d", got, want)
		}
	}
	cancel()
	<-served
}

// TestErrandGivenUpStillAnswers: whoever waits for an answer gets one, and the next
// order is not touched by the cancellation of the one before.
func TestErrandGivenUpStillAnswers(t *testing.T) {
	e := newErrand(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() { e.serve(ctx); close(served) }()
	e.cancel() // nothing to give up yet
	for range 2 {
		e.start(ctx)
		select {
		case err := <-e.answers:
			t.Fatalf("answered %v before it was given up", err)
		default:
		}
		e.cancel()
		if err := <-e.answers; err != context.Canceled {
			t.Errorf("answered %v", err)
		}
	}
	e.start(ctx) // on its way when everything ends
	cancel()
	<-served
}
