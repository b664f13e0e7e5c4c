package kubelease

import (
	"context"
	"errors"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/election"
)

// hedgeAfter is how long one peer may be silent before the next is asked as well.
const hedgeAfter = 100 * time.Millisecond

// conflictWait is how long after a conflict the other copies of a write may still answer.
const conflictWait = 50 * time.Millisecond

var errNoServer = errors.New("no API server is known to send it to")

// try sends an action to the node's own API server or, where the machine asks for it,
// to the peers (E11).
func (d *Driver) try(ctx context.Context, a election.Action) (*coordinationv1.Lease, error) {
	if a.PreferPeers && len(d.Peers()) > 0 {
		return d.hedge(ctx, d.around(), a)
	}
	return d.first(ctx, a)
}

// around returns whom to ask where the node's own API server is in doubt: the peers that answered last,
// that one, and then the other peers. Each that is silent costs hedgeAfter, and whoever may write the
// EndpointSlice makes as many of them as are kept: before the own one, they would cost the lease.
func (d *Driver) around() []string {
	local := d.hosts()
	d.mu.Lock()
	defer d.mu.Unlock()
	var hosts []string
	for _, p := range d.peers {
		if d.answers[p] {
			hosts = append(hosts, p)
		}
	}
	for _, host := range slices.Concat(local, d.peers) {
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// hosts returns the local addresses, the one that answered last first, and then where to
// ask on a node without an API server: the in-cluster address and the peers (E11).
func (d *Driver) hosts() []string {
	d.mu.Lock()
	best, peers := d.local, d.peers
	d.mu.Unlock()
	all := d.cfg.Local()
	if i := slices.Index(all, best); i > 0 {
		all = slices.Insert(slices.Delete(all, i, i+1), 0, best)
	}
	if d.cfg.InCluster == "" {
		return all
	}
	return append(append(all, d.cfg.InCluster), peers...)
}

// answered remembers which local address is the right one.
func (d *Driver) answered(host string) {
	if !slices.Contains(d.cfg.Local(), host) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.local = host
}

// first tries the local addresses in turn until one is there at all.
func (d *Driver) first(ctx context.Context, a election.Action) (lease *coordinationv1.Lease, err error) {
	err = errNoServer
	for _, host := range d.hosts() {
		if lease, err = d.send(ctx, host, a); !apiclient.IsUnreachable(err) {
			d.answered(host)
			return lease, err
		}
	}
	return nil, err
}

type answer struct {
	lease *coordinationv1.Lease
	err   error
}

// hedge asks the hosts one after the other without waiting long for any: each write
// names the version it builds on, so at most one of them can be applied. After a conflict
// that version is no more, so no further host is asked; but it may be an outstanding copy of
// this very write that was applied, which is waited for a moment.
func (d *Driver) hedge(ctx context.Context, hosts []string, a election.Action) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(hosts))
	last, conflict := errNoServer, false
	for started, ended := 0, 0; ended < len(hosts); {
		var next <-chan time.Time
		switch {
		case conflict:
			next = time.After(d.conflictWait)
		case started < len(hosts):
			go d.ask(ctx, hosts[started], a, answers)
			started++
			next = time.After(hedgeAfter)
		}
		select {
		case got := <-answers:
			ended++
			switch {
			case got.err == nil:
				return got.lease, nil
			case !conflict:
				last, conflict = got.err, isConflict(got.err)
			}
			if conflict && ended == started {
				return nil, last
			}
		case <-next:
			if conflict {
				return nil, last
			}
		}
	}
	return nil, last
}

func (d *Driver) ask(ctx context.Context, host string, a election.Action, to chan<- answer) {
	lease, err := d.send(ctx, host, a)
	to <- answer{lease, err}
}
