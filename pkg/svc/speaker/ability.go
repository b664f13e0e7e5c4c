package speaker

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/vip"
)

const (
	// firstRetry is the pause after a first failure, doubled by each further one up to lastRetry.
	firstRetry, lastRetry = time.Second, 30 * time.Second
	// firstHold is for how long the others are told that this node cannot carry an address that is no longer its
	// own, doubled by each further failure up to lastHold. After that it may have the address again, and fail again.
	firstHold, lastHold = 5 * time.Minute, time.Hour
	// tellAfter is for how long what concerns all addresses must fail before the others are told: then they
	// take the addresses that this node has.
	tellAfter = 3 * time.Second
	// mostFaults is how many addresses can fail before the node counts as one that can carry none.
	mostFaults = 64
)

// fault is what failed last, and when to try again.
type fault struct {
	reason string
	since  time.Duration
	again  time.Duration
	tries  int
	hold   time.Duration
	until  time.Duration // the others are told until then; longer while it fails
}

// failed returns the fault after one more failure.
func (f *fault) failed(reason string, now time.Duration) *fault {
	next := fault{reason: reason, since: now}
	if f != nil {
		next = *f
		next.reason = reason
	}
	if f == nil || now >= f.until {
		next.hold = min(max(2*next.hold, firstHold), lastHold)
	}
	next.again = now + min(firstRetry<<min(next.tries, 16), lastRetry)
	next.until = now + next.hold
	next.tries++
	return &next
}

// abilities is what this node cannot do at present: with all addresses, by what fails, and with single ones. It is
// pure: failures and instants go in.
type abilities struct {
	host   map[string]*fault
	single map[netip.Addr]*fault
}

func newAbilities() abilities {
	return abilities{host: map[string]*fault{}, single: map[netip.Addr]*fault{}}
}

// hostFailed notes that something failed that all addresses need, and hostWorks that it does not.
func (a *abilities) hostFailed(what string, err error, now time.Duration) {
	a.host[what] = a.host[what].failed(err.Error(), now)
}

func (a *abilities) hostWorks(what string) { delete(a.host, what) }

// failed notes that this node could not have an address, and works that it has it.
func (a *abilities) failed(addr netip.Addr, err error, now time.Duration) {
	a.single[addr] = a.single[addr].failed(err.Error(), now)
}

// areNew reports whether one of those failures is that of an address which did not fail before.
func (a *abilities) areNew(failures []*vip.AddressError) bool {
	return slices.ContainsFunc(failures, func(f *vip.AddressError) bool { return a.single[f.Address.VIP] == nil })
}

func (a *abilities) works(addr netip.Addr) {
	if len(a.single) > 0 {
		delete(a.single, addr)
	}
}

// waits reports whether an address that failed is not to be tried yet.
func (a *abilities) waits(addr netip.Addr, now time.Duration) bool {
	f := a.single[addr]
	return f != nil && now < f.again
}

// hostWaits is the same for what all addresses need.
func (a *abilities) hostWaits(what string, now time.Duration) bool {
	f := a.host[what]
	return f != nil && now < f.again
}

// next returns when something of what fails is to be tried again, or to be told; 0: nothing fails. Of single
// addresses, those count that are this node's by decision.
func (a *abilities) next(now time.Duration, ours func(netip.Addr) bool) (next time.Duration) {
	sooner := func(at time.Duration) {
		if next == 0 || at < next {
			next = at
		}
	}
	for _, f := range a.host {
		sooner(f.again)
		if tell := f.since + tellAfter; tell > now {
			sooner(tell)
		}
	}
	for addr, f := range a.single {
		if ours(addr) {
			sooner(f.again)
		} else if f.until > now {
			sooner(f.until)
		}
	}
	return next
}

// told returns what the others are to know: why this node can carry no address, and why not single ones.
func (a *abilities) told(now time.Duration, ours func(netip.Addr) bool) (cannot string, failed map[netip.Addr]string) {
	for _, what := range slices.Sorted(maps.Keys(a.host)) {
		if f := a.host[what]; now-f.since >= tellAfter {
			return f.reason, nil
		}
	}
	for addr, f := range a.single {
		if f.isOver(now, ours(addr)) {
			continue
		}
		if failed == nil {
			failed = map[netip.Addr]string{}
		}
		failed[addr] = f.reason
	}
	if len(failed) > mostFaults {
		first := slices.SortedFunc(maps.Keys(failed), netip.Addr.Compare)[0]
		return fmt.Sprintf("%d addresses fail, among them %s: %s", len(failed), first, failed[first]), nil
	}
	return "", failed
}

// isOver reports whether a single address may be chosen for this node again; it is not while it is this node's.
func (f *fault) isOver(now time.Duration, ours bool) bool { return now >= f.until && !ours }

// forget drops what has been over for so long that a next failure is a first one.
func (a *abilities) forget(now time.Duration, ours func(netip.Addr) bool) {
	maps.DeleteFunc(a.single, func(addr netip.Addr, f *fault) bool { return f.isOver(now-lastHold, ours(addr)) })
}

// problem names what fails, for the page of this agent.
func (a *abilities) problem(now time.Duration, ours func(netip.Addr) bool) string {
	var all []string
	for _, f := range a.host {
		all = append(all, f.reason)
	}
	for addr, f := range a.single {
		if !f.isOver(now, ours(addr)) {
			all = append(all, f.reason)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if more := len(all) - mostFaults; more > 0 {
		all = append(all[:mostFaults], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, "; ")
}

func (a *abilities) fine() bool { return len(a.host) == 0 && len(a.single) == 0 }
