package allocator

import "context"

// background does what may take its time, one after the other; what is too much is dropped and comes
// again with the next turn.
func (a *Allocator) background(do func(context.Context)) {
	select {
	case a.errands <- do:
	default:
	}
}

func (a *Allocator) runErrands(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case do := <-a.errands:
			limited, cancel := context.WithTimeout(ctx, requestTimeout)
			do(limited)
			cancel()
		}
	}
}
