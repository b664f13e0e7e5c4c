package casestudy

import (
	"errors"
	"fmt"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
)

// Handover is when a client's packets for the address began to go to another node: between From,
// the last look that saw the old node, and To, the first that saw the new one.
type Handover struct {
	Old, New string
	From, To time.Time
}

// handover finds the hand-over away from a node in what a Path saw. It is an error if there was
// none, or if the address did not stay with the new node.
func handover(seen []Interval, old string) (h Handover, err error) {
	h.Old = old
	for _, s := range seen {
		switch {
		case s.Node == "" || s.Node == h.New:
		case h.New != "":
			return h, fmt.Errorf("the address went on from %s to %s %.3f s later", h.New, s.Node,
				s.From.Sub(h.To).Seconds())
		case s.Node == old:
			h.From = s.To
		default:
			h.New, h.To = s.Node, s.From
		}
	}
	switch {
	case h.From.IsZero():
		return h, fmt.Errorf("the address was not on %s to begin with", old)
	case h.New == "":
		return h, fmt.Errorf("the address did not leave %s", old)
	}
	return h, nil
}

// Count is how many requests there were and how many of them failed.
type Count struct{ Requests, Failed int }

// String is as 3 of 500 failed.
func (c Count) String() string { return fmt.Sprintf("%d of %d failed", c.Failed, c.Requests) }

func (c *Count) add(requests, failed int) {
	c.Requests += requests
	c.Failed += failed
}

// Tally counts requests by when they were: over before the hand-over, open at that instant, or
// begun after it. Those that were open may be reset by the new node, which knows nothing of their
// connections (S7), and are counted apart for that.
type Tally struct{ Before, Open, After Count }

// instant returns where something belongs that lasted from one instant to another.
func (t *Tally) at(h Handover, start, end time.Time) *Count {
	switch {
	case end.Before(h.From):
		return &t.Before
	case start.Before(h.To):
		return &t.Open
	}
	return &t.After
}

// tally counts the requests of a Client.
func (h Handover) tally(reqs []netlab.Request) (t Tally) {
	for _, r := range reqs {
		failed := 0
		if !r.OK() {
			failed = 1
		}
		t.at(h, r.Start, r.Start.Add(r.Took)).add(1, failed)
	}
	return t
}

// judge is an error if a request failed that was not open, or if there were too few to tell.
func (t Tally) judge() error {
	var err error
	if t.Before.Failed > 0 {
		err = fmt.Errorf("requests failed before the hand-over: %s", t.Before)
	}
	if t.After.Failed > 0 {
		err = errors.Join(err, fmt.Errorf("requests failed that began after the hand-over: %s", t.After))
	}
	if t.Before.Requests == 0 || t.After.Requests == 0 {
		err = errors.Join(err,
			fmt.Errorf("too little was seen: %d requests before the hand-over and %d after it",
				t.Before.Requests, t.After.Requests))
	}
	return err
}

// firstFailures describes up to three failed requests, for people who look for the cause.
func firstFailures(reqs []netlab.Request, since time.Time) (lines []string) {
	for _, r := range reqs {
		if !r.OK() && len(lines) < 3 {
			lines = append(lines,
				fmt.Sprintf("%+.3f s: %s after %.3f s", r.Start.Sub(since).Seconds(), r.Result,
					r.Took.Seconds()))
		}
	}
	return lines
}
