package kubelease

import (
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/election"
)

const (
	watchSeconds = 300             // after which an API server ends a watch
	listTimeout  = 2 * time.Second // of the read before a watch
)

// watchBackoff is the pause between watches. One that lasted longer than Max counts as a success.
var watchBackoff = backoff.Backoff{Min: 100 * time.Millisecond, Max: 2 * time.Second}

// Run watches the Lease and follows the other API servers until ctx ends.
func (d *Driver) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.cfg.Router.FollowPeers(ctx, d.health, d.peersRead)
	}()
	for failures := 1; ctx.Err() == nil; failures++ {
		began := time.Now()
		if err := d.watchOnce(ctx); err != nil && ctx.Err() == nil {
			d.cfg.Log.Debug("watch of the lease ended", "lease", d.cfg.Name, "err", err)
		}
		if time.Since(began) > watchBackoff.Max {
			failures = 1
		}
		backoff.Sleep(ctx, watchBackoff.After(failures))
	}
	<-done
	return nil
}

// peersRead records the outcome of reading the peers.
func (d *Driver) peersRead(err error) {
	if err != nil {
		d.failed(peerReads, "get-endpointslice", err)
		return
	}
	d.succeeded(peerReads)
}

// watchOnce reads the Lease and follows it until the watch ends.
func (d *Driver) watchOnce(ctx context.Context) error {
	server, version, err := d.readForWatch(ctx)
	if err != nil {
		return d.watchFailed("list", err)
	}
	options, seconds := d.listOptions(), int64(watchSeconds)
	options.ResourceVersion, options.TimeoutSeconds = version, &seconds
	w, err := server.Coordination.Leases(d.cfg.Namespace).Watch(ctx, options)
	d.cfg.Router.Report(server, err)
	if err != nil {
		return d.watchFailed("watch", err)
	}
	defer w.Stop()
	d.succeeded(leaseWatch)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-server.Retired():
			return errors.New("other credentials are used now")
		case ev, ok := <-w.ResultChan():
			if !ok {
				return errors.New("the API server ended it")
			}
			if err := d.observe(ctx, ev); err != nil {
				return err
			}
		}
	}
}

func (d *Driver) watchFailed(op string, err error) error {
	err = fmt.Errorf("%s lease %s/%s: %w", op, d.cfg.Namespace, d.cfg.Name, err)
	d.failed(leaseWatch, op, err)
	return err
}

// readForWatch delivers the present state, and returns the server and version to watch from. It
// lists, because a list has a version also while there is no Lease.
func (d *Driver) readForWatch(
	ctx context.Context,
) (server *apiclient.Server, version string, err error) {
	var record election.Record
	err = d.cfg.Router.Do(ctx, func(ctx context.Context, s *apiclient.Server) error {
		ctx, cancel := context.WithTimeout(ctx, listTimeout)
		defer cancel()
		list, err := s.Coordination.Leases(d.cfg.Namespace).List(ctx, d.listOptions())
		if err != nil {
			return err
		}
		server, version = s, list.ResourceVersion
		record = election.Record{Version: number(version)}
		if len(list.Items) > 0 {
			record = d.remember(&list.Items[0])
		}
		return nil
	})
	if err == nil {
		d.deliver(ctx, record)
	}
	return server, version, err
}

// listOptions selects the Lease of this driver.
func (d *Driver) listOptions() metav1.ListOptions {
	return metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", d.cfg.Name).String(),
	}
}

// observe delivers an event of the watch.
func (d *Driver) observe(ctx context.Context, ev watch.Event) error {
	switch lease, ok := ev.Object.(*coordinationv1.Lease); {
	case ev.Type == watch.Error:
		return apierrors.FromObject(ev.Object)
	case !ok:
		return nil
	case ev.Type == watch.Deleted:
		d.deliver(ctx, election.Record{Version: number(lease.ResourceVersion)})
	default:
		d.deliver(ctx, d.remember(lease))
	}
	return nil
}

func (d *Driver) deliver(ctx context.Context, r election.Record) {
	select {
	case d.events <- election.Observed{Record: r}:
	case <-ctx.Done():
	}
}
