package casestudy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kvip/kvip/test/lab/kindcluster"
)

// loadFirst is how many requests ab makes before the drain begins.
const loadFirst = abTotal / 5

// Drain is what became of requests when the node was drained that announced the address.
type Drain struct {
	Handover
	Load    Load
	Client  Tally
	Began   time.Time     // of kubectl drain
	Took    time.Duration // of all of it
	Status  string        // what kvip says of the Service afterwards
	Details []string      // of the client's first failures

	moved  error // why there was no hand-over
	status error // why kvip did not say anything
}

// Drain puts the application under load, drains the node that announces its address, and lets it
// take pods again afterwards.
func (s *Study) Drain(ctx context.Context) (r Drain, err error) {
	w, err := s.watch(ctx, patience)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, w.end()) }()
	ctx, cancel := context.WithCancel(ctx) // ends ab when something fails below
	defer cancel()
	enough, warm := make(chan struct{}), make(chan struct{})
	load := startLoad(ctx, s.Cluster, s.target(), enough, func(made int) {
		if made >= loadFirst && !closed(warm) {
			close(warm)
		}
	})
	select {
	case <-warm:
	case r.Load = <-load:
		return r, fmt.Errorf("put the application under load: %w", r.Load.failure())
	}
	old, err := w.announcer(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.uncordon(context.WithoutCancel(ctx), old)) }()
	r.Began = time.Now()
	_, err = s.control().Kubectl(ctx, "drain", old, "--ignore-daemonsets", "--delete-emptydir-data",
		"--timeout", "120s")
	r.Took = time.Since(r.Began)
	close(enough)
	r.Load = <-load
	if err != nil {
		return r, err
	}
	return r, s.drained(ctx, w, &r, old)
}

// drained looks at what a drain has done.
func (s *Study) drained(ctx context.Context, w *Watch, r *Drain, old string) error {
	if err := w.decided(ctx, time.Now(), quietRequests); err != nil {
		return err
	}
	r.Handover, r.moved = handover(w.Intervals(), old)
	reqs := w.Requests(time.Time{})
	r.Client, r.Details = r.tally(reqs), firstFailures(reqs, r.To)
	if r.New != "" {
		r.Status, r.status = s.Status(ctx, r.New)
	}
	return nil
}

// announcer waits until the client's packets go to a node, and returns it.
func (w *Watch) announcer(ctx context.Context) (node string, err error) {
	err = kindcluster.Eventually(ctx, lookEvery, func() error {
		if node = w.Node(); node == "" {
			return errors.New("no node announces the address")
		}
		return nil
	})
	return node, err
}

func (s *Study) uncordon(ctx context.Context, node string) error {
	_, err := s.control().Kubectl(ctx, "uncordon", node)
	return err
}

// Lines describes what was seen.
func (r Drain) Lines() []string {
	lines := []string{fmt.Sprintf("ab made %d requests, %d at a time, %.0f a second: %d failed",
		r.Load.total().Requests, abClients, r.Load.rate(), r.Load.total().Failed)}
	if r.moved != nil {
		return lines
	}
	ab := r.Load.tally(r.Handover)
	lines = append(lines,
		fmt.Sprintf("the address went from %s to %s %.2f s after kubectl drain began, which took %.1f s",
			r.Old, r.New, r.To.Sub(r.Began).Seconds(), r.Took.Seconds()),
		fmt.Sprintf("requests before the hand-over:     of a client each 10 ms %s, of ab %s",
			r.Client.Before, ab.Before),
		fmt.Sprintf("requests open at that instant:     of a client each 10 ms %s, of ab %s, in its "+
			"runs at that time", r.Client.Open, ab.Open),
		fmt.Sprintf("requests begun after the hand-over: of a client each 10 ms %s, of ab %s",
			r.Client.After, ab.After))
	if n := r.Load.hung(); n > 0 {
		lines = append(lines,
			fmt.Sprintf("%d of ab's were neither answered nor reset for %s s", n, abPatience))
	}
	for _, d := range r.Details {
		lines = append(lines, "a failed one began at the hand-over "+d)
	}
	return lines
}

// Judge is an error if the address did not move, or if a request failed that was not open when it
// did.
func (r Drain) Judge() error {
	if r.moved != nil {
		return r.moved
	}
	err := errors.Join(r.Client.judge(), r.Load.judge(r.Handover))
	if r.status != nil || !strings.Contains(r.Status, r.New) {
		err = errors.Join(err,
			fmt.Errorf("kvip status does not show the address on %s: %w", r.New,
				errors.Join(r.status, errors.New(r.Status))))
	}
	return err
}
