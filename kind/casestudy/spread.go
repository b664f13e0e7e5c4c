package casestudy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	spreadRequests = 300

	// patience is how long a request may take where none may fail: longer than a lost packet and
	// its first repetition take on a machine that is busy with the load.
	patience = 5 * time.Second
)

// Spread is who answered requests in a cluster that is well.
type Spread struct {
	Nodes    map[string]string // of each pod that is ready, by its name
	Answers  map[string]int    // by the pod's name
	Failures []string
}

// Spread sends requests and sees who answers.
func (s *Study) Spread(ctx context.Context) (r Spread, err error) {
	r = Spread{Nodes: map[string]string{}, Answers: map[string]int{}}
	pods, err := s.pods(ctx)
	if err != nil {
		return r, err
	}
	for _, p := range pods {
		r.Nodes[p.Metadata.Name] = p.Spec.NodeName
	}
	host, err := s.Cluster.Outside()
	if err != nil {
		return r, err
	}
	defer host.Close()
	ask := newRequester(host, s.target(), patience)
	for id := range spreadRequests {
		if got := ask.request(ctx, fmt.Sprint(id)); got.OK() {
			r.Answers[got.Server]++
		} else {
			r.Failures = append(r.Failures, got.Result)
		}
	}
	return r, ctx.Err()
}

// Lines describes what was seen.
func (r Spread) Lines() (lines []string) {
	for _, pod := range slices.Sorted(maps.Keys(r.Nodes)) {
		lines = append(lines,
			fmt.Sprintf("%s on %s answered %d of %d requests", pod, r.Nodes[pod], r.Answers[pod],
				spreadRequests))
	}
	return lines
}

// Judge is an error unless all requests were answered, by all pods, and by each at least half as
// often as if all had the same share. Proxies choose at random: three pods miss that once in 10^10
// times.
func (r Spread) Judge() (err error) {
	if len(r.Failures) > 0 {
		err = fmt.Errorf("%d of %d requests failed: %v", len(r.Failures), spreadRequests,
			r.Failures[:min(3, len(r.Failures))])
	}
	if len(r.Nodes) != replicas {
		err = errors.Join(err, fmt.Errorf("%d pods are ready, want %d", len(r.Nodes), replicas))
	}
	fair := spreadRequests / replicas
	for pod := range r.Nodes {
		if n := r.Answers[pod]; n < fair/2 {
			err = errors.Join(err, fmt.Errorf("%s answered %d requests, and its share is %d", pod, n, fair))
		}
	}
	for pod, n := range r.Answers {
		if _, known := r.Nodes[pod]; !known {
			err = errors.Join(err,
				fmt.Errorf("%d requests were answered by %q, which is no pod that is ready", n, pod))
		}
	}
	return err
}
