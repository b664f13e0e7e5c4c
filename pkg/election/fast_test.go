package election

import (
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
