package labdemo

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/netlab"
)

func TestTableAndVerdict(t *testing.T) {
	killed, _ := failover.FaultByKey("api-killed")
	good := row{killed,
		failover.Result{Back: true, Outage: 80 * time.Millisecond,
			Holding: netlab.HolderReport{Samples: 100}}}
	slow, lost, two := good, good, good
	slow.result.Outage = time.Minute
	lost.result.Back = false
	two.result.Holding.TwoHolders = 1
	text := table([]row{good, slow, lost})
	for _, want := range []string{
		"API server killed                        80 ms       0   <= 80 ms  0 of 100 samples\n",
		"above the target\n", "NOT SERVED AGAIN\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q:\n%s", want, text)
		}
	}
	if err := verdict([]row{good, slow}); err != nil {
		t.Errorf("speed was judged: %v", err)
	}
	if verdict([]row{good, lost}) == nil || verdict([]row{two}) == nil {
		t.Error("what must never happen was accepted")
	}
}

func TestMenderStates(t *testing.T) {
	var none *repair
	if server, agent, err := none.state(); !server || !agent || err != nil {
		t.Error("a node that was never broken is not well")
	}
	m := &repair{server: make(chan struct{}), done: make(chan struct{})}
	if server, agent, _ := m.state(); server || agent {
		t.Error("well too early")
	}
	close(m.server)
	if server, agent, _ := m.state(); !server || agent {
		t.Error("want the server alone to be well")
	}
	close(m.done)
	if server, agent, _ := m.state(); !server || !agent {
		t.Error("not well in the end")
	}
	m.err = errors.New("broken for good")
	if server, agent, err := m.state(); server || agent || err == nil {
		t.Error("the error was hidden")
	}
}
