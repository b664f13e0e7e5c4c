package status

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kvip/kvip/pkg/election"
)

// WriteText writes the report for people.
func (r Report) WriteText(w io.Writer) error {
	var b bytes.Buffer
	r.writeLease(&b)
	r.writeNodes(&b)
	r.writeTransitions(&b)
	_, err := w.Write(b.Bytes())
	return err
}

func (r Report) writeLease(b *bytes.Buffer) {
	vips := r.vips()
	if vips == "" {
		vips = "unknown (no agent answers)"
	}
	fmt.Fprintf(b, "VIP:       %s\n", vips)
	holder := r.Lease.Holder
	switch {
	case !r.Lease.Exists:
		holder = "nobody: the lease does not exist yet"
	case holder == "":
		holder = "nobody: the lease is released"
	case r.Lease.Age > r.Lease.Duration:
		holder += " (its lease has run out)"
	}
	fmt.Fprintf(b, "Holder:    %s\n", holder)
	fmt.Fprintf(b, "Lease:     %s/%s%s\n", r.Lease.Namespace, r.Lease.Name, r.Lease.details())
	degraded := "no"
	if r.Degraded != "" {
		degraded = "yes: the holder's API server is not ready and no other is (" + r.Degraded + ")"
	}
	fmt.Fprintf(b, "Degraded:  %s\n", degraded)
}

// details is what is known of a lease that exists.
func (l Lease) details() string {
	if !l.Exists {
		return ""
	}
	renewed := "never renewed"
	if !l.Renewed.IsZero() {
		renewed = fmt.Sprintf("renewed %v ago", l.Age.Round(100*time.Millisecond))
	}
	return fmt.Sprintf(", term %d, %s, lasts %v", l.Term, renewed, l.Duration)
}

// vips returns the addresses as the agents know them.
func (r Report) vips() string {
	var all []string
	for _, n := range r.Nodes {
		if n.Agent != nil {
			all = append(all, n.Agent.VIPs...)
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", ")
}

func (r Report) writeNodes(b *bytes.Buffer) {
	fmt.Fprintln(b)
	t := tabwriter.NewWriter(b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NODE\tAPI SERVER\tREADY\tAGENT\tREASON\tLINK")
	for _, n := range r.Nodes {
		ready, agent, reason, link := "yes", "does not answer", "-", "-"
		if !n.Ready {
			ready = "no"
		}
		if n.Agent != nil {
			agent, reason, link = n.Agent.State, n.Agent.Reason, dash(n.Agent.Link)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", dash(n.Name), n.Address, ready, agent, dash(reason), link)
	}
	_ = t.Flush() // into memory
	for _, n := range r.Nodes {
		if n.Problem != "" {
			fmt.Fprintf(b, "%s: %s\n", n.Address, n.Problem)
		}
		if n.Agent != nil && n.Agent.NotReady != "" {
			fmt.Fprintf(b, "%s: agent not ready: %s\n", n.Address, n.Agent.NotReady)
		}
		if n.Agent != nil && n.Agent.Rights == "bootstrap" {
			fmt.Fprintf(b, "%s: agent uses the rights of %s\n", n.Address, n.Agent.Credentials)
		}
		if n.Agent != nil && n.Agent.RightsProblem != "" {
			fmt.Fprintf(b, "%s: %s\n", n.Address, n.Agent.RightsProblem)
		}
		if n.Agent != nil && n.Agent.Warning != "" {
			fmt.Fprintf(b, "%s: %s\n", n.Address, n.Agent.Warning)
		}
	}
}

func (r Report) writeTransitions(b *bytes.Buffer) {
	fmt.Fprintln(b)
	t := tabwriter.NewWriter(b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "LAST TRANSITIONS\tTERM\tFROM\tTO\tREASON")
	for _, x := range slices.Backward(r.Transitions) {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\n", x.Time.Local().Format(time.DateTime), x.Term, dash(election.NodeOf(x.From)), election.NodeOf(x.To), x.Reason)
	}
	_ = t.Flush() // into memory
	if len(r.Transitions) == 0 {
		fmt.Fprintln(b, "none recorded")
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
