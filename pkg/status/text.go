package status

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/printable"
)

// WriteText writes the report for people. What others say is made printable.
func (r Report) WriteText(w io.Writer) error {
	var b bytes.Buffer
	r.writeLease(&b)
	r.writeNodes(&b)
	r.writeNotes(&b)
	r.writeTransitions(&b)
	_, err := w.Write(b.Bytes())
	return err
}

// put is fmt.Fprintf into memory, of texts that others wrote.
func put(w io.Writer, format string, texts ...string) {
	args := make([]any, len(texts))
	for i, text := range texts {
		args[i] = printable.Text(text)
	}
	fmt.Fprintf(w, format, args...)
}

func (r Report) writeLease(b *bytes.Buffer) {
	vips := r.vips()
	if vips == "" {
		vips = "unknown (no agent answers)"
	}
	put(b, "VIP:       %s\n", vips)
	holder := r.Lease.Holder
	switch {
	case !r.Lease.Exists:
		holder = "nobody: the lease does not exist yet"
	case holder == "":
		holder = "nobody: the lease is released"
	case r.Lease.expired():
		holder += " (its lease has run out)"
	}
	put(b, "Holder:    %s\n", holder)
	put(b, "Lease:     %s/%s%s\n", r.Lease.Namespace, r.Lease.Name, r.Lease.details())
	degraded := "no"
	if r.Degraded != "" {
		degraded = "yes: the holder's API server is not ready and no other is (" + r.Degraded + ")"
		if r.Degraded == string(election.ReasonAPISlow) {
			degraded = "yes: the holder's API server is slow and no other is much faster (" + r.Degraded + ")"
		}
	}
	put(b, "Degraded:  %s\n", degraded)
	if r.Problem != "" {
		put(b, "Problem:   %s\n", r.Problem)
	}
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
		ready, agent, reason, link := "yes", "does not answer", "", ""
		if !n.Ready {
			ready = "no"
		}
		if n.Agent != nil {
			agent, reason, link = n.Agent.State, n.Agent.Reason, n.Agent.Link
		}
		put(t, "%s\t%s\t%s\t%s\t%s\t%s\n", dash(n.Name), n.Address, ready, agent, dash(reason), dash(link))
	}
	_ = t.Flush() // into memory
}

// writeNotes writes what is wrong on each node, and once what several nodes have in common.
func (r Report) writeNotes(b *bytes.Buffer) {
	for _, n := range r.Nodes {
		if n.Problem != "" {
			put(b, "%s: %s\n", n.label(), n.Problem)
		}
		if n.Agent == nil {
			continue
		}
		if n.Agent.NotReady != "" {
			put(b, "%s: agent not ready: %s\n", n.label(), n.Agent.NotReady)
		}
		for _, note := range []string{n.Agent.RightsProblem, n.Agent.Warning} {
			if note != "" {
				put(b, "%s: %s\n", n.label(), note)
			}
		}
	}
	administrators := r.administrators()
	for _, file := range slices.Sorted(maps.Keys(administrators)) {
		put(b, "%s: agent uses the rights of %s\n", strings.Join(administrators[file], ", "), file)
	}
	for _, name := range r.Unseen {
		put(b, "%s: in the lease's transitions, but no agent answers under this name\n", name)
	}
}

// administrators returns each file whose rights agents use beside their own, and their nodes.
func (r Report) administrators() map[string][]string {
	nodes := map[string][]string{}
	for _, n := range r.Nodes {
		if n.Agent != nil && n.Agent.Rights == "bootstrap" {
			nodes[n.Agent.Credentials] = append(nodes[n.Agent.Credentials], n.label())
		}
	}
	return nodes
}

// label names a node in a note: by its name if that is known.
func (n Node) label() string {
	if n.Name != "" {
		return n.Name
	}
	return n.Address
}

func (r Report) writeTransitions(b *bytes.Buffer) {
	fmt.Fprintln(b)
	t := tabwriter.NewWriter(b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "LAST TRANSITIONS\tTERM\tFROM\tTO\tREASON")
	for _, x := range slices.Backward(r.Transitions) {
		put(t, "%s\t%s\t%s\t%s\t%s\n", x.Time.Local().Format(time.DateTime), fmt.Sprint(x.Term),
			dash(election.NodeName(x.From)), election.NodeName(x.To), string(x.Reason))
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
