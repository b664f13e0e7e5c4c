package kindservices

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/kvip/kvip/test/lab/kindcluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

// dialTimeout is long for an Ethernet segment, and short for a port that drops what comes.
const dialTimeout = 3 * time.Second

// follow runs the page's commands. Their manifests are those that the case study applied: nothing
// changes.
func (p *docPage) follow(ctx context.Context) {
	p.t.Helper()
	out := p.guide.Run(ctx, p.t, servicesPage, "services")
	p.shows(out, "daemonset.apps/kvip-services unchanged", "successfully rolled out",
		"ippool.kvip.dev/default created",
		"service/web condition met", p.first.String())
	p.eventually(ctx, func() error {
		return p.checkOutput(ctx,
			"kubectl get ippool default -o jsonpath='{.status.size} {.status.used} "+
				"{.status.conditions[?(@.type==\"Ready\")].status}'",
			fmt.Sprintf("%d 1 True", pageAddresses))
	})
	p.eventually(ctx, func() error { return p.answers(ctx) })
}

// announced returns the node that announces the address by the page's last command, and why;
// it must have it.
func (p *docPage) announced(ctx context.Context) (node *kindcluster.Node) {
	p.t.Helper()
	p.eventually(ctx, func() error {
		out, err := p.control.Shell(ctx, "kvip status service web")
		if err != nil {
			return err
		}
		_, after, _ := strings.Cut(out, p.first.String()+" announced by ")
		name, _, _ := strings.Cut(after, " on ")
		if node = p.Cluster.Node(name); node == nil || !strings.Contains(after, "  why") {
			return fmt.Errorf("kvip status service web does not say who announces %s, and why:\n%s", p.first,
				out)
		}
		return nil
	})
	if out, err := node.Exec(ctx, "ip", "-brief", "address", "show"); err != nil ||
		!strings.Contains(out, p.first.String()+"/") {
		p.t.Errorf("%s is to announce %s, and does not have it: %v:\n%s", node, p.first, err, out)
	}
	return node
}

// filtered is S5: the kubelet of the node answers at the node's own address, and not at the
// Service's.
func (p *docPage) filtered(ctx context.Context, node *kindcluster.Node) {
	p.t.Helper()
	if out, err := node.Exec(ctx, "nft", "list", "table", "inet", "kvip"); err != nil ||
		!strings.Contains(out, p.first.String()) {
		p.t.Errorf("the packet filter of %s does not have %s: %v:\n%s", node, p.first, err, out)
	}
	const kubelet = 10250
	if err := p.outside(func(h *netlab.Host) error {
		return dial(ctx, h, netip.AddrPortFrom(node.Addr, kubelet))
	}); err != nil {
		p.t.Errorf("the kubelet does not answer at its node's address: %v", err)
	}
	if err := p.outside(func(h *netlab.Host) error {
		return dial(ctx, h, netip.AddrPortFrom(p.first, kubelet))
	}); err == nil {
		p.t.Errorf("the kubelet answers at the Service's address %s", p.first)
	}
}

// kept are the Leases that the page names. The ledger is S4.
func (p *docPage) kept(ctx context.Context) {
	p.t.Helper()
	wants := []string{"lease.coordination.k8s.io/kvip-services\n",
		"lease.coordination.k8s.io/kvip-services-ledger-0\n"}
	for _, n := range p.workers {
		wants = append(wants, "lease.coordination.k8s.io/kvip-services-node-"+n.Name+"\n")
	}
	if err := p.checkOutput(ctx, "kubectl get leases -n kube-system -o name", wants...); err != nil {
		p.t.Error(err)
	}
	if err := p.checkOutput(ctx, "kubectl get lease -n kube-system kvip-services-ledger-0 -o yaml",
		p.first.String(), "default/web"); err != nil {
		p.t.Error(err)
	}
}

// inShort runs README's commands, which leave the pool with one address: the one that is in use.
func (p *docPage) inShort(ctx context.Context) {
	p.t.Helper()
	out := p.guide.Run(ctx, p.t, readme, "services in short")
	p.shows(out, "daemonset.apps/kvip-services unchanged", "ippool.kvip.dev/default configured",
		p.first.String()+" announced by ", "  why")
}

// poolGone takes the pool away and asks for it. The refusal shows that kvip knows that it is gone,
// and the Service keeps its address.
func (p *docPage) poolGone(ctx context.Context) {
	p.t.Helper()
	if _, err := p.control.Shell(ctx,
		"kubectl delete ippool default; kubectl annotate service web kvip.dev/pool=default"); err != nil {
		p.t.Fatal(err)
	}
	p.eventually(ctx, func() error {
		return errors.Join(
			p.checkOutput(ctx, `kubectl get service web -o jsonpath='{range .status.conditions[?(@.type=="kvip.dev/Address")]}{.status} {.reason}{end}'`, "False UnknownPool"),
			p.checkOutput(ctx, "kubectl get events --field-selector "+
				"involvedObject.kind=Service,involvedObject.name=web", "UnknownPool"))
	})
	if err := p.checkOutput(ctx,
		"kubectl get service web -o jsonpath='{.status.loadBalancer.ingress}'", `"`+p.first.String()+
			`"`); err != nil {
		p.t.Error(err)
	}
	if err := p.answers(ctx); err != nil {
		p.t.Error(err)
	}
}

// answers is an error unless a pod of the page's answers a request from outside at the address.
func (p *docPage) answers(ctx context.Context) error {
	return p.outside(func(h *netlab.Host) error {
		got, err := ask(ctx, h, p.first)
		if err == nil && !strings.HasPrefix(got.Pod, "web-") {
			err = fmt.Errorf("%s: pod %q answers", p.first, got.Pod)
		}
		return err
	})
}

// outside calls a function with the host of clients outside the nodes.
func (p *docPage) outside(f func(*netlab.Host) error) (err error) {
	host, err := p.Cluster.Outside()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	return f(host)
}

func dial(ctx context.Context, h *netlab.Host, to netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := h.Dial(ctx, "tcp", to.String())
	if err != nil {
		return err
	}
	return conn.Close()
}

// checkOutput is an error unless a command on the control-plane node shows all of something.
func (p *docPage) checkOutput(ctx context.Context, line string, wants ...string) error {
	out, err := p.control.Shell(ctx, line)
	for _, want := range wants {
		if !strings.Contains(out, want) {
			err = errors.Join(err, fmt.Errorf("%s does not show %q:\n%s", line, want, out))
		}
	}
	return err
}

func (p *docPage) shows(out string, wants ...string) {
	p.t.Helper()
	for _, want := range wants {
		if !strings.Contains(out, want) {
			p.t.Errorf("the commands do not show %q", want)
		}
	}
}

func (p *docPage) eventually(ctx context.Context, f func() error) {
	p.t.Helper()
	if err := kindcluster.Eventually(ctx, askEvery, f); err != nil {
		p.t.Fatal(err)
	}
}
