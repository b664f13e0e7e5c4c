package kinddemo

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/test/demo/kindenv"
	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/netlab"
)

// result is what happened.
type result struct {
	failover failover.Result // from the kill until another node served
	vip      netip.Addr
	heir     string              // the new holder
	ready    time.Duration       // from docker start until Ready; 0: not yet
	holder   string              // of the VIP then
	after    netlab.HolderReport // since the node was started
}

// judge returns an error if two nodes had the VIP or no other node took over.
func (r result) judge() error {
	if two := r.failover.Holding.TwoHolders + r.after.TwoHolders; two > 0 {
		return fmt.Errorf("two nodes had the address %s at once, in %d of %d samples", r.vip, two,
			r.samples())
	}
	if r.heir == "" || r.heir == r.failover.Victim {
		return errors.New("no other node took over the address")
	}
	return nil
}

func (r result) samples() int { return r.failover.Holding.Samples + r.after.Samples }

// summary returns the figures of the demonstration.
func (r result) summary() string {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "%-14s %s\n", what, fmt.Sprintf(format, args...))
	}
	b.WriteString("summary\n")
	line("  outage", "%s: the longest time between answers to a client outside the nodes",
		failover.Figure(r.failover.Outage))
	line("  address", "%s went from %s to %s", r.vip, r.failover.Victim, r.heir)
	if r.holder != r.heir {
		line("", "and then to %s", r.holder)
	}
	if n := r.samples(); n > 0 {
		line("  two holders", "never, in %d samples of the networks of all control planes", n)
	} else {
		line("  two holders", "not sampled: that needs root (sudo make kind-demo)")
	}
	line("  killed node", "Ready again %.0f s after its start, without manual steps",
		r.ready.Seconds())
	return strings.TrimRight(b.String(), "\n")
}

// holds returns a sentence with the holder and the time since when it holds the VIP.
func holds(vip netip.Addr, report status.Report, now time.Time) string {
	text := fmt.Sprintf("%s is on %s", vip, report.Lease.Holder)
	if n := len(report.Transitions); n > 0 {
		last := report.Transitions[n-1]
		text += fmt.Sprintf(", since %s (%.0f s ago, term %d)", last.Time.Local().Format(time.TimeOnly),
			now.Sub(last.Time).Seconds(), last.Term)
	}
	return text
}

// short names a control plane for the live line.
func short(name string) string {
	return kindenv.ShortName(name, clusterName+"-control-plane", "cp")
}

// nextSteps lists what to try in the cluster.
func nextSteps(p kindenv.Place, dir string, vip netip.Addr, holder string) string {
	commands := []string{
		p.Outside("curl -sk https://" + vip.String() + ":6443/version"),
		p.Docker("exec " + holder + " kubectl get nodes -o wide"),
		p.Docker("exec " + holder + " kubectl -n kube-system exec kvip-" + holder + " -- /kvip status"),
		p.Docker("pause "+holder) + "      # the VIP leaves a node that hangs; then: unpause",
	}
	if p.DockerDir == "" {
		commands = append(commands, "kubectl --kubeconfig "+dir+"/kubeconfig get pods -A -o wide")
	}
	return p.NextSteps(commands...)
}
