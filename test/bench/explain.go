package main

import (
	"os"
	"strings"
	"time"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/cluster"
)

// explain prints what kvip's agents wrote during a run that missed its target, since nobody
// can read it any more later.
func explain(c *cluster.Cluster, t failover.Tool, f failover.Fault, r failover.Result) {
	missed := !r.Back || r.Holding.TwoHolders > 0 || f.Target > 0 && r.Outage > f.Target
	if !missed || t.Name() != "kvip" {
		return
	}
	say("  missed; what the agents wrote since %s, when %s was broken:", r.Start.UTC().Format("15:04:05.000"), r.Victim)
	for _, n := range c.Nodes {
		text, err := os.ReadFile(n.Log(t.Name()))
		if err != nil {
			say("  %s: %v", n.Name, err)
			continue
		}
		say("  %s:\n    %s", n.Name, strings.Join(benchreport.LogSince(string(text), r.Start.Add(-time.Second)), "\n    "))
	}
}
