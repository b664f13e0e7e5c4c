package kubelease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/backoff"
)

const (
	watchSeconds = 300             // after which an API server ends a watch
	listTimeout  = 2 * time.Second // of the read before a watch
)

// watchBackoff is the pause between watches. One that lasted longer than Max counts as a success.
var watchBackoff = backoff.Backoff{Min: 100 * time.Millisecond, Max: 2 * time.Second}

// watcher follows one Lease.
type watcher struct {
	namespace, name string
	router          *apiclient.Router
	log             *slog.Logger
	succeeded       func()
	failed          func(op string, err error)
	// deliver receives each state: the Lease, or nil and the version at which there is none.
	deliver func(ctx context.Context, lease *coordinationv1.Lease, version string)
}

// run watches until ctx ends.
func (w *watcher) run(ctx context.Context) {
	for failures := 1; ctx.Err() == nil; failures++ {
		began := time.Now()
		if err := w.once(ctx); err != nil && ctx.Err() == nil {
			w.log.Debug("watch of the lease ended", "lease", w.name, "err", err)
		}
		if time.Since(began) > watchBackoff.Max {
			failures = 1
		}
		backoff.Sleep(ctx, watchBackoff.After(failures))
	}
}

// once reads the Lease and follows it until the watch ends.
func (w *watcher) once(ctx context.Context) error {
	server, version, err := w.read(ctx)
	if err != nil {
		return w.fail("list", err)
	}
	options, seconds := w.listOptions(), int64(watchSeconds)
	options.ResourceVersion, options.TimeoutSeconds = version, &seconds
	events, err := server.Coordination.Leases(w.namespace).Watch(ctx, options)
	w.router.Report(server, err)
	if err != nil {
		return w.fail("watch", err)
	}
	defer events.Stop()
	w.succeeded()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-server.Retired():
			return errors.New("other credentials are used now")
		case ev, ok := <-events.ResultChan():
			if !ok {
				return errors.New("the API server ended it")
			}
			if err := w.observe(ctx, ev); err != nil {
				return err
			}
		}
	}
}

func (w *watcher) fail(op string, err error) error {
	err = fmt.Errorf("%s lease %s/%s: %w", op, w.namespace, w.name, err)
	w.failed(op, err)
	return err
}

// read delivers the present state, and returns the server and version to watch from. It lists,
// because a list has a version also while there is no Lease.
func (w *watcher) read(
	ctx context.Context,
) (server *apiclient.Server, version string, err error) {
	var lease *coordinationv1.Lease
	err = w.router.Do(ctx, func(ctx context.Context, s *apiclient.Server) error {
		ctx, cancel := context.WithTimeout(ctx, listTimeout)
		defer cancel()
		list, err := s.Coordination.Leases(w.namespace).List(ctx, w.listOptions())
		if err != nil {
			return err
		}
		server, version, lease = s, list.ResourceVersion, nil
		if len(list.Items) > 0 {
			lease = &list.Items[0]
		}
		return nil
	})
	if err == nil {
		w.deliver(ctx, lease, version)
	}
	return server, version, err
}

// listOptions selects the Lease.
func (w *watcher) listOptions() metav1.ListOptions {
	return metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", w.name).String(),
	}
}

// observe delivers an event of the watch.
func (w *watcher) observe(ctx context.Context, ev watch.Event) error {
	switch lease, ok := ev.Object.(*coordinationv1.Lease); {
	case ev.Type == watch.Error:
		return apierrors.FromObject(ev.Object)
	case !ok:
	case ev.Type == watch.Deleted:
		w.deliver(ctx, nil, lease.ResourceVersion)
	default:
		w.deliver(ctx, lease, lease.ResourceVersion)
	}
	return nil
}
