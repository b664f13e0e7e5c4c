package labdemo

import (
	"fmt"
	"strconv"
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
	const line = "%-36s %9s %7s %10s  %s\n"
	fmt.Fprintf(&b, line, "fault on the holder", "outage", "failed", "target", "two holders")
	for _, r := range rows {
		target, note := "<= "+failover.Figure(r.fault.Target), ""
		switch {
		case !r.result.Back:
			note = "  NOT SERVED AGAIN"
		case r.result.Late(r.fault):
			note = "  above the target"
		}
		seen := r.result.Holding
		two := fmt.Sprintf("%d of %d samples%s", seen.TwoHolders, seen.Samples, note)
		fmt.Fprintf(&b, line, r.fault.Name, failover.Figure(r.result.Outage),
			strconv.Itoa(r.result.Failed), target, two)
	}
	b.WriteString("outage: the longest time between successful requests, which start every 10 ms\n")
	b.WriteString("failed: requests without an answer\n")
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
