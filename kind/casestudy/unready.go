package casestudy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kvip/kvip/test/lab/kindcluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

const (
	// quietRequests in a row that others answered prove that all proxies know it: chance alone does
	// not do that with a third of the requests.
	quietRequests = 200
	afterRequests = 500 // are then counted
)

// Unready is what became of requests when a pod was made unready.
type Unready struct {
	Pod   string
	Asked time.Time // when the pod was set unready
	Gone  time.Time // when the EndpointSlice was seen without it
	Last  time.Time // when the last request began that it answered before others answered all
	After int       // requests since then
	Late  int       // of these, those that it answered

	Failures []string // of requests that began after Gone; the pod serves all the while
	Earlier  int      // requests that failed before that
}

// Unready makes a pod unready, follows it out of use, and brings it back.
func (s *Study) Unready(ctx context.Context) (r Unready, err error) {
	pods, err := s.pods(ctx)
	if err != nil || len(pods) == 0 {
		return r, errors.Join(err, fmt.Errorf("%d pods are ready", len(pods)))
	}
	pod := pods[0]
	w, err := s.watch(ctx, patience)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, w.end()) }()
	r.Pod, r.Asked = pod.Metadata.Name, time.Now()
	if err := s.setReady(ctx, pod, false); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.setReady(context.WithoutCancel(ctx), pod, true)) }()
	if err := s.endpointGone(ctx, r.Pod); err != nil {
		return r, err
	}
	r.Gone = time.Now()
	quiet, err := w.quiet(ctx, r.Pod, r.Gone)
	if err != nil {
		return r, err
	}
	if err := w.decided(ctx, quiet, afterRequests); err != nil {
		return r, err
	}
	r.count(w.Requests(r.Asked), quiet)
	return r, nil
}

// setReady sets the answer of a pod to its readiness probe.
func (s *Study) setReady(ctx context.Context, pod object, ready bool) error {
	_, err := s.control().Exec(ctx, "curl", "-sSf", "-m", "5", "-X", "POST",
		fmt.Sprintf("http://%s:8080/ready?ready=%v", pod.Status.PodIP, ready))
	return err
}

// endpointGone waits until the EndpointSlices do not show a pod as ready.
func (s *Study) endpointGone(ctx context.Context, pod string) error {
	return kindcluster.Eventually(ctx, every, func() error {
		ready, err := s.endpoints(ctx)
		if err == nil && slices.Contains(ready, pod) {
			err = fmt.Errorf("%s is still an endpoint", pod)
		}
		return err
	})
}

// quiet waits until others than the pod have answered many requests in a row, and returns when the
// first request began that is none of them.
func (c *Client) quiet(ctx context.Context, pod string, since time.Time) (from time.Time,
	err error) {
	err = kindcluster.Eventually(ctx, 10*every, func() error {
		reqs := c.Requests(since)
		inARow := 0
		for _, r := range reqs {
			if inARow++; r.Server == pod {
				inARow = 0
			}
			if inARow == quietRequests {
				from = r.Start.Add(time.Nanosecond)
				return nil
			}
		}
		return fmt.Errorf("%s still answers: others answered the last %d requests", pod, inARow)
	})
	return from, err
}

// decided waits for the results of requests that begin at or after an instant.
func (c *Client) decided(ctx context.Context, from time.Time, n int) error {
	return kindcluster.Eventually(ctx, 10*every, func() error {
		if have := len(c.Requests(from)); have < n {
			return fmt.Errorf("%d of %d requests are answered", have, n)
		}
		return nil
	})
}

// count sorts the requests since the pod was set unready; quiet is when they should have stopped.
func (r *Unready) count(reqs []netlab.Request, quiet time.Time) {
	for _, q := range reqs {
		switch late := !q.Start.Before(quiet); {
		case late:
			r.After++
			if q.Server == r.Pod {
				r.Late++
			}
		case q.Server == r.Pod:
			r.Last = q.Start
		}
		switch {
		case q.OK():
		case q.Start.Before(r.Gone):
			r.Earlier++
		default:
			r.Failures = append(r.Failures, q.Result)
		}
	}
}

// Lines describes what was seen.
func (r Unready) Lines() []string {
	lines := []string{fmt.Sprintf("%s was set unready; its endpoint was gone %.1f s later", r.Pod,
		r.Gone.Sub(r.Asked).Seconds())}
	if r.Last.After(r.Gone) {
		lines = append(lines,
			fmt.Sprintf("its last request began %.1f s after that, when all proxies had heard of it",
				r.Last.Sub(r.Gone).Seconds()))
	} else {
		lines = append(lines, "no request reached it after that")
	}
	return append(lines,
		fmt.Sprintf("it answered %d of the %d requests since then; %d requests failed, %d of them "+
			"after the endpoint was gone",
			r.Late, r.After, r.Earlier+len(r.Failures), len(r.Failures)))
}

// Judge is an error if the pod got requests when it should not, or if any failed on its account.
func (r Unready) Judge() (err error) {
	if r.After < afterRequests {
		err = fmt.Errorf("only %d requests were counted", r.After)
	}
	if r.Late > 0 {
		err = errors.Join(err, fmt.Errorf("%s still got %d of %d requests", r.Pod, r.Late, r.After))
	}
	if len(r.Failures)+r.Earlier > 0 {
		err = errors.Join(err,
			fmt.Errorf("%d requests failed before the endpoint was gone and %d after: %v", r.Earlier,
				len(r.Failures), r.Failures[:min(3, len(r.Failures))]))
	}
	return err
}
