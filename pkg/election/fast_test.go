package election

import (
	"fmt"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/quorum"
)

// TestAcknowledgementsOfAnEarlierTermDoNotCount: a goodbye has freed these voters (F1, F11).
func TestAcknowledgementsOfAnEarlierTermDoNotCount(t *testing.T) {
	m := mustNew(Config{ID: "a", Lease: 5 * time.Second, Renew: time.Second,
		Window: quorum.DefaultWindow})
	m.Step(Tick{}, time.Hour)
	voters := []string{"a", "b", "c"}
	first := m.tally.Beat(m.now, m.window())
	second := m.tally.Beat(m.now, m.window())
	for _, id := range voters {
		m.tally.Ack(id, first, true, m.now)
	}
	if m.tally.Until(voters) == 0 {
		t.Fatal("no majority")
	}
	m.win(write{sent: m.now, record: Record{
		Exists: true, Holder: "a", Term: 9, Duration: 30 * time.Second,
		Mark: Mark{Fast: true, Voters: joinVoters(voters)},
	}})
	if until := m.tally.Until(voters); until != 0 {
		t.Errorf("a right until %v", until)
	}
	for _, id := range voters {
		if m.tally.Ack(id, second, true, m.now) {
			t.Errorf("an acknowledgement of %s for a beat of the earlier term counts", id)
		}
	}
}

// TestBlinks: a fence that shut for want of a majority is one blink, however often the kernel
// defers what opens it again.
func TestBlinks(t *testing.T) {
	s := &replay{}
	s.play(t, "node a window=350ms peers=ack", "10s link up aa", "10s agents a,b,c allowed",
		"10s health healthy", "10.05s lease holder=b term=6 mac=bb",
		"10.06s lease but holder= proof=b/6/Shutdown", "20s tick")
	if !s.m.tenure.fast() || s.m.node.blinks != 0 {
		t.Fatalf("%d blinks in mode %v", s.m.node.blinks, s.m.tenure.fast())
	}
	s.play(t, "20s api manual", "20s peers silent", "20.45s peers ack")
	deferred, extends := 0, s.count(Extend)
	for at := 20451; at < 20550; at++ {
		s.play(t, fmt.Sprintf("%dms tick", at))
		if s.count(Extend) > extends && deferred < 3 {
			s.play(t, fmt.Sprintf("%dms extend deferred", at))
			deferred++
		}
		extends = s.count(Extend)
	}
	if deferred < 3 {
		t.Fatalf("%d Extends were deferred", deferred)
	}
	s.play(t, "21s tick")
	if n := s.m.node.blinks; n != 1 || !s.m.owns() {
		t.Errorf("%d blinks, owned: %v", n, s.m.owns())
	}
}
