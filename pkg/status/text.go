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

// WriteText writes the report as text. Control characters of other programs' texts are escaped.
func (r Report) WriteText(w io.Writer) error {
	var b bytes.Buffer
	if r.Announce == AnnounceBGP {
		r.writeAnnouncement(&b)
		r.writeAnnouncers(&b)
		r.writeNotes(&b)
	} else {
		r.writeLease(&b)
		r.writeNodes(&b)
		r.writeNotes(&b)
		r.writeTransitions(&b)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// printf is fmt.Fprintf with escaped arguments.
func printf(w io.Writer, format string, texts ...string) {
	args := make([]any, len(texts))
	for i, text := range texts {
		args[i] = printable.Text(text)
	}
	fmt.Fprintf(w, format, args...)
}

func (r Report) writeLease(b *bytes.Buffer) {
	printf(b, "VIP:       %s\n", r.vips())
	holder := r.Lease.Holder
	switch {
	case !r.Lease.Exists:
		holder = "none: the lease does not exist yet"
	case holder == "":
		holder = "none: the lease is released"
	case r.Lease.expired():
		holder += " (its lease has expired)"
	}
	printf(b, "Holder:    %s\n", holder)
	printf(b, "Lease:     %s/%s%s\n", r.Lease.Namespace, r.Lease.Name, r.Lease.details())
	degraded := "no"
	if r.Degraded != "" {
		degraded = "yes: the holder's API server is not ready, and no eligible node has requested" +
			" the Lease (" + r.Degraded + ")"
		if r.Degraded == string(election.ReasonAPIServerSlow) {
			degraded = "yes: the holder's API server is slow, and no clearly faster node has requested" +
				" the Lease (" + r.Degraded + ")"
		}
	}
	printf(b, "Degraded:  %s\n", degraded)
	if r.Lease.Holder != "" {
		printf(b, "Mode:      %s\n", r.mode())
	}
	if r.Problem != "" {
		printf(b, "Problem:   %s\n", r.Problem)
	}
}

// mode returns the mode of the holder's right, with the voters or the reason (F1).
func (r Report) mode() string {
	if len(r.Lease.Voters) > 0 {
		return "fast, confirmed by " + strings.Join(r.Lease.Voters, ", ")
	}
	for _, n := range r.Nodes {
		if n.Agent != nil && n.Agent.Identity == r.Lease.Identity && n.Agent.Slow != "" {
			return "slow: " + n.Agent.Slow
		}
	}
	return "slow"
}

// details returns term, age and duration of a lease that exists.
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

// vips returns the VIPs that the agents report, in words.
func (r Report) vips() string {
	var all []string
	for _, n := range r.Nodes {
		if n.Agent != nil {
			all = append(all, n.Agent.VIPs...)
		}
	}
	if len(all) == 0 {
		return "unknown (no agent answers)"
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
		printf(t, "%s\t%s\t%s\t%s\t%s\t%s\n",
			dash(n.Name), n.Address, ready, agent, dash(reason), dash(link))
	}
	_ = t.Flush() // into memory
}

// writeNotes writes the problems of each node, and what several nodes have in common once.
func (r Report) writeNotes(b *bytes.Buffer) {
	for _, n := range r.Nodes {
		if n.Problem != "" {
			printf(b, "%s: %s\n", n.label(), n.Problem)
		}
		if n.Agent == nil {
			continue
		}
		if n.Agent.NotReady != "" {
			printf(b, "%s: agent not ready: %s\n", n.label(), n.Agent.NotReady)
		}
		n.writeBGPNotes(b)
		for _, note := range []string{n.Agent.TokenProblem, n.Agent.Warning} {
			if note != "" {
				printf(b, "%s: %s\n", n.label(), note)
			}
		}
	}
	administrators := r.administrators()
	for _, file := range slices.Sorted(maps.Keys(administrators)) {
		printf(b, "%s: agent uses the rights of %s\n", strings.Join(administrators[file], ", "), file)
	}
	for _, name := range r.Unseen {
		printf(b, "%s: named in the Lease, but no agent answers under this name\n", name)
	}
}

// administrators returns the kubeconfigs that agents use, with the nodes of these agents.
func (r Report) administrators() map[string][]string {
	nodes := map[string][]string{}
	for _, n := range r.Nodes {
		if n.Agent != nil && n.Agent.CredentialsKind == "bootstrap" {
			nodes[n.Agent.Credentials] = append(nodes[n.Agent.Credentials], n.label())
		}
	}
	return nodes
}

// label returns the name of a node, or else its address.
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
		printf(t, "%s\t%s\t%s\t%s\t%s\n", x.Time.Local().Format(time.DateTime), fmt.Sprint(x.Term),
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
