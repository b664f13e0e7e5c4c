package allocator

import (
	"context"
	"errors"

	"github.com/kvip/kvip/pkg/apiclient"
)

// failures is told of each request that failed, for metrics; it may be nil.
type failures func(verb, resource string, err error)

// of tells of a request if err says that it failed, and returns err. What this agent cancelled has not.
func (f failures) of(verb, resource string, err error) error {
	if f != nil && err != nil && !errors.Is(err, context.Canceled) {
		f(verb, resource, err)
	}
	return err
}

// request is what Router.Do does.
type request = func(context.Context, *apiclient.Server) error

// do has router do something, whose first request is named here: it counts as failed if it could not
// be sent, as without credentials. The others are told by who sends them.
func (f failures) do(ctx context.Context, router *apiclient.Router, verb, resource string, something request) error {
	sent := false
	err := router.Do(ctx, func(ctx context.Context, s *apiclient.Server) error {
		sent = true
		return something(ctx, s)
	})
	if !sent {
		return f.of(verb, resource, err)
	}
	return err
}
