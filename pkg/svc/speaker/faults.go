package speaker

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/vip"
)

// retries are the pauses before what failed is tried again.
var retries = backoff.Backoff{Min: time.Second, Max: 30 * time.Second}

const (
	// minHold is how long this node reports to others that it cannot carry an address that it
	// is no longer to have. A failure after the hold has ended doubles it, up to maxHold.
	minHold, maxHold = 5 * time.Minute, time.Hour
	// publishAfter is how long a fault that concerns all addresses must last before other nodes
	// have the report: then they take over this node's addresses.
	publishAfter = 3 * time.Second
	// maxFaults is the number of addresses that may fail before this node counts as one that
	// can carry none.
	maxFaults = 64
)

// fault is the last failure of an address, or of something that all addresses need.
type fault struct {
	reason   string
	since    time.Duration
	failures int // in a row
	retryAt  time.Duration
	hold     time.Duration
	holdEnd  time.Duration // reported to other nodes until then, longer while it fails
}

// again returns the fault after one more failure. f may be nil.
func (f *fault) again(reason string, now time.Duration) *fault {
	next := fault{since: now}
	if f != nil {
		next = *f
	}
	if f == nil || now >= f.holdEnd {
		next.hold = min(max(2*next.hold, minHold), maxHold)
	}
	next.reason = reason
	next.failures++
	next.retryAt = now + retries.After(next.failures)
	next.holdEnd = now + next.hold
	return &next
}

// faults are what this node cannot do at present. It is pure: failures and instants go in.
type faults struct {
	host    map[string]*fault // by what fails: all addresses need it
	address map[netip.Addr]*fault
	// chosen are the addresses that this node is to have by placement and does not have yet. Their
	// faults last until they work.
	chosen map[netip.Addr]bool
}

func newFaults() faults {
	return faults{host: map[string]*fault{}, address: map[netip.Addr]*fault{}}
}

// failHost records a failure of what all addresses need, and returns when to try again.
func (f *faults) failHost(what string, err error, now time.Duration) (retryAt time.Duration) {
	f.host[what] = f.host[what].again(err.Error(), now)
	return f.host[what].retryAt
}

func (f *faults) clearHost(what string) { delete(f.host, what) }

// fail records that this node could not put an address on its link.
func (f *faults) fail(addr netip.Addr, err error, now time.Duration) {
	f.address[addr] = f.address[addr].again(err.Error(), now)
}

func (f *faults) clear(addr netip.Addr) { delete(f.address, addr) }

func (f *faults) none() bool { return len(f.host) == 0 && len(f.address) == 0 }

// anyNew reports whether one of the failures is that of an address without a fault.
func (f *faults) anyNew(failures []*vip.AddressError) bool {
	return slices.ContainsFunc(failures, func(e *vip.AddressError) bool {
		return f.address[e.Address.Addr] == nil
	})
}

// backingOff reports whether it is too early to try an address again.
func (f *faults) backingOff(addr netip.Addr, now time.Duration) bool {
	one := f.address[addr]
	return one != nil && now < one.retryAt
}

// hostBackingOff is backingOff for what all addresses need.
func (f *faults) hostBackingOff(what string, now time.Duration) bool {
	one := f.host[what]
	return one != nil && now < one.retryAt
}

// over reports whether the report that an address fails here has ended.
func (f *faults) over(addr netip.Addr, now time.Duration) bool {
	return now >= f.address[addr].holdEnd && !f.chosen[addr]
}

// nextEvent returns when to retry something or to update the report to other nodes; 0 means never.
func (f *faults) nextEvent(now time.Duration) (next time.Duration) {
	sooner := func(at time.Duration) {
		if next == 0 || at < next {
			next = at
		}
	}
	for _, one := range f.host {
		sooner(one.retryAt)
		if at := one.since + publishAfter; at > now {
			sooner(at)
		}
	}
	for addr, one := range f.address {
		if f.chosen[addr] {
			sooner(one.retryAt)
		} else if one.holdEnd > now {
			sooner(one.holdEnd)
		}
	}
	return next
}

// published returns what the node's Lease reports to other nodes: why this node can carry no
// address, or why it cannot carry single ones.
func (f *faults) published(now time.Duration) (unavailable string, failed map[netip.Addr]string) {
	for _, what := range slices.Sorted(maps.Keys(f.host)) {
		if one := f.host[what]; now-one.since >= publishAfter {
			return one.reason, nil
		}
	}
	for addr, one := range f.address {
		if f.over(addr, now) {
			continue
		}
		if failed == nil {
			failed = map[netip.Addr]string{}
		}
		failed[addr] = one.reason
	}
	if len(failed) > maxFaults {
		first := sortedAddrs(failed)[0]
		return fmt.Sprintf("%d addresses fail, among them %s: %s",
			len(failed), first, failed[first]), nil
	}
	return "", failed
}

// expire deletes faults whose hold ended maxHold ago. A later failure counts as the first.
func (f *faults) expire(now time.Duration) {
	maps.DeleteFunc(f.address, func(addr netip.Addr, _ *fault) bool {
		return f.over(addr, now-maxHold)
	})
}

// summary returns the reasons of all faults, for reports, or "".
func (f *faults) summary(now time.Duration) string {
	var reasons []string
	for _, one := range f.host {
		reasons = append(reasons, one.reason)
	}
	for addr, one := range f.address {
		if !f.over(addr, now) {
			reasons = append(reasons, one.reason)
		}
	}
	slices.Sort(reasons)
	reasons = slices.Compact(reasons)
	if more := len(reasons) - maxFaults; more > 0 {
		reasons = append(reasons[:maxFaults], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(reasons, "; ")
}
