package casestudy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/kindcluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

const (
	// impatience is how long a request may take that measures a gap: a repetition must not hide it.
	impatience = 500 * time.Millisecond
	gapTarget  = 6 * time.Second // for up to 20 announcing nodes (S1)
	servedFor  = 20              // requests through another node prove that it serves
)

// Kill is what became of requests when the node died that announced the address.
type Kill struct {
	Handover
	Gap     time.Duration // the longest time between the starts of requests that were answered
	After   Count         // requests since the address answered elsewhere
	Local   bool          // a pod died with the node
	Details []string      // of the first failures since then
}

// Kill switches the node off that announces the address, and waits until the address answers
// elsewhere. The node stays off: Mend starts it.
func (s *Study) Kill(ctx context.Context) (r Kill, err error) {
	w, err := s.watch(ctx, impatience)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, w.end()) }()
	if err := w.decided(ctx, time.Now(), servedFor); err != nil {
		return r, err
	}
	old, err := w.announcer(ctx)
	if err != nil {
		return r, err
	}
	pods, err := s.pods(ctx)
	if err != nil {
		return r, err
	}
	for _, p := range pods {
		r.Local = r.Local || p.Spec.NodeName == old
	}
	r.Old = old // to be mended from here on
	killed := time.Now()
	if err := s.Cluster.Node(old).Docker(ctx, "kill"); err != nil {
		return r, err
	}
	err = kindcluster.Eventually(ctx, 10*every, func() (err error) {
		if r.Handover, err = handover(w.Intervals(), old); err != nil {
			return err
		}
		if n := answered(w.Requests(r.To)); n < servedFor {
			return fmt.Errorf("%s answered %d of %d requests", r.New, n, servedFor)
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	now := time.Now()
	if err := w.decided(ctx, now, servedFor); err != nil {
		return r, err
	}
	r.Gap = netlab.Outage(w.Requests(killed.Add(-time.Second)), killed, now)
	since := w.Requests(r.To)
	r.After, r.Details = Count{len(since), len(since) - answered(since)}, firstFailures(since, r.To)
	return r, nil
}

func answered(reqs []netlab.Request) (n int) {
	for _, r := range reqs {
		if r.OK() {
			n++
		}
	}
	return n
}

// Restore starts the killed node and waits until everything is well.
func (s *Study) Restore(ctx context.Context, node string) error {
	if err := s.Cluster.Start(ctx, s.Cluster.Node(node)); err != nil {
		return err
	}
	return s.WaitReady(ctx)
}

// Lines describes what was seen.
func (r Kill) Lines() []string {
	word := "within"
	if r.Gap > gapTarget {
		word = "MISSES"
	}
	lines := []string{
		fmt.Sprintf("the address went from %s to %s", r.Old, r.New),
		fmt.Sprintf("no request was answered for %s: %s the target of %.0f s", failover.Figure(r.Gap),
			word, gapTarget.Seconds()),
		fmt.Sprintf("of the requests begun since it answers there, %s", r.After),
	}
	if r.Local {
		lines = append(lines,
			"a pod died with the node: until Kubernetes counts the node as lost, proxies send it its share")
	}
	for _, d := range r.Details {
		lines = append(lines, "a failed one began at the hand-over "+d)
	}
	return lines
}

// Judge is an error if the address does not answer elsewhere, or if requests failed then that no
// dead pod explains.
func (r Kill) Judge() error {
	if r.New == "" || r.New == r.Old {
		return fmt.Errorf("the address did not leave %s", r.Old)
	}
	if !r.Local && r.After.Failed > 0 {
		return fmt.Errorf("requests failed that began after the hand-over, though no pod died with the "+
			"node: %s", r.After)
	}
	return nil
}
