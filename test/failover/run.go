package failover

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/wait"
)

// giveUp is when a client is no longer waited for. What is recorded then is that long.
const giveUp = 30 * time.Second

const (
	// connectionsAskEvery spaces the requests on each long connection.
	connectionsAskEvery = 200 * time.Millisecond
	// slowRequest is how long the requests on every second of them take.
	slowRequest = 20 * time.Millisecond
)

// Pace says how long to watch.
type Pace struct {
	// After is how long to watch after the address answers again.
	After time.Duration
	// Quick ends every fault as soon as the address answers again: Fault.UndoAfter and
	// Fault.Watch are cut short.
	Quick bool
}

// Result is what one fault did.
type Result struct {
	Victim     string
	Start, End time.Time // of what Outage and Holding cover
	// Back means that another node than the victim served the client in the end, or that the victim
	// did, after a fault with Stays.
	Back bool
	// Outage is the longest gap between the starts of successful requests.
	Outage time.Duration
	// Failed is how many requests failed, and FailedFor the sum of the times in which none
	// succeeded, each from the first that failed.
	Failed    int
	FailedFor time.Duration
	Broken    int // how many of the fault's Connections broke
	Holding   netlab.HolderReport
}

// Late reports whether the address was away for longer than the fault's target.
func (r Result) Late(f Fault) bool {
	if f.Sum {
		return r.FailedFor > f.Target
	}
	return r.Outage > f.Target
}

// Missed reports whether the result is worse than kvip's must be.
func (r Result) Missed(f Fault) bool {
	lost := f.Lossless && (r.Failed > 0 || r.Broken > 0)
	return !r.Back || r.Holding.TwoHolders > 0 || lost || r.Late(f)
}

// Run breaks the node, waits until another one serves the client steadily, and measures. It
// does not mend the node.
func Run(ctx context.Context, w *Watch, f Fault, victim *cluster.Node, p Pace) (Result, error) {
	if f.Prepare != nil {
		if err := f.Prepare(ctx, w.c, victim); err != nil {
			return Result{}, fmt.Errorf("prepare %s on %s: %w", f.Name, victim.Name, err)
		}
	}
	if f.Connections == 0 || p.Quick {
		return inject(ctx, w, f, victim, p)
	}
	conf, err := w.c.TLS()
	if err != nil {
		return Result{}, err
	}
	long, err := netlab.StartConnections(netlab.ConnectionsConfig{
		Host: w.c.Client, Target: netip.AddrPortFrom(w.VIP, cluster.Port), TLS: conf,
		Count: f.Connections, Every: connectionsAskEvery, Slow: slowRequest,
	})
	if err != nil {
		return Result{}, err
	}
	defer long.Stop()
	r, err := inject(ctx, w, f, victim, p)
	broken, _, _ := long.Result()
	r.Broken = len(broken)
	return r, err
}

func inject(ctx context.Context, w *Watch, f Fault, victim *cluster.Node, p Pace) (Result, error) {
	r := Result{Victim: victim.Name, Start: time.Now()}
	if err := f.Break(w.c, victim); err != nil {
		return r, fmt.Errorf("%s on %s: %w", f.Name, victim.Name, err)
	}
	undone := f.Undo == nil
	var served time.Time
	for {
		now := time.Now()
		by := w.Server()
		if served.IsZero() && by != "" && (f.Stays || by != victim.Name) {
			served, r.Back = now, true
		}
		over := now.Sub(r.Start) > giveUp
		if !undone && (over || p.due(r.Back, now.Sub(r.Start), f.UndoAfter)) {
			if err := f.Undo(w.c, victim); err != nil {
				return r, fmt.Errorf("end %s on %s: %w", f.Name, victim.Name, err)
			}
			undone, served = true, now // watch what the end of it does
		}
		if over || undone && r.Back && now.Sub(served) >= p.After &&
			p.due(r.Back, now.Sub(r.Start), f.Watch) {
			r.End = now
			r.Back = r.Back && (!f.Stays || by == victim.Name)
			break
		}
		if err := wait.Pause(ctx, lookEvery); err != nil {
			return r, err
		}
	}
	if err := wait.Pause(ctx, askTimeout); err != nil { // requests of the window may be open
		return r, err
	}
	r.Outage, r.Holding = w.Outage(r.Start, r.End), w.Window(r.Start, r.End)
	r.Failed, r.FailedFor = netlab.Failures(w.Requests(r.Start), r.End)
	return r, nil
}

// due reports whether a time has come, or need not be waited for.
func (p Pace) due(back bool, passed, least time.Duration) bool {
	return passed >= least || p.Quick && back
}

// Figure shows a duration as people read it: "12 ms", "1.30 s".
func Figure(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
