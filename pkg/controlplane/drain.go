package controlplane

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/fence"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/quorum"
	"github.com/kvip/kvip/pkg/relay"
)

// This file has what a holder does that leaves while its API server serves, and what the next ones
// do for its connections (F11).

// moveDrain is how long connections are served after the addresses moved, while the agent runs.
const moveDrain = 10 * time.Minute

// drain is the service of connections after a tenure. It belongs to the loop.
type drain struct {
	active bool               // the addresses are served, and not answered for
	relays []net.HardwareAddr // of the holders since
}

// served is what changes of the kernel know of a drain.
type served struct {
	on    link.Link
	began time.Duration
}

// named has the connections that other agents name.
type named struct {
	received chan election.Received
	noting   atomic.Bool // a change of the kernel will take what was received
	lists    relay.Lists // only changes of the kernel use it
}

// silence stops answering for the addresses and announcing them at once. They are still served.
func (l *loop) silence(right time.Duration) {
	l.endAnswers(drain{active: true}, func() error { return l.fence.Silence(right) })
}

// drainConnections confirms that the addresses are not answered for, and names the connections to
// the other agents. If that fails it deletes the addresses.
func (l *loop) drainConnections(ctx context.Context, a election.Action) election.Event {
	l.served = served{on: l.links.link(), began: l.now()}
	err := l.fence.VerifyShut()
	if err == nil {
		err = l.checkOtherLinks()
	}
	var own []relay.Flow
	if err == nil {
		own, err = ownFlows(l.owner)
	}
	if err != nil {
		l.log.Warn("cannot serve the connections that there are; the address is removed",
			"vip", l.recorder.vips, "err", err)
		l.endRelay()
		return l.disown(ctx, a)
	}
	l.sendFlows(ctx, a.Message, own)
	return election.Disowned{Seq: a.Seq, Confirmed: true, Draining: true}
}

// checkOtherLinks returns an error if the host has another link in the subnet of an address.
func (l *loop) checkOtherLinks() error {
	host, err := l.addresses()
	if err != nil {
		return err
	}
	return checkOneLink(host, l.served.on.Index, l.vips)
}

// serve goes on serving connections until a deadline, and names them to the other agents.
func (l *loop) serve(ctx context.Context, a election.Action) election.Event {
	relays := parseMACs(a.MAC)
	err := l.keepServing(a.Deadline, relays)
	var own []relay.Flow
	if err == nil {
		own, err = ownFlows(l.owner)
	}
	if err != nil {
		l.log.Warn("cannot serve the connections that there are", "vip", l.recorder.vips, "err", err)
		return election.Served{Seq: a.Seq}
	}
	if l.now()-l.served.began >= fence.Linger { // packets come from relays alone
		l.endRelay()
	}
	l.sendFlows(ctx, a.Message, own)
	l.post(ctx, func() election.Event {
		l.drain.relays = relays
		return nil
	})
	return election.Served{Seq: a.Seq, OK: true, Connections: len(own)}
}

// keepServing keeps the addresses until a deadline, and serves packets from relays.
func (l *loop) keepServing(deadline time.Duration, relays []net.HardwareAddr) error {
	on := l.served.on
	if now := l.links.link(); !sameLink(now, on) {
		return fmt.Errorf("the link is %s now, and was %s", now.Name, on.Name)
	}
	if err := l.owner.Update(on, deadline); err != nil {
		return err
	}
	host, err := l.addresses()
	if err != nil {
		return err
	}
	if err := checkOneLink(host, on.Index, l.vips); err != nil {
		return err
	}
	if err := l.fence.SetRelays(relays, ownAddresses(on, host, l.vips)); err != nil {
		return err
	}
	return l.fence.Serve()
}

// announced ends the service of packets that are not relayed when a later holder has announced
// itself.
func (l *loop) announced(c arp.Conflict) {
	later := slices.ContainsFunc(l.drain.relays, func(m net.HardwareAddr) bool {
		return slices.Equal(m, c.MAC)
	})
	if !l.drain.active || !later {
		return
	}
	if err := l.fence.Announced(); err != nil {
		l.log.Debug("cannot end the service of packets that are not relayed", "err", err)
	}
}

// ownFlows returns the connections of this host.
func ownFlows(owner addressOwner) ([]relay.Flow, error) {
	connections, err := owner.Connections()
	flows := make([]relay.Flow, len(connections))
	for i, c := range connections {
		flows[i] = relay.Flow{VIP: c.Local.Addr(), Remote: c.Remote, Port: c.Local.Port()}
	}
	return flows, err
}

// sendFlows names connections of this host to all other agents.
func (l *loop) sendFlows(ctx context.Context, m quorum.Message, own []relay.Flow) {
	payloads := relay.Encode(l.links.link().MAC, own)
	l.post(ctx, func() election.Event {
		for _, p := range payloads {
			m.Payload = p
			l.messages.send("", m)
		}
		return nil
	})
}

// receiveFlows takes the connections that another agent names, and reports whether an event has
// such. It waits for nothing: what finds no place is named again within a second. A holder relays
// their packets from then on.
func (l *loop) receiveFlows(ev election.Event) bool {
	r, ok := ev.(election.Received)
	if !ok || r.Message.Kind != quorum.KindFlows {
		return false
	}
	select {
	case l.named.received <- r:
	default:
	}
	if !l.named.noting.CompareAndSwap(false, true) {
		return true
	}
	select {
	case l.kernel <- func() election.Event {
		l.noteFlows()
		if l.ownedSince.Load() != 0 {
			l.relayFlows(l.links.link())
		}
		return nil
	}:
	default:
		l.named.noting.Store(false)
	}
	return true
}

// noteFlows notes what other agents have named.
func (l *loop) noteFlows() {
	l.named.noting.Store(false)
	for range len(l.named.received) {
		r := <-l.named.received
		err := l.named.lists.Note(r.From, r.Message.Term.Number, r.Message.Payload, l.now())
		if err != nil {
			l.log.Debug("cannot use what an agent sends", "agent", r.From, "err", err)
		}
	}
}

// relayFlows relays packets of the connections that other agents have named lately, and stops when
// none has. It is called before the fence opens.
func (l *loop) relayFlows(on link.Link) {
	hosts := l.named.lists.Hosts(l.now())
	err := l.relay.To(relay.Link{Name: on.Name, Index: on.Index, MAC: on.MAC}, hosts)
	if err != nil {
		l.log.Warn("cannot relay packets to previous holders; their connections break",
			"vip", l.recorder.vips, "err", err)
	}
}

// endRelay stops relaying.
func (l *loop) endRelay() election.Event {
	if err := l.relay.End(); err != nil {
		l.log.Warn("cannot stop relaying", "vip", l.recorder.vips, "err", err)
	}
	return nil
}

// ownAddresses returns an address of each family that a host has on a link, without those of kvip.
func ownAddresses(on link.Link, host []link.HostAddr, vips []netip.Addr) (own []netip.Addr) {
	for _, four := range []bool{true, false} {
		if a, ok := link.NodeAddress(host, on.Index, four, vips); ok {
			own = append(own, a)
		}
	}
	return own
}

// parseMACs decodes hardware addresses that are joined by commas, and leaves out others.
func parseMACs(list string) (macs []net.HardwareAddr) {
	for word := range strings.SplitSeq(list, ",") {
		if mac, err := net.ParseMAC(word); err == nil && len(mac) == 6 {
			macs = append(macs, mac)
		}
	}
	return macs
}
