package election_test

import (
	"fmt"
	"time"

	"github.com/kvip/kvip/pkg/election"
)

// Two machines elect a holder. The test plays the API server and the kernel: it applies each write
// at once and confirms each Own and Disown.
func Example() {
	nodes := map[string]*election.Machine{}
	for i, id := range []string{"a", "b"} {
		m, err := election.New(election.Config{
			ID: id, Lease: 5 * time.Second, Renew: time.Second, FirstSeq: uint64(i) << 32,
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		nodes[id] = m
	}
	lease := election.Record{}
	now := time.Minute

	// step passes an event to a node, executes its actions and returns the answers.
	var step func(id string, ev election.Event)
	step = func(id string, ev election.Event) {
		for _, a := range nodes[id].Step(ev, now) {
			switch a.Kind {
			case election.Create, election.Claim, election.Renew, election.Release:
				version := lease.Version + 1
				lease = a.Record
				lease.Version = version
				step(id, election.Written{Seq: a.Seq, Version: version})
				for other := range nodes {
					step(other, election.Observed{Record: lease})
				}
			case election.Probe:
				step(id, election.Probed{}) // no host answers for the address
			case election.Own:
				fmt.Printf("%v: %s owns the address until %v (%s)\n", now, id, a.Deadline, a.Reason)
				step(id, election.Owned{Seq: a.Seq, OK: true})
			case election.Disown:
				fmt.Printf("%v: %s removes the address (%s)\n", now, id, a.Reason)
				step(id, election.Disowned{Seq: a.Seq, Confirmed: true})
			}
		}
	}
	for _, id := range []string{"a", "b"} {
		step(id, election.Health{Verdict: election.Healthy})
		step(id, election.Link{Usable: true, MAC: "02:00:00:00:00:0" + id})
		step(id, election.Observed{Record: lease})
	}
	for end := now + 5500*time.Millisecond; now < end; now += 100 * time.Millisecond {
		step("a", election.Tick{})
		step("b", election.Tick{})
	}
	step("a", election.Shutdown{})
	fmt.Println("a:", nodes["a"].Status().State, "b:", nodes["b"].Status().State)
	// Output:
	// 1m5s: a owns the address until 1m9.5s (Expired)
	// 1m5.5s: a removes the address (Shutdown)
	// 1m5.5s: b owns the address until 1m10s (Released)
	// a: stopped b: holding
}
