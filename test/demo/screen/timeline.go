package screen

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/netlab"
)

// StripFor is what StatusLine shows of the client: its requests of that time are wanted.
const StripFor = 3 * time.Second

const (
	stripCell     = 100 * time.Millisecond // of it in one character
	timelineLines = 12                     // at most, for one fault
)

// Timeline lists in order what happened after a fault: owners of the VIP and answers to the client.
// reqs begin with the fault.
func Timeline(r failover.Result, reqs []netlab.Request) []string {
	type event struct {
		at   time.Time
		text string
	}
	var events []event
	for i, c := range r.Holding.Timeline {
		if i > 0 { // the first is how it was before
			events = append(events, event{c.At, "address: " + holdersText(c.Holders)})
		}
	}
	was := "answered by " + r.Victim
	for _, q := range reqs {
		if is := outcome(q); is != was && q.Start.Before(r.End) {
			events = append(events, event{q.Start, "client:  " + is})
			was = is
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	var lines []string
	for _, e := range events {
		lines = append(lines, fmt.Sprintf("+%5.2f s  %s", e.at.Sub(r.Start).Seconds(), e.text))
	}
	if len(lines) > timelineLines {
		lines = slices.Concat(lines[:timelineLines-4], []string{"          ..."}, lines[len(lines)-3:])
	}
	if r.Holding.Samples == 0 { // not root
		return append(lines, "outage "+failover.Figure(r.Outage))
	}
	return append(lines,
		fmt.Sprintf("outage %s, two holders in %d of %d samples", failover.Figure(r.Outage),
			r.Holding.TwoHolders, r.Holding.Samples))
}

// outcome is what a request came to; all failures are one, because they come mixed.
func outcome(q netlab.Request) string {
	if q.OK() {
		return "answered by " + q.Server
	}
	return "no good answer"
}

func holdersText(names []string) string {
	if len(names) == 0 {
		return "on no node"
	}
	return "on " + strings.Join(names, " and ")
}

// StatusLine shows who holds and the client's last seconds: a dot for each cell in which all
// requests were answered, a cross for one in which any failed, a dash for one without an
// answer yet; the newest cells stay blank until there is one.
func StatusLine(nodes, holders []string, reqs []netlab.Request, now time.Time) string {
	var b strings.Builder
	for _, name := range nodes {
		mark := "-"
		if slices.Contains(holders, name) {
			mark = "#"
		}
		fmt.Fprintf(&b, "%s [%s]  ", name, mark)
	}
	cells := make([]byte, StripFor/stripCell)
	for i := range cells {
		cells[i] = '-'
	}
	copy(cells[len(cells)-2:], "  ")
	begin, server := now.Add(-StripFor), ""
	for _, q := range reqs {
		i := int(q.Start.Sub(begin) / stripCell)
		if i < 0 || i >= len(cells) {
			continue
		}
		switch {
		case !q.OK():
			cells[i], server = 'x', ""
		case cells[i] != 'x':
			cells[i] = '.'
		}
		if q.OK() {
			server = q.Server
		}
	}
	fmt.Fprintf(&b, "client |%s|", cells)
	if server != "" {
		fmt.Fprintf(&b, " %s answers", server)
	}
	return b.String()
}
