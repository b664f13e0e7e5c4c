package health

import "context"

// errand runs one kind of request at a time on a goroutine of its own. start, cancel
// and reading answers belong to one other goroutine.
type errand[T any] struct {
	do      func(context.Context) T
	orders  chan context.Context
	answers chan T
	cancel  context.CancelFunc // gives up the present request; it still answers
}

func newErrand[T any](do func(context.Context) T) *errand[T] {
	return &errand[T]{
		do: do, cancel: func() {},
		orders: make(chan context.Context, 1), answers: make(chan T, 1),
	}
}

// start orders a request. The one before must have been answered.
func (e *errand[T]) start(ctx context.Context) {
	e.cancel() // releases the context of the one before
	ctx, e.cancel = context.WithCancel(ctx)
	e.orders <- ctx
}

// serve works until ctx ends.
func (e *errand[T]) serve(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case order := <-e.orders:
			e.answers <- e.do(order)
		}
	}
}
