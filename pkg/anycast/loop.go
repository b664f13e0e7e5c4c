package anycast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/bgp/advertiser"
	"github.com/kvip/kvip/pkg/bgp/policy"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/link"
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
			if a.machine.awaitsFlush() && a.cfg.Advertiser.Flushed() {
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
	events := []Event{ev}
	for len(events) > 0 {
		before := a.machine.Status()
		actions := a.machine.Step(boottime.Now(), events[0])
		events = events[1:]
		for _, action := range actions {
			switch action {
			case Write:
				events = append(events, Written{OK: a.write()})
			case Announce, AnnounceWorse:
				a.announce(action == AnnounceWorse)
			case Withdraw:
				a.cfg.Advertiser.SetAddresses(advertiser.ControlPlane, nil)
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
	a.loopHealth.Heartbeat()
	return exited
}

// announce announces the addresses.
func (a *Agent) announce(worse bool) {
	list := make([]policy.Address, len(a.cfg.Settings.VIPs))
	for i, addr := range a.cfg.Settings.VIPs {
		list[i] = policy.Address{Addr: addr, ControlPlane: true, Worse: worse}
	}
	a.cfg.Advertiser.SetAddresses(advertiser.ControlPlane, list)
}

// write writes the addresses to the loopback interface, or extends their lifetimes, and reads them
// back (B3, B7). It reports whether they are there for long enough to try again.
func (a *Agent) write() bool {
	lo, err := link.Loopback()
	if err == nil {
		hold := time.Duration(a.holdTime.Load())
		lifetime := hold + beyondHoldTime + vip.KernelLag + time.Second
		err = a.owner.Update(lo, boottime.Now()+lifetime)
	}
	present, read := a.present(lo)
	now := boottime.Now()
	switch {
	case read != nil: // the kernel is busy: what was read back last counts for its lifetime
		present = now+2*refreshInterval < a.thereUntil
	case present && err == nil:
		a.thereUntil = now + time.Duration(a.holdTime.Load())
	}
	if err = errors.Join(err, read); err != nil {
		a.cfg.Log.Warn("cannot write the VIP; trying again", "vip", a.vips, "link", "lo", "err", err)
	}
	return present
}

// present reports whether each of the addresses is on the link for some time.
func (a *Agent) present(l link.Link) (bool, error) {
	list, err := a.owner.Present()
	if err != nil {
		return false, err
	}
	for _, addr := range a.cfg.Settings.VIPs {
		if !slices.ContainsFunc(list, func(m vip.Marked) bool {
			return m.Addr == addr && m.LinkIndex == l.Index && m.ValidLft > 2*refreshInterval
		}) {
			return false, nil
		}
	}
	return true, nil
}

// delete deletes the addresses, and destroys connections of this host to them: local clients then
// use the address of another node at once.
func (a *Agent) delete() bool {
	err := a.owner.Delete()
	if err != nil {
		a.cfg.Log.Warn("cannot delete the VIP; trying again", "vip", a.vips, "link", "lo", "err", err)
		return false
	}
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
	switch now.State {
	case Announcing:
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
