package agent

import (
	"context"
	"errors"
	"net/netip"

	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/vip"
)

// execute carries one action out. What touches the kernel is done at once and answered;
// what waits for the network answers later through in.
func (l *loop) execute(ctx context.Context, a election.Action) election.Event {
	switch a.Kind {
	case election.Own:
		return l.own(a)
	case election.Disown:
		return l.disown(a)
	case election.Defend:
		l.defend(a)
	case election.Probe:
		l.later(ctx, func() election.Event { return l.probe(ctx, a) })
	default:
		l.later(ctx, func() election.Event { return l.lease.Do(ctx, a) })
	}
	return nil
}

func (l *loop) later(ctx context.Context, do func() election.Event) {
	l.requests.Go(func() {
		ev := do()
		select {
		case l.in <- ev:
		case <-ctx.Done():
		}
	})
}

// own puts the addresses on the link or refreshes them, then announces them.
func (l *loop) own(a election.Action) election.Event {
	ref := l.network.link()
	err := l.owner.Update(ref, a.Deadline)
	if errors.Is(err, vip.ErrDeadline) { // nothing is on the link, so the next success begins anew
		l.hush()
		l.requests.Go(l.owner.DestroySockets)
	}
	if err != nil {
		l.log.Warn("cannot own the address", "vip", vips(l.cfg.VIPs), "link", ref.Name, "reason", err)
		return election.Owned{Seq: a.Seq, Expired: errors.Is(err, vip.ErrDeadline)}
	}
	l.fence.Store(int64(a.Deadline))
	if l.ownAt.Load() == 0 {
		l.ownAt.Store(int64(l.now()))
		l.announce.Start(l.mayAnnounce)
	}
	return election.Owned{Seq: a.Seq, OK: true}
}

// mayAnnounce is asked before every frame: the fence in time, not a memory of having won (E4).
func (l *loop) mayAnnounce() bool { return int64(l.now()) < l.fence.Load() }

// disown stops announcing and deletes the addresses, in this order. The destruction of connections goes
// on beside: with many of them the release would wait for most of a second.
func (l *loop) disown(a election.Action) election.Event {
	l.hush()
	err := l.owner.Delete()
	if err != nil {
		l.log.Error("cannot confirm that the address is gone", "vip", vips(l.cfg.VIPs), "reason", err)
	}
	l.requests.Go(l.owner.DestroySockets)
	if a.Reason == election.ReasonFenceExpired {
		l.metrics.FenceExpired()
	}
	return election.Disowned{Seq: a.Seq, Confirmed: err == nil}
}

// hush ends the announcement: when it returns no frame leaves any more.
func (l *loop) hush() {
	l.fence.Store(0)
	l.ownAt.Store(0)
	l.announce.Stop()
}

func (l *loop) defend(a election.Action) {
	l.log.Warn("another machine claims the address; defending it", "vip", vips(l.cfg.VIPs), "reason", "claimed by "+a.MAC)
	for _, addr := range l.cfg.VIPs {
		l.announce.Defend(addr)
	}
}

// probe asks the network whether anybody answers for the addresses. A probe that cannot
// be sent proves nothing and stops nothing: the lease was waited for.
func (l *loop) probe(ctx context.Context, a election.Action) election.Event {
	found, err := l.listen.Probe(ctx, a.Deadline-l.now())
	if err != nil {
		l.log.Warn("cannot probe for the address", "reason", err)
	}
	answer := election.Probed{}
	for addr, mac := range found {
		l.log.Warn("somebody answers for the address", "vip", addr, "reason", "answered by "+mac.String())
		if answer.MAC == "" || election.ContainsMAC(a.MAC, mac.String()) { // the last holder's counts for both families
			answer.MAC = mac.String()
		}
	}
	return answer
}

func vips(list []netip.Addr) string {
	text := ""
	for i, a := range list {
		if i > 0 {
			text += ","
		}
		text += a.String()
	}
	return text
}
