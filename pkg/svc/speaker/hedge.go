package speaker

import (
	"context"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
)

const (
	// renewTimeout limits one renewal.
	renewTimeout = 2 * time.Second
	// hedgeAfter is how long an API server may be silent before another one is asked as well.
	hedgeAfter = 500 * time.Millisecond
	// maxAttempts is the number of attempts that fit into renewTimeout.
	maxAttempts = int(renewTimeout/hedgeAfter) + 1
)

// attempt is the outcome of one request for a renewal.
type attempt struct {
	sent    time.Duration // since boot
	written *coordinationv1.Lease
	err     error
}

// hedge makes attempts, each at another API server while the earlier ones are unanswered, and
// returns the first that succeeds, or else the last. switchServer selects the next server. All
// attempts must carry one resourceVersion, so that at most one is written.
//
// When the node of etcd's leader dies, etcd loses requests for a second or two. A node that waited
// for an answer to one of them, and then for a second dead server, would renew so late that the
// failure detector sees an outage, after which the dead node gets its duration again (S2).
func hedge(ctx context.Context, switchServer func(), try func(context.Context) attempt) attempt {
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	answers := make(chan attempt, maxAttempts)
	start := func() { group.Go(func() { answers <- try(ctx) }) }
	start()
	tick := time.NewTicker(hedgeAfter)
	defer tick.Stop()
	for started, open := 1, 1; ; {
		select {
		case a := <-answers:
			if open--; a.err == nil || open == 0 {
				return a
			}
		case <-tick.C:
			if started < maxAttempts {
				started, open = started+1, open+1
				switchServer()
				start()
			}
		}
	}
}
