package inspect

import (
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kvip/kvip/pkg/printable"
)

// WriteText prints the report for people. Ages refer to now.
func (r Report) WriteText(w io.Writer, now time.Time) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	row := func(key, value string) {
		_, _ = fmt.Fprintf(table, "%s\t%s\n", printable.Text(key), printable.Text(value))
	}
	row("Service", r.Service)
	if !r.Managed {
		row("Not served", r.SkipReason)
	}
	row("In status", orNone(addresses(r.Status)))
	if r.Condition != nil {
		row("Condition", r.Condition.Reason+": "+r.Condition.Message)
	}
	if r.Problem != "" && r.Managed {
		row("Problem", r.Problem)
	}
	for _, a := range r.Addresses {
		a.write(row, now)
	}
	if r.Managed && len(r.Addresses) == 0 {
		row("Address", "not in the ledger yet, or no agent answers")
	}
	for _, node := range slices.Sorted(maps.Keys(r.Problems)) {
		row("Problem", node+": "+r.Problems[node])
	}
	for _, node := range slices.Sorted(maps.Keys(r.Unreachable)) {
		row("No answer", node+": "+r.Unreachable[node])
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print status of service %s: %w", r.Service, err)
	}
	return nil
}

func (a Address) write(row func(key, value string), now time.Time) {
	owners := a.owners()
	toRouters := a.routed() && len(owners) > 0 // else the control plane announces the address
	switch {
	case toRouters:
		row("Address", fmt.Sprintf("%s announced to routers by %s", a.Address,
			strings.Join(owners, ", ")))
	case a.Present:
		age := max(0, now.Sub(a.Since)).Round(time.Second)
		row("Address", fmt.Sprintf("%s announced by %s on %s since %s (%s)",
			a.Address, a.Node, orNone(a.Link), a.Since.UTC().Format(time.RFC3339), age))
	case a.Node != "":
		row("Address", fmt.Sprintf("%s assigned to %s, which does not announce it yet",
			a.Address, a.Node))
	default:
		row("Address", fmt.Sprintf("%s not announced", a.Address))
	}
	if a.Sentence != "" {
		row("  why", a.Sentence)
	}
	for _, node := range slices.Sorted(maps.Keys(a.On)) {
		switch {
		case !a.Present:
			row("  kept on", node+" ("+a.On[node]+")")
		case toRouters && slices.Contains(owners, node):
		case node != a.Node:
			row("  also on", node+" ("+a.On[node]+")")
		}
	}
	if len(a.Eligible) > 0 {
		row("  eligible", strings.Join(a.Eligible, ", "))
	}
	for _, node := range slices.Sorted(maps.Keys(a.Rejected)) {
		row("  not "+node, a.Rejected[node])
	}
	if len(a.Services) > 1 {
		row("  shared by", strings.Join(a.Services, ", "))
	}
}

func addresses(list []netip.Addr) string {
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
