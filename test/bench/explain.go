package main

import (
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/kvip/kvip/test/cluster"
	"github.com/kvip/kvip/test/drill"
)

// logTime finds the time in a line of slog's text format.
var logTime = regexp.MustCompile(`time=(\S+)`)

// since returns the lines of a log from an instant on.
func since(log string, from time.Time) []string {
	var kept []string
	for line := range strings.Lines(log) {
		m := logTime.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if at, err := time.Parse(time.RFC3339Nano, m[1]); err == nil && !at.Before(from) {
			kept = append(kept, strings.TrimSpace(line))
		}
	}
	return kept
}

// explain prints what kvip's agents wrote during a run that missed its target, since nobody
// can read it any more later.
func explain(c *cluster.Cluster, t drill.Tool, f drill.Fault, r drill.Result) {
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
		say("  %s:\n    %s", n.Name, strings.Join(since(string(text), r.Start.Add(-time.Second)), "\n    "))
	}
}
