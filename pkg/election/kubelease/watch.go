package kubelease

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/election"
)

const (
	watchSeconds    = 300 // an API server may end a watch at any time; this is when at the latest
	minWatchBackoff = 100 * time.Millisecond
	maxWatchBackoff = 2 * time.Second
)

// Run watches the Lease and the other API servers until ctx ends.
func (d *Driver) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.followPeers(ctx)
	}()
	backoff := minWatchBackoff
	for ctx.Err() == nil {
		began := time.Now()
		if err := d.watchOnce(ctx); err != nil && ctx.Err() == nil {
			d.cfg.Log.Debug("watch of the lease ended", "lease", d.cfg.Name, "reason", err)
		}
		if time.Since(began) > maxWatchBackoff {
			backoff = minWatchBackoff
		}
		sleep(ctx, backoff)
		backoff = min(2*backoff, maxWatchBackoff)
	}
	<-done
	return nil
}

// watchOnce reads the Lease and follows it until the watch ends.
func (d *Driver) watchOnce(ctx context.Context) error {
	server, version, err := d.readForWatch(ctx)
	if err != nil {
		return err
	}
	seconds := int64(watchSeconds)
	w, err := server.Coordination.Leases(d.cfg.Namespace).Watch(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", d.cfg.Name).String(), ResourceVersion: version, TimeoutSeconds: &seconds,
	})
	if err != nil {
		d.report("watch", server, err)
		return fmt.Errorf("watch lease: %w", err)
	}
	defer w.Stop()
	d.worked(aboutWatch)
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
			if err := d.take(ctx, ev); err != nil {
				return err
			}
		}
	}
}

// readForWatch reads the present state. The watch must start where the read ended, also
// when there is no Lease yet: a list tells the version in both cases.
func (d *Driver) readForWatch(ctx context.Context) (*apiclient.Server, string, error) {
	err := errNoServer
	for _, host := range d.hosts() {
		var server *apiclient.Server
		if server, err = d.cfg.Servers.Server(host); err != nil {
			d.failed(aboutWatch, "list", err)
			return nil, "", err
		}
		var list *coordinationv1.LeaseList
		if list, err = d.list(ctx, server); err == nil {
			d.answered(host)
			d.deliver(ctx, d.listed(list))
			return server, list.ResourceVersion, nil
		}
		d.report("list", server, err)
		if !apiclient.IsUnreachable(err) {
			break
		}
	}
	return nil, "", fmt.Errorf("list lease: %w", err)
}

func (d *Driver) list(ctx context.Context, server *apiclient.Server) (*coordinationv1.LeaseList, error) {
	ctx, cancel := context.WithTimeout(ctx, maxWatchBackoff)
	defer cancel()
	return server.Coordination.Leases(d.cfg.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", d.cfg.Name).String(),
	})
}

func (d *Driver) listed(list *coordinationv1.LeaseList) election.Event {
	if len(list.Items) == 0 {
		version, _ := strconv.ParseUint(list.ResourceVersion, 10, 64)
		return election.Observed{Record: election.Record{Version: version}}
	}
	return election.Observed{Record: d.remember(&list.Items[0])}
}

// report notes a failed request and changes the credentials where they were refused.
func (d *Driver) report(op string, server *apiclient.Server, err error) {
	d.failed(aboutWatch, op, fmt.Errorf("%s lease %s/%s: %w", op, d.cfg.Namespace, d.cfg.Name, err))
	d.refused(server, err)
}

func (d *Driver) take(ctx context.Context, ev watch.Event) error {
	switch lease, ok := ev.Object.(*coordinationv1.Lease); {
	case ev.Type == watch.Error:
		return apierrors.FromObject(ev.Object)
	case !ok:
		return nil
	case ev.Type == watch.Deleted:
		d.deliver(ctx, election.Observed{Record: election.Record{Version: Decode(lease).Version}})
	default:
		d.deliver(ctx, election.Observed{Record: d.remember(lease)})
	}
	return nil
}

func (d *Driver) deliver(ctx context.Context, ev election.Event) {
	select {
	case d.events <- ev:
	case <-ctx.Done():
	}
}

func sleep(ctx context.Context, t time.Duration) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
