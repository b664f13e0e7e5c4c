package anycast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/bgp/advertiser"
	"github.com/kvip/kvip/pkg/bgp/policy"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/netaddr"
	"github.com/kvip/kvip/pkg/vip"
)

const (
	// stampInterval is how often the loop makes progress at least (B6).
	stampInterval = 500 * time.Millisecond
	// flushInterval is how often the loop asks whether a withdrawal was acknowledged.
	flushInterval = 5 * time.Millisecond
	// beyondHoldTime is how much longer than a route the address may live: a router uses the route of
	// a frozen agent for the hold time, and the address must not end before (B7).
	beyondHoldTime = 2 * time.Second
)

// loop passes events to the machine and carries out its actions, until the machine exits.
func (a *Agent) loop(ctx context.Context) {
	stopping := ctx.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var ev Event = Tick{}
		select {
		case <-stopping:
			stopping, ev = nil, Shutdown{}
		case ev = <-a.events:
		case changed := <-a.watcher.Events():
			if !a.lostAddress(changed) {
				continue
			}
			ev = Missing{}
		case <-timer.C:
			if a.machine.awaitsFlush() && a.cfg.Advertiser.Flushed(advertiser.ControlPlane) {
				ev = Flushed{}
			}
		}
		if a.step(ev) {
			return
		}
		timer.Reset(a.pause())
	}
}

// pause returns the time until the loop looks again.
func (a *Agent) pause() time.Duration {
	if a.machine.awaitsFlush() {
		return flushInterval
	}
	return min(max(0, a.machine.Next()-boottime.Now()), stampInterval)
}

// lostAddress reports whether an event may mean that one of the addresses is gone.
func (a *Agent) lostAddress(ev link.Event) bool {
	return ev.Kind == link.Resync ||
		ev.Kind == link.AddrRemoved && slices.Contains(a.cfg.Settings.VIPs, ev.Addr)
}

// step passes one event on and carries out what follows. It reports whether the machine has exited.
func (a *Agent) step(ev Event) (exited bool) {
	a.machine.SetHoldTime(time.Duration(a.holdTime.Load()))
	a.confirmation.turn(boottime.Now())
	if h, ok := ev.(observed); ok {
		a.confirmation.observed, ev = h.at, h.Health
	}
	events := []Event{ev}
	for len(events) > 0 {
		before := a.machine.Status()
		actions := a.machine.Step(boottime.Now(), events[0])
		events = events[1:]
		for _, action := range actions {
			switch action {
			case Write:
				events = append(events, Written{OK: a.write()})
			case Announce, AnnounceWorse, Withdraw:
				a.route = action
				a.announce()
			case Delete:
				events = append(events, Deleted{OK: a.delete()})
			case Close:
				a.closed()
			case Exit:
				exited = true
			}
		}
		a.record(before, a.machine.Status())
	}
	a.confirmation.turn(boottime.Now()) // a write may have lasted for a pause
	if a.confirmation.given() {
		a.loopHealth.Heartbeat()
	}
	return exited
}

// announce announces those addresses that are on the loopback interface.
func (a *Agent) announce() {
	var list []policy.Address
	if a.route != Withdraw {
		for _, addr := range a.there {
			list = append(list, policy.Address{
				Addr: addr, ControlPlane: true, Worse: a.route == AnnounceWorse,
			})
		}
	}
	a.cfg.Advertiser.SetAddresses(advertiser.ControlPlane, list)
}

// write writes the addresses to the loopback interface, or extends their lifetimes, and reads them
// back (B3, B7). It reports whether one is there for long enough to try again. An address that
// cannot be written is not announced, and holds up no other.
func (a *Agent) write() bool {
	lo, noLink := link.Loopback()
	err := noLink
	if err == nil {
		hold := time.Duration(a.holdTime.Load())
		lifetime := hold + beyondHoldTime + vip.KernelLag + time.Second
		err = a.owner.Update(lo, boottime.Now()+lifetime)
	}
	before := a.there
	list, read := a.owner.Present()
	now := boottime.Now()
	switch {
	case read == nil && noLink == nil:
		a.there, a.thereUntil = present(list, a.cfg.Settings.VIPs, lo, now)
	case now+2*refreshInterval >= a.thereUntil:
		a.there = nil
	default: // the kernel is busy: what was read back last counts for its lifetime
	}
	a.reportWrite(errors.Join(err, read))
	if a.route != "" && !slices.Equal(a.there, before) {
		a.announce()
	}
	return len(a.there) > 0
}

// present returns which of the addresses are on a link for some time, and until when all of them
// are.
func present(list []vip.Marked, addresses []netip.Addr, on link.Link, now time.Duration,
) (there []netip.Addr, until time.Duration) {
	until = forever
	for _, addr := range addresses {
		i := slices.IndexFunc(list, func(m vip.Marked) bool {
			return m.Addr == addr && m.LinkIndex == on.Index && m.ValidLft > 2*refreshInterval
		})
		if i >= 0 {
			left := min(list[i].ValidLft, time.Hour) // it may be vip.Forever
			there, until = append(there, addr), min(until, now+left)
		}
	}
	return there, until
}

// reportWrite logs why an address cannot be written, once for each reason.
func (a *Agent) reportWrite(err error) {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if problem != "" && problem != a.problem {
		a.cfg.Log.Warn("cannot write the VIP; trying again", "vip", a.vips, "link", "lo", "err", err)
	}
	a.problem = problem
}

// delete deletes the addresses, and destroys connections of this host to them: local clients then
// use the address of another node at once.
func (a *Agent) delete() bool {
	err := a.owner.Delete()
	if err != nil {
		a.cfg.Log.Warn("cannot delete the VIP; trying again", "vip", a.vips, "link", "lo", "err", err)
		return false
	}
	a.there = nil
	a.owner.DestroySockets()
	return true
}

// record records what one event changed.
func (a *Agent) record(before, now Status) {
	a.status.Store(&now)
	a.cfg.Metrics.Announcement(string(now.State))
	a.report(now)
	if before.State == now.State && before.Reason == now.Reason {
		return
	}
	level := slog.LevelInfo
	if now.Reason == ReasonDead || now.Reason == ReasonNoAddress {
		level = slog.LevelWarn
	}
	a.cfg.Log.Log(context.Background(), level, "announcement changed", "vip", a.vips, "state",
		now.State, "reason", fmt.Sprintf("%s: %s", now.Reason, now.Reason.Sentence()))
}

// report reports whether this node serves the addresses.
func (a *Agent) report(now Status) {
	missing := slices.DeleteFunc(slices.Clone(a.cfg.Settings.VIPs), func(addr netip.Addr) bool {
		return slices.Contains(a.there, addr)
	})
	switch now.State {
	case Announcing:
		if len(missing) > 0 {
			a.loopHealth.Impaired(fmt.Sprintf("%s cannot be written to lo: %s",
				netaddr.Join(missing, ", "), a.problem))
			return
		}
		a.loopHealth.OK()
	case Worse:
		a.loopHealth.Impaired(now.Reason.Sentence())
	default:
		detail := ""
		if _, reason := a.probeHealth.Status(); reason != "" {
			detail = " (" + reason + ")"
		}
		a.loopHealth.Stopped(fmt.Sprintf("%s: %s%s", now.Reason, now.Reason.Sentence(), detail))
	}
}
