package bgpstate

import (
	"fmt"
	"math"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/bfd"
	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/status"
)

// converter makes the status of an object from the sessions. It changes as seldom as possible: a
// peer that is gone is dialled again and again, which is one state with one reason here.
type converter struct {
	seen map[string]shown // by peer
}

// shown is what the last status shows of a session.
type shown struct {
	up     bool
	boot   time.Duration // since when, by the clock of the sessions
	since  metav1.Time
	code   bgp.Reason
	reason string
}

// convert returns the status at an instant of two clocks.
func (c *converter) convert(list []bgp.Status, now status.Instant) v1alpha1.BGPNodeStateStatus {
	result := v1alpha1.BGPNodeStateStatus{}
	next := map[string]shown{}
	up, routes := 0, [2]int{}
	for _, s := range list {
		one := c.show(s, now)
		next[s.Name] = one
		if one.up {
			up++
		}
		for f := range routes {
			routes[f] = max(routes[f], s.Routes[f])
		}
		result.RoutesRefused += number(s.Refused)
		if len(result.Sessions) < v1alpha1.MaxNodeSessions {
			result.Sessions = append(result.Sessions, session(s, one))
		}
	}
	c.seen = next
	// A Status has the number of prefixes alone: the largest number is that of all of them, unless
	// advertisements are for single peers.
	result.Routes = number(routes[bgp.IPv4] + routes[bgp.IPv6])
	result.SessionsUp = fmt.Sprintf("%d/%d", up, len(list))
	return result
}

// show returns what is shown of a session: the instant of the wall clock stays, although each
// reading of the clocks gives another one, and so does the state while there is no session.
func (c *converter) show(s bgp.Status, now status.Instant) shown {
	last, known := c.seen[s.Name]
	one := shown{up: s.Established(), boot: s.Since, code: s.Code, reason: s.Reason}
	sameSession := one.up && last.boot == one.boot || !one.up
	if known && last.up == one.up && sameSession {
		one.boot, one.since = last.boot, last.since
	} else {
		one.since = metav1.NewTime(now.Wall.Add(s.Since - now.Boot).Truncate(time.Second))
	}
	if last.code == one.code && (one.code == bgp.ReasonReset || one.code == bgp.ReasonConnectionLost) {
		one.reason = last.reason // the text has a port that differs each time
	}
	return one
}

// session returns what an object shows of a session. One that is not established is Idle, also
// while it is dialled.
func session(s bgp.Status, one shown) v1alpha1.BGPSession {
	result := v1alpha1.BGPSession{
		Peer: s.Name, Interface: s.Address.Zone(), LocalASN: s.LocalAS, PeerASN: s.PeerAS,
		State: v1alpha1.SessionIdle, Since: one.since, RoutesRefused: number(s.Refused),
		BFD: bfdSession(s.BFD),
	}
	if s.Address.IsValid() {
		result.Address = s.Address.String()
	}
	if !one.up {
		result.Reason = one.reason
		return result
	}
	result.State = v1alpha1.SessionEstablished
	result.HoldTime = &metav1.Duration{Duration: s.HoldTime}
	for _, f := range []bgp.Family{bgp.IPv4, bgp.IPv6} {
		if s.NextHops[f].IsValid() || s.Routes[f] > 0 {
			family := v1alpha1.SessionFamily{
				Family: v1alpha1.AddressFamily(status.FamilyName(f)), Routes: number(s.Routes[f]),
			}
			if s.NextHops[f].IsValid() {
				family.NextHop = s.NextHops[f].String()
			}
			result.Families = append(result.Families, family)
		}
	}
	return result
}

// bfdSession returns what an object shows of a BFD session, nil without one.
func bfdSession(s *bfd.Status) *v1alpha1.BFDSession {
	if s == nil {
		return nil
	}
	result := &v1alpha1.BFDSession{
		State: v1alpha1.BFDState(s.State.String()), TransmitInterval: milliseconds(s.TransmitInterval),
		ReceiveInterval: milliseconds(status.ReceiveInterval(*s)),
		DetectionTime:   milliseconds(s.DetectionTime),
	}
	if s.Diagnostic != bfd.NoDiagnostic {
		result.Diagnostic = s.Diagnostic.String()
	}
	if s.State != bfd.Up && s.Problem != "" {
		result.Diagnostic = s.Problem
	}
	return result
}

func milliseconds(d time.Duration) int32 { return number(int(d.Milliseconds())) }

// number returns n within the range of the objects' fields.
func number(n int) int32 { return int32(min(max(n, 0), math.MaxInt32)) }
