package status

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// writeAnnouncement writes from which nodes the VIPs are announced.
func (r Report) writeAnnouncement(b *bytes.Buffer) {
	printf(b, "VIP:         %s\n", r.vips())
	var from []string
	if nodes := r.announcing(stateAnnouncing); len(nodes) > 0 {
		from = append(from, "from "+strings.Join(nodes, ", "))
	}
	if nodes := r.announcing(stateWorse); len(nodes) > 0 {
		from = append(from, "by the worse path from "+strings.Join(nodes, ", "))
	}
	if len(from) == 0 {
		from = []string{"from no node"}
	}
	printf(b, "Announced:   by BGP %s\n", strings.Join(from, "; "))
	degraded := "no"
	if r.Degraded != "" {
		degraded = "yes: every node that announces does so by the worse path (" + r.Degraded + ")"
	}
	printf(b, "Degraded:    %s\n", degraded)
	if r.Problem != "" {
		printf(b, "Problem:     %s\n", r.Problem)
	}
}

// writeAnnouncers writes the table of nodes.
func (r Report) writeAnnouncers(b *bytes.Buffer) {
	fmt.Fprintln(b)
	t := tabwriter.NewWriter(b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NODE\tAPI SERVER\tREADY\tANNOUNCEMENT\tREASON\tSESSIONS")
	for _, n := range r.Nodes {
		ready, state, reason, sessions := "yes", "agent does not answer", "", ""
		if !n.Ready {
			ready = "no"
		}
		if a := n.Agent; a != nil {
			state, reason = a.State, a.Reason
			if a.BGP != nil {
				sessions = fmt.Sprintf("%d/%d", a.BGP.up(), len(a.BGP.Sessions))
			}
		}
		printf(t, "%s\t%s\t%s\t%s\t%s\t%s\n",
			dash(n.Name), n.Address, ready, state, dash(reason), dash(sessions))
	}
	_ = t.Flush() // into memory
}

// writeBGPNotes writes why sessions of a node are down.
func (n Node) writeBGPNotes(b *bytes.Buffer) {
	if !n.Agent.byBGP() {
		return
	}
	for _, s := range n.Agent.BGP.Sessions {
		if !s.established() {
			printf(b, "%s: no BGP session with %s: %s\n", n.label(), s.Peer, s.reasonWithCode())
		}
	}
}

// reasonWithCode returns code and reason of a session that is down.
func (s Session) reasonWithCode() string {
	if s.Code == "" {
		return s.why()
	}
	return s.Code + ": " + s.why()
}

// WriteText writes one line for each session. Control characters of other programs' texts are
// escaped.
func (r BGPReport) WriteText(w io.Writer, now time.Time) error {
	var b bytes.Buffer
	if r.Problem != "" {
		printf(&b, "Problem: %s\n\n", r.Problem)
	}
	t := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NODE\tPEER\tADDRESS\tLOCAL\tAS\tSTATE\tFOR\tHOLD\tROUTES\tREFUSED\tBFD\tREASON")
	for _, n := range r.Nodes {
		for _, s := range n.Sessions {
			printf(t, strings.Repeat("%s\t", 11)+"%s\n", n.label(), s.Peer, dash(s.Address), dash(s.Local),
				s.systems(), s.State, age(now.Sub(s.Since)), duration(s.HoldTime), s.routesInWords(),
				strconv.Itoa(s.Refused), s.BFD.inWords(), dash(s.lastReason()))
		}
	}
	_ = t.Flush() // into memory
	for _, n := range r.Nodes {
		if len(n.Sessions) == 0 {
			printf(&b, "%s: no BGP sessions\n", n.label())
		}
	}
	for _, address := range r.Unreachable {
		printf(&b, "%s: no agent answers\n", address)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// lastReason returns why a session is down, "" for one that is up.
func (s Session) lastReason() string {
	if s.established() || s.Reason == "" {
		return ""
	}
	return s.reasonWithCode()
}

// systems returns the own AS and that of the peer.
func (s Session) systems() string {
	peer := "?"
	if s.PeerAS != 0 {
		peer = strconv.FormatUint(uint64(s.PeerAS), 10)
	}
	return fmt.Sprintf("%d-%s", s.LocalAS, peer)
}

// routesInWords returns how many routes the peer has of each family, and by which next hop.
func (s Session) routesInWords() string {
	var parts []string
	for _, f := range s.Families {
		part := fmt.Sprintf("%d %s", f.Routes, f.Family)
		if f.NextHop != "" {
			part += " by " + f.NextHop
		}
		parts = append(parts, part)
	}
	if s.Unreachable > 0 {
		parts = append(parts, fmt.Sprintf("%d not carried", s.Unreachable))
	}
	if s.Invalid > 0 {
		parts = append(parts, fmt.Sprintf("%d invalid", s.Invalid))
	}
	return dash(strings.Join(parts, ", "))
}

// inWords returns state, diagnostic, negotiated times and detections of a BFD session.
func (b *BFD) inWords() string {
	if b == nil {
		return "off"
	}
	text := b.State
	switch {
	case b.up() && b.DetectionTime > 0:
		text += fmt.Sprintf(", every %v, detects in %v", b.TransmitInterval, b.DetectionTime)
	case b.Problem != "":
		text += ": " + b.Problem
	case !b.up() && b.Diagnostic != "":
		text += ": " + b.Diagnostic
	}
	switch b.Detections {
	case 0:
	case 1:
		text += ", 1 detection"
	default:
		text += fmt.Sprintf(", %d detections", b.Detections)
	}
	return text
}

// duration returns a time, "-" for none.
func duration(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return d.String()
}

// age returns a time with two units at most. Clocks of two hosts may differ: it is never negative.
func age(d time.Duration) string {
	const day = 24 * time.Hour
	switch d = max(0, d); {
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 2*day:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}
