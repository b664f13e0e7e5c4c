package kubelease

import (
	"context"
	"errors"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/kvip/kvip/pkg/election"
)

// hedgeAfter is how long one peer may be silent before the next is asked as well.
const hedgeAfter = 100 * time.Millisecond

var errNoServer = errors.New("no API server is known to send it to")

// try sends an action to the node's own API server or, where the machine asks for it,
// to the peers (E11).
func (d *Driver) try(ctx context.Context, a election.Action) (*coordinationv1.Lease, error) {
	if peers := d.Peers(); a.Peers && len(peers) > 0 {
		return d.hedge(ctx, append(peers, d.hosts()...), a)
	}
	return d.first(ctx, a)
}

// hosts returns the local addresses, the one that answered last first.
func (d *Driver) hosts() []string {
	d.mu.Lock()
	best := d.local
	d.mu.Unlock()
	all := d.cfg.Local()
	for i, h := range all {
		if h == best {
			all = append(append([]string{h}, all[:i]...), all[i+1:]...)
		}
	}
	return all
}

func (d *Driver) answered(host string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.local = host
}

// first tries the local addresses in turn until one is there at all.
func (d *Driver) first(ctx context.Context, a election.Action) (lease *coordinationv1.Lease, err error) {
	err = errNoServer
	for _, host := range d.hosts() {
		if lease, err = d.send(ctx, host, a); !unreachable(err) {
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
// names the version it builds on, so at most one of them can be applied, and a conflict
// with one is the answer of all: that version is no more.
func (d *Driver) hedge(ctx context.Context, hosts []string, a election.Action) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(hosts))
	last := errNoServer
	for started, ended := 0, 0; ended < len(hosts); {
		var next <-chan time.Time
		if started < len(hosts) {
			go d.ask(ctx, hosts[started], a, answers)
			started++
			next = time.After(hedgeAfter)
		}
		select {
		case got := <-answers:
			ended++
			if got.err == nil || isConflict(got.err) {
				return got.lease, got.err
			}
			last = got.err
		case <-next:
		}
	}
	return nil, last
}

func (d *Driver) ask(ctx context.Context, host string, a election.Action, to chan<- answer) {
	lease, err := d.send(ctx, host, a)
	to <- answer{lease, err}
}
