package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/kvip/kvip/kind/stage"
	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/netlab"
)

// result is what happened.
type result struct {
	drill  failover.Result // from the kill until another node served
	vip    netip.Addr
	heir   string         // who took over
	mended time.Duration  // from docker start until Ready; 0: not yet
	holder string         // who had the address then
	after  netlab.Holding // since the node was started
}

// judge is an error if what must never happen did.
func (r result) judge() error {
	if two := r.drill.Holding.TwoHolders + r.after.TwoHolders; two > 0 {
		return fmt.Errorf("two nodes had the address %s at once, in %d of %d samples", r.vip, two, r.samples())
	}
	if r.heir == "" || r.heir == r.drill.Victim {
		return errors.New("no other node took over the address")
	}
	return nil
}

func (r result) samples() int { return r.drill.Holding.Samples + r.after.Samples }

// summary is what to remember.
func (r result) summary() string {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "%-14s %s\n", what, fmt.Sprintf(format, args...))
	}
	b.WriteString("summary\n")
	line("  outage", "%s: the longest time between answers to a client outside the nodes", failover.Figure(r.drill.Outage))
	line("  address", "%s went from %s to %s", r.vip, r.drill.Victim, r.heir)
	if r.holder != r.heir {
		line("", "and then to %s", r.holder)
	}
	if n := r.samples(); n > 0 {
		line("  two holders", "never, in %d looks into the networks of all control planes", n)
	} else {
		line("  two holders", "not looked for: that takes root (sudo make kind-demo)")
	}
	line("  killed node", "Ready again %.0f s after its start, without anybody's help", r.mended.Seconds())
	return strings.TrimRight(b.String(), "\n")
}

// holds says in a sentence who has the address, and since when.
func holds(vip netip.Addr, report status.Report, now time.Time) string {
	text := fmt.Sprintf("%s is on %s", vip, report.Lease.Holder)
	if n := len(report.Transitions); n > 0 {
		last := report.Transitions[n-1]
		text += fmt.Sprintf(", since %s (%.0f s ago, term %d)", last.Time.Local().Format(time.TimeOnly), now.Sub(last.Time).Seconds(), last.Term)
	}
	return text
}

// short names a control plane in few letters, as cp2 for ha-control-plane2, for the live line.
func short(name string) string {
	number, ok := strings.CutPrefix(name, clusterName+"-control-plane")
	switch {
	case !ok:
		return name
	case number == "":
		return "cp1"
	}
	return "cp" + number
}

// next says what to try in the cluster.
func next(p stage.Place, dir string, vip netip.Addr, holder string) string {
	lines := []string{
		"the cluster stays. What to try next:",
		"  " + p.Outside("curl -sk https://"+vip.String()+":6443/version"),
		"  " + p.Docker("exec "+holder+" kubectl get nodes -o wide"),
		"  " + p.Docker("exec "+holder+" kubectl -n kube-system exec kvip-"+holder+" -- /kvip status"),
		"  " + p.Docker("pause "+holder) + "      # the address leaves a node that hangs; then: unpause",
	}
	if p.DockerDir == "" {
		lines = append(lines, "  kubectl --kubeconfig "+dir+"/kubeconfig get pods -A -o wide")
	}
	return strings.Join(append(lines, "  "+p.Root("make kind-down")+"      # removes the cluster and all that was made for it"), "\n")
}
