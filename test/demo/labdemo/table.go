package labdemo

import (
	"fmt"
	"strings"

	"github.com/kvip/kvip/test/failover"
)

// row is a line of the table.
type row struct {
	fault  failover.Fault
	result failover.Result
}

// table shows all results.
func table(rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-36s %9s %10s  %s\n", "fault on the holder", "outage", "target", "two holders")
	for _, r := range rows {
		target, note := "-", ""
		if r.fault.Target > 0 {
			target = "<= " + failover.Figure(r.fault.Target)
		}
		switch {
		case !r.result.Back:
			note = "  NOT SERVED AGAIN"
		case r.fault.Target > 0 && r.result.Outage > r.fault.Target:
			note = "  above the target"
		}
		fmt.Fprintf(&b, "%-36s %9s %10s  %d of %d samples%s\n", r.fault.Name,
			failover.Figure(r.result.Outage), target,
			r.result.Holding.TwoHolders, r.result.Holding.Samples, note)
	}
	b.WriteString("outage: the longest time between successful requests, which start every 10 ms\n")
	b.WriteString("target: what 95 % of runs must reach, as `make bench-failover` measures it")
	return b.String()
}

// verdict returns an error if the VIP was on two nodes or on none in the end.
func verdict(rows []row) error {
	for _, r := range rows {
		if !r.result.Back {
			return fmt.Errorf("%s: no other node served the client", r.fault.Name)
		}
		if r.result.Holding.TwoHolders > 0 {
			return fmt.Errorf("%s: two nodes had the address at once", r.fault.Name)
		}
	}
	return nil
}
