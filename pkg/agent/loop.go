package agent

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/metrics"
)

// tickEvery drives the machine. Go's timers stand still while the machine is suspended,
// so the tick, not a timer at the deadline, is what bounds a late reaction (E9).
const tickEvery = 100 * time.Millisecond

// The loop decides with an election.Machine and acts through these. Each names the one
// type that implements it in the program.
type (
	// leaser asks the API server for what the machine decided; *kubelease.Driver.
	leaser interface {
		Do(ctx context.Context, a election.Action) election.Event
		Events() <-chan election.Event
	}
	// owner makes the kernel agree; *vip.Owner.
	owner interface {
		Update(l link.Link, deadline time.Duration) error
		Delete() error
		DestroySockets()
	}
	// announcer announces the addresses; *vipAnnouncer.
	announcer interface {
		Start(until func() bool)
		Stop()
		Defend(addr netip.Addr)
	}
	// listener reports which other hosts use the addresses; *vipAnnouncer.
	listener interface {
		Probe(ctx context.Context, timeout time.Duration) (map[netip.Addr]net.HardwareAddr, error)
		Conflicts() <-chan arp.Conflict
	}
)

// loop is the one goroutine that owns the machine and the addresses.
type loop struct {
	cfg     config.Config
	id      string
	log     *slog.Logger
	metrics *metrics.Set

	machine  *election.Machine // decide
	lease    leaser
	owner    owner     // own
	announce announcer // announce
	listen   listener
	network  *network
	post     func(ctx context.Context, ev *corev1.Event) error // tells the cluster

	in     chan election.Event
	now    boottime.Clock
	fence  atomic.Int64 // deadline up to which announcements may leave, 0 for none
	ownAt  atomic.Int64 // when the present ownership began
	beat   atomic.Int64 // instant of the last turn (E12)
	twin   atomic.Bool  // another machine holds under this node's name (E8)
	status atomic.Pointer[election.Status]

	requests sync.WaitGroup
	diary    diary
}

// run turns until the machine says Exit, which it does some time after ctx has ended.
func (l *loop) run(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer l.requests.Wait()
	defer cancel()
	done := ctx.Done()
	for {
		var ev election.Event
		var soon <-chan time.Time
		if l.machine.AwaitsRequest() {
			soon = time.After(election.RequestPollInterval)
		}
		select {
		case <-done:
			done, ev = nil, election.Shutdown{}
		case ev = <-l.in:
		case ev = <-l.lease.Events():
		case ev = <-l.network.events:
		case s := <-l.listen.Conflicts():
			if ev = l.sighting(s); ev == nil {
				continue
			}
		case <-soon:
			ev = election.Tick{}
		case <-tick.C:
			ev = election.Tick{}
		}
		if l.turn(requests, ev) {
			return
		}
	}
}

// turn lets one event through the machine and executes what follows from it, including
// the events that the executions themselves give rise to. It reports whether to exit.
func (l *loop) turn(ctx context.Context, ev election.Event) (exit bool) {
	for queue := []election.Event{ev}; len(queue) > 0; queue = queue[1:] {
		now := l.now()
		l.beat.Store(int64(now))
		before := l.machine.Status()
		for _, a := range l.machine.Step(queue[0], now) {
			if a.Kind == election.Exit {
				exit = true
				continue
			}
			l.log.Debug("action", "action", a.String())
			if a.Kind == election.Claim {
				l.diary.takeover, l.diary.claimed = a, now-l.machine.Status().Age
			}
			if answer := l.execute(ctx, a); answer != nil {
				queue = append(queue, answer)
			}
		}
		l.note(queue[0], before)
	}
	return exit
}

// sighting turns a foreign announcement into an event, unless it was heard before this
// node owned the address: then it is the last holder's.
func (l *loop) sighting(s arp.Conflict) election.Event {
	began := l.ownAt.Load()
	if began == 0 || int64(s.At) < began {
		return nil
	}
	l.metrics.Conflict(s.VIP)
	l.diary.conflict(l.log, s)
	return election.Foreign{MAC: s.MAC.String()}
}
