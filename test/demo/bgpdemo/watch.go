package bgpdemo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/kvip/kvip/kind/casestudy"
	"github.com/kvip/kvip/test/lab/kindcluster"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/wait"
)

const (
	// requestEvery leaves room on two cores: kube-apiserver signs, and asks etcd, for each request.
	requestEvery   = 20 * time.Millisecond
	requestTimeout = 500 * time.Millisecond // as netlab's default: a repetition must not hide a gap
	quietFor       = 3 * time.Second        // without a failed request: it is over
	enoughRequests = 100                    // of 150 that begin in that time, on a busy machine
	observeFor     = 5 * time.Second        // at least, of each fault
	quietWithin    = 90 * time.Second       // for failures to end
	pollEvery      = 500 * time.Millisecond
)

// watch is a client of both addresses behind the routers. It sends a request to each of them every
// 20 ms, each on a new connection.
type watch struct {
	host    *netlab.Host
	api     *netlab.Client
	service *casestudy.Client
}

// startWatch starts the requests.
func (f *fabric) startWatch(ctx context.Context, service netip.Addr) (*watch, error) {
	host, err := f.clientHost(ctx)
	if err != nil {
		return nil, err
	}
	// The certificate identifies the server; kubectl verifies it.
	api, err := netlab.StartClient(netlab.ClientConfig{
		Host: host, Target: netip.AddrPortFrom(vip, 6443), Every: requestEvery,
		Timeout: requestTimeout, TLS: &tls.Config{InsecureSkipVerify: true},
	})
	if err != nil {
		return nil, errors.Join(err, host.Close())
	}
	client := casestudy.StartClient(host, netip.AddrPortFrom(service, 80), requestEvery,
		requestTimeout)
	return &watch{host, api, client}, nil
}

func (w *watch) stop() error {
	w.api.Stop()
	w.service.Stop()
	return w.host.Close()
}

// quiet waits until no request has failed for a while, and at least until an instant.
func (w *watch) quiet(ctx context.Context, least time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, quietWithin)
	defer cancel()
	return kindcluster.Eventually(ctx, pollEvery/5, func() error {
		now := time.Now()
		if now.Before(least) {
			return errors.New("wait")
		}
		since := now.Add(-quietFor - requestTimeout)
		return errors.Join(judgeQuiet("the VIP", w.api.Requests(since), now),
			judgeQuiet("the Service", w.service.Requests(since), now))
	})
}

// judgeQuiet returns an error if a request failed lately, or if too few were answered.
func judgeQuiet(what string, reqs []netlab.Request, now time.Time) error {
	answered := 0
	for _, r := range reqs {
		if r.Start.After(now.Add(-requestTimeout)) {
			break // others of that time may be open
		}
		if !r.OK() {
			return fmt.Errorf("a request to %s failed %s ago: %s", what,
				now.Sub(r.Start).Round(time.Millisecond), r.Result)
		}
		answered++
	}
	if answered < enoughRequests {
		return fmt.Errorf("%d requests to %s were answered in %s, want %d", answered, what, quietFor,
			enoughRequests)
	}
	return nil
}

// loss is what a client lost at one address.
type loss struct {
	requests, failed int
	gap              time.Duration // the longest time between the starts of successful requests
	lasted           time.Duration // from the start of the first failed request to that of the last
}

// lossOf judges the requests that began between two instants. reqs begin before that, for the first
// gap.
func lossOf(reqs []netlab.Request, from, to time.Time) loss {
	l := loss{gap: netlab.Outage(reqs, from, to)}
	var first time.Time
	for _, r := range reqs {
		if r.Start.Before(from) || r.Start.After(to) {
			continue
		}
		l.requests++
		if r.OK() {
			continue
		}
		if l.failed++; first.IsZero() {
			first = r.Start
		}
		l.lasted = r.Start.Sub(first)
	}
	return l
}

// lost returns what was lost at both addresses from an instant on, once requests that are open now
// have ended.
func (w *watch) lost(ctx context.Context, from time.Time) (api, service loss, err error) {
	to := time.Now()
	if err := wait.Pause(ctx, requestTimeout+100*time.Millisecond); err != nil {
		return api, service, err
	}
	before := from.Add(-time.Second)
	return lossOf(w.api.Requests(before), from, to), lossOf(w.service.Requests(before), from, to), nil
}
