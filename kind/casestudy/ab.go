package casestudy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kvip/kvip/test/lab/kindcluster"
)

const (
	abTotal   = 50000 // requests of a load, at least
	abClients = 100   // instant a time
	// abSlice is how many requests one ab makes. ab does not tell when a request began that failed,
	// so it runs again and again, and the time of the whole run says what the request may have met.
	abSlice = 500
	// abLanes run beside each other with a part of the clients each, so that the address does not
	// move just when there is no load: between two runs the machine has time for it.
	abLanes = 2
	// abPatience is how long ab waits while nothing happens, in seconds.
	abPatience = "5"
)

// Slice is one run of ab.
type Slice struct {
	Start, End time.Time
	Count
	Hung int   // of those that failed: neither answered nor reset when ab gave up
	Err  error // what ab said was not understood
}

// Load is what all runs of ab saw.
type Load []Slice

// startLoad runs ab until it has made all its requests and enough is closed. Progress gets the
// number of requests made after each run.
func startLoad(ctx context.Context, c *kindcluster.Cluster, target netip.AddrPort,
	enough <-chan struct{}, progress func(made int)) <-chan Load {
	var mu sync.Mutex
	var l Load
	made := 0
	add := func(s Slice) (more bool) {
		mu.Lock()
		defer mu.Unlock()
		l = append(l, s)
		made += s.Requests
		progress(made)
		return s.Err == nil && ctx.Err() == nil && (made < abTotal || !closed(enough))
	}
	var lanes sync.WaitGroup
	for range abLanes {
		lanes.Go(func() {
			for add(runAB(ctx, c, target)) {
			}
		})
	}
	result := make(chan Load, 1)
	go func() {
		lanes.Wait()
		result <- l
	}()
	return result
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// runAB runs ab once, with less right to the processor than what it puts under load: -r goes on
// after a broken connection, and -l takes answers of any length, which differ by the names of pods.
func runAB(ctx context.Context, c *kindcluster.Cluster, target netip.AddrPort) (s Slice) {
	cmd := c.OutsideCommand(ctx, "nice", "-n", "5", "ab", "-q", "-r", "-l", "-s", abPatience, "-n",
		strconv.Itoa(abSlice), "-c", strconv.Itoa(abClients/abLanes), "http://"+target.String()+"/")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	s.Start = time.Now()
	err := cmd.Run()
	s.End = time.Now()
	s.Count, s.Err = parseAB(out.String())
	switch {
	case s.Err != nil:
		s.Err = errors.Join(err, s.Err)
	case err != nil:
		s.Hung = s.Failed
	}
	return s
}

var (
	abDone    = regexp.MustCompile(`(?m)^Complete requests:\s+(\d+)$`)
	abFailed  = regexp.MustCompile(`(?m)^Failed requests:\s+(\d+)$`)
	abReasons = regexp.MustCompile(
		`(?m)^\s+\(Connect: (\d+), Receive: (\d+), Length: (\d+), Exceptions: (\d+)\)$`)
	abStatus = regexp.MustCompile(`(?m)^Non-2xx responses:\s+(\d+)$`)
	abGaveUp = regexp.MustCompile(`(?m)^Total of (\d+) requests completed$`)
)

// parseAB reads what ab says. Where it gave up, as when nothing happened on the connections that
// were left, the requests that it did not complete have failed; of the others it does not tell.
//
// ab counts a connection that broke under several reasons, so the failed requests of a report are
// those that did not connect and the largest of the others, not the sum that it prints.
func parseAB(text string) (c Count, err error) {
	if gave := abGaveUp.FindStringSubmatch(text); gave != nil {
		return Count{abSlice, abSlice - min(abSlice, number(gave[1]))}, nil
	}
	done, failed := abDone.FindStringSubmatch(text), abFailed.FindStringSubmatch(text)
	if done == nil || failed == nil {
		return c, fmt.Errorf("read ab's report: no complete or failed requests in it: %.500s",
			strings.Join(strings.Fields(text), " "))
	}
	c.Requests = number(done[1])
	if r := abReasons.FindStringSubmatch(text); r != nil {
		c.Failed = number(r[1]) + max(number(r[2]), number(r[3]), number(r[4]))
	} else {
		c.Failed = number(failed[1])
	}
	if s := abStatus.FindStringSubmatch(text); s != nil {
		c.Failed += number(s[1])
	}
	return c, nil
}

// number reads digits that an expression has found.
func number(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}

// total counts all runs.
func (l Load) total() (c Count) {
	for _, s := range l {
		c.add(s.Requests, s.Failed)
	}
	return c
}

// hung counts the requests that were neither answered nor reset.
func (l Load) hung() (n int) {
	for _, s := range l {
		n += s.Hung
	}
	return n
}

// rate is the number of requests a second over the whole time.
func (l Load) rate() float64 {
	if len(l) == 0 {
		return 0
	}
	first := slices.MinFunc(l, func(a, b Slice) int { return a.Start.Compare(b.Start) }).Start
	last := slices.MaxFunc(l, func(a, b Slice) int { return a.End.Compare(b.End) }).End
	return float64(l.total().Requests) / last.Sub(first).Seconds()
}

// tally counts the runs by when they were. Open are all requests of the runs that the hand-over
// fell into, though at most abClients of them were open at that instant.
func (l Load) tally(h Handover) (t Tally) {
	for _, s := range l {
		t.at(h, s.Start, s.End).add(s.Requests, s.Failed)
	}
	return t
}

// judge is an error if requests failed that the hand-over cannot have met.
func (l Load) judge(h Handover) error {
	t := l.tally(h)
	err := t.judge()
	if t.Open.Failed > abClients {
		err = errors.Join(err,
			fmt.Errorf("%d requests failed in the runs of ab that the hand-over fell into: at most %d "+
				"were open then", t.Open.Failed, abClients))
	}
	if n := l.total().Requests; n < abTotal {
		err = errors.Join(err, fmt.Errorf("ab made %d of %d requests", n, abTotal))
	}
	return errors.Join(err, l.failure())
}

// failure returns output of ab that could not be parsed.
func (l Load) failure() (err error) {
	for _, s := range l {
		err = errors.Join(err, s.Err)
	}
	return err
}
