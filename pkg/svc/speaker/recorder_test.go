package speaker

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/placement"
)

// countingMetrics has what a recorder counts.
type countingMetrics struct {
	owned, leaving, conflicts int
	moved                     map[string]int
}

func (c *countingMetrics) ServiceAddresses(owned, leaving int) {
	c.owned, c.leaving = owned, leaving
}

func (c *countingMetrics) ServiceMoved(change string) { c.moved[change]++ }
func (c *countingMetrics) ServiceConflict()           { c.conflicts++ }

// newTestRecorder returns a recorder, its log, its metrics, and its clock.
func newTestRecorder() (*recorder, *bytes.Buffer, *countingMetrics, *time.Duration) {
	log, metrics, now := &bytes.Buffer{}, &countingMetrics{moved: map[string]int{}}, time.Hour
	return newRecorder(&Config{
		Log: slog.New(slog.NewTextHandler(log, nil)), Metrics: metrics, Interface: "lan*",
		Clock: func() time.Duration { return now },
	}), log, metrics, &now
}

func TestChangesAreLoggedAndCounted(t *testing.T) {
	r, log, metrics, _ := newTestRecorder()
	a := newAssigned(vip4, "eth0", owned, time.Second)
	a.reason = placement.ReasonOnlyNode
	next := assignments{
		vip4: a, vip6: newAssigned(vip6, "eth0", leaving, time.Second),
		vip4.Next(): newAssigned(vip4.Next(), "eth0", shared, time.Second),
	}
	remains, wasShared := vip6.Next(), vip6.Prev()
	before := assignments{
		vip4.Prev(): newAssigned(vip4.Prev(), "eth0", owned, time.Second),
		wasShared:   newAssigned(wasShared, "eth0", shared, time.Second),
		remains:     newAssigned(remains, "eth0", owned, time.Second),
		vip6:        newAssigned(vip6, "eth0", owned, time.Second),
	}
	r.changed(before, assignments{remains: before[remains]}.union(next), next)
	if metrics.owned != 1 || metrics.leaving != 1 {
		t.Errorf("%d addresses owned, %d leaving", metrics.owned, metrics.leaving)
	}
	if metrics.moved["acquired"] != 1 || metrics.moved["released"] != 1 {
		t.Errorf("moves %v", metrics.moved)
	}
	for _, want := range []string{
		`"announcing address" address=10.0.0.100 link=eth0 reason="it is the only eligible node"`,
		`"released address" address=10.0.0.99`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is not in\n%s", want, log)
		}
	}
	for what, addr := range map[string]netip.Addr{
		"an address that remains": remains, "an address of the control plane": vip4.Next(),
		"a former address of the control plane": wasShared,
	} {
		if strings.Contains(log.String(), "address="+addr.String()) {
			t.Errorf("%s is logged:\n%s", what, log)
		}
	}
}

func TestAFailureIsLoggedAgainAfterARecovery(t *testing.T) {
	r, log, _, _ := newTestRecorder()
	count := func(want int) {
		t.Helper()
		if got := strings.Count(log.String(), "cannot serve all addresses"); got != want {
			t.Errorf("logged %d times, want %d\n%s", got, want, log)
		}
	}
	r.failure(nil)
	count(0)
	r.failure(errTest)
	r.failure(errTest)
	count(1)
	r.failure(errors.New("another one"))
	count(2)
	r.recovered()
	r.failure(errTest)
	count(3)
}

func TestRememberedFailuresAreBounded(t *testing.T) {
	r, _, _, _ := newTestRecorder()
	for i := range 3 * maxFailuresLogged {
		r.failure(fmt.Errorf("failure %d", i))
	}
	if len(r.failures) > maxFailuresLogged {
		t.Errorf("%d failures are remembered", len(r.failures))
	}
}

func TestConflictsAreLoggedByHostAndAddress(t *testing.T) {
	r, log, metrics, now := newTestRecorder()
	const message = "another host claims an address of this node; defending it"
	for range 2 {
		r.conflict(arp.Conflict{Addr: vip4, MAC: foreignMAC}, "")
		r.conflict(arp.Conflict{Addr: vip6, MAC: foreignMAC}, "")
		r.conflict(arp.Conflict{Addr: vip4, MAC: peerMAC}, "you")
	}
	if n := strings.Count(log.String(), message); n != 3 || metrics.conflicts != 6 {
		t.Errorf("%d conflicts logged, %d counted\n%s", n, metrics.conflicts, log)
	}
	*now += conflictLogInterval
	r.conflict(arp.Conflict{Addr: vip4, MAC: foreignMAC}, "")
	if n := strings.Count(log.String(), message); n != 4 {
		t.Errorf("%d conflicts logged after a minute\n%s", n, log)
	}
}

// Conditions that last are logged when they begin.
func TestConditionsAreLoggedWhenTheyBegin(t *testing.T) {
	r, log, _, _ := newTestRecorder()
	for _, holder := range []string{"", "kube-vip-a", "kube-vip-a", "kube-vip-b", "", "kube-vip-b"} {
		r.foreignHolder(holder)
	}
	if n := strings.Count(log.String(), "another program announces Services"); n != 3 {
		t.Errorf("three holders are logged %d times\n%s", n, log)
	}
	for _, none := range []bool{false, true, true, false, true} {
		r.noLink(none)
	}
	if n := strings.Count(log.String(), "pattern=lan*"); n != 2 {
		t.Errorf("two times without a link are logged %d times\n%s", n, log)
	}
	r.adopted(0)
	if strings.Contains(log.String(), "earlier process") {
		t.Errorf("an adoption of nothing is logged\n%s", log)
	}
	r.adopted(2)
	if !strings.Contains(log.String(), "count=2") {
		t.Errorf("the adoption is not logged\n%s", log)
	}
}

// Without Metrics nothing is counted, and nothing breaks.
func TestNoMetrics(t *testing.T) {
	r := newRecorder(&Config{
		Log: slog.New(slog.DiscardHandler), Metrics: noMetrics{},
		Clock: func() time.Duration { return 1 },
	})
	next := only(newAssigned(vip4, "eth0", owned, 1))
	r.changed(assignments{vip6: newAssigned(vip6, "eth0", owned, 1)}, next, next)
	r.conflict(arp.Conflict{Addr: vip4, MAC: peerMAC}, "")
	r.yielded(arp.Conflict{Addr: vip4, MAC: peerMAC}, "you")
}
