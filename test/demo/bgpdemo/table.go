package bgpdemo

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/kvip/kvip/test/demo/kindenv"
	"github.com/kvip/kvip/test/failover"
)

// row is what was lost by one event.
type row struct {
	name         string
	limit        time.Duration // of the time in which requests fail, and of the gap
	api, service loss
}

// lines describes the losses.
func (r row) lines() []string {
	line := func(what string, l loss) string {
		text := fmt.Sprintf("%-8s %d of %d requests failed", what, l.failed, l.requests)
		if l.failed > 0 {
			text += " within " + failover.Figure(l.lasted)
		}
		return text + ", longest gap " + failover.Figure(l.gap)
	}
	lines := []string{line("VIP:", r.api), line("Service:", r.service)}
	if err := r.judge(); err != nil {
		lines = append(lines, "FAILED: "+err.Error())
	}
	return lines
}

// judge returns an error if requests failed for longer than the limit.
func (r row) judge() error {
	var errs []error
	for _, a := range []struct {
		what string
		loss
	}{{"the VIP", r.api}, {"the Service", r.service}} {
		if worst := max(a.lasted, a.gap); worst > r.limit {
			errs = append(errs, fmt.Errorf("%s: requests to %s failed for %s, the limit is %s", r.name,
				a.what, failover.Figure(worst), failover.Figure(r.limit)))
		}
	}
	return errors.Join(errs...)
}

// table shows all rows.
func table(rows []row) string {
	var b strings.Builder
	const line = "%-26s %8s %7s %8s   %8s %7s %8s   %7s\n"
	fmt.Fprintf(&b, "%-26s %8s %27s\n", "", "VIP", "Service")
	fmt.Fprintf(&b, line, "event", "gap", "failed", "for", "gap", "failed", "for", "limit")
	for _, r := range rows {
		lasted := func(l loss) string {
			if l.failed == 0 {
				return "-"
			}
			return failover.Figure(l.lasted)
		}
		fmt.Fprintf(&b, line, r.name,
			failover.Figure(r.api.gap), fmt.Sprint(r.api.failed), lasted(r.api),
			failover.Figure(r.service.gap), fmt.Sprint(r.service.failed), lasted(r.service),
			failover.Figure(r.limit))
	}
	b.WriteString("gap: the longest time between successful requests, which start every 20 ms\n")
	b.WriteString("failed: requests without a good answer within 0.5 s\n")
	b.WriteString("for: from the first failed request to the last; meanwhile others were answered")
	return b.String()
}

// verdict returns an error that has all failed rows.
func verdict(rows []row) error {
	var errs []error
	for _, r := range rows {
		errs = append(errs, r.judge())
	}
	return errors.Join(errs...)
}

// short names a control plane for the live line.
func short(name string) string {
	return kindenv.ShortName(name, clusterName+"-control-plane", "cp")
}

// nextSteps lists what to try in the cluster.
func nextSteps(p kindenv.Place, service netip.Addr, f *fabric) string {
	control := clusterName + "-control-plane"
	return p.NextSteps(
		p.Docker("exec "+f.routers[0].name+" vtysh -c 'show bgp ipv4 unicast "+vip.String()+"/32'"),
		p.Docker("exec "+f.routers[1].name+" birdc show route all for "+service.String()),
		p.Docker("exec "+f.client.name+" ip route"),
		p.Docker("exec "+control+" kubectl get nodes,bgppeers,bgpnodestates,services"),
		p.Docker("pause "+control+"2")+"      # its routes are withdrawn; then: unpause",
	)
}
