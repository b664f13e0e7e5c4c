package agent

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/link"
)

// fakeLease is an API server with one Lease: a write that does not build on the present
// version is a conflict.
type fakeLease struct {
	journal *journal
	events  chan election.Event
	writing func(a election.Action) // before an action is done

	mu     sync.Mutex
	record election.Record
	down   bool
}

func (f *fakeLease) Events() <-chan election.Event { return f.events }

func (f *fakeLease) Do(_ context.Context, a election.Action) election.Event {
	f.journal.add(a.Kind.String())
	f.writing(a)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case a.Kind == election.Read && f.down:
		return election.ReadDone{Seq: a.Seq}
	case a.Kind == election.Read:
		return election.ReadDone{Seq: a.Seq, OK: true, Record: f.record}
	case f.down:
		return election.Written{Seq: a.Seq, Outcome: election.OutcomeFailed}
	case a.Base.Version != f.record.Version || a.Base.Exists != f.record.Exists:
		return election.Written{Seq: a.Seq, Outcome: election.OutcomeConflict}
	}
	version := f.record.Version + 1
	f.record = a.Record
	f.record.Exists, f.record.Version = true, version
	return election.Written{Seq: a.Seq, Outcome: election.OutcomeOK, Version: version}
}

func (f *fakeLease) get() election.Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.record
}

func (f *fakeLease) edit(change func(*election.Record)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.record)
	f.record.Version++
}

// setDown makes every request fail, or succeed again.
func (f *fakeLease) setDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// fakeSpeaker is a network that answers probes with what it is told to.
type fakeSpeaker struct {
	journal   *journal
	conflicts chan arp.Conflict

	mu      sync.Mutex
	until   func() bool
	answers map[netip.Addr]net.HardwareAddr
	err     error
	links   []link.Link
}

func newFakeSpeaker(j *journal) *fakeSpeaker {
	return &fakeSpeaker{journal: j, conflicts: make(chan arp.Conflict, 16)}
}

func (s *fakeSpeaker) Start(until func() bool) {
	s.journal.add("announce")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = until
}

func (s *fakeSpeaker) Stop() {
	s.journal.add("hush")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = nil
}

func (s *fakeSpeaker) Defend(netip.Addr) { s.journal.add("defend") }

func (s *fakeSpeaker) Probe(context.Context, time.Duration) (map[netip.Addr]net.HardwareAddr, error) {
	s.journal.add("probe")
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answers, s.err
}

func (s *fakeSpeaker) Conflicts() <-chan arp.Conflict { return s.conflicts }

func (s *fakeSpeaker) SetLink(l link.Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links = append(s.links, l)
}

// answer makes probes be answered for vip4 by mac, or by nobody if it is nil.
func (s *fakeSpeaker) answer(mac net.HardwareAddr, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers, s.err = map[netip.Addr]net.HardwareAddr{}, err
	if mac != nil {
		s.answers[vip4] = mac
	}
}

// announcing is whether a frame could leave now.
func (s *fakeSpeaker) announcing() bool {
	s.mu.Lock()
	until := s.until
	s.mu.Unlock()
	return until != nil && until()
}

// answered calls a page and returns its status code and what it says.
func answered(t *testing.T, page http.HandlerFunc) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	page(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	return w.Code, w.Body.String()
}

// stranger is a machine of no node.
var stranger = net.HardwareAddr{2, 0, 0, 0, 0, 9}
