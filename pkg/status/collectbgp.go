package status

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/config"
)

// controlPlaneLabel is the label of the nodes with an API server (Kubernetes documentation,
// "Well-Known Labels").
const controlPlaneLabel = "node-role.kubernetes.io/control-plane"

// bgpReport returns the report of a cluster whose VIPs are announced by BGP. Its agents do not
// remember an API server that is dead: the Nodes of the control plane are probed as well.
func (c *collector) bgpReport(ctx context.Context, nodes []Node) Report {
	list := c.listNodes(ctx)
	var known, missing []string
	for _, n := range nodes {
		known = append(known, n.Name, ipOf(n.Address))
	}
	for _, node := range list {
		_, control := node.Labels[controlPlaneLabel]
		address := internalIP(node)
		if control && address != "" && !slices.Contains(known, node.Name) &&
			!slices.Contains(known, address) && len(missing) < maxPeers {
			missing = append(missing, net.JoinHostPort(address, strconv.Itoa(c.cfg.Port)))
		}
	}
	r := Report{
		Announce: AnnounceBGP, Nodes: append(nodes, c.probeNodes(ctx, missing)...),
	}
	r.complete(namesOf(list))
	r.Degraded, r.Problem = r.bgpDegraded(), r.bgpProblem()
	return r
}

// internalIP returns the first address of a Node in its cluster, "" without one.
func internalIP(node corev1.Node) string {
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	return ""
}

// BGPReport is the output of `kvip status bgp`. Its JSON form is stable.
type BGPReport struct {
	// Problem is why not every session is established with all routes and BFD; empty if all are.
	Problem string    `json:"problem,omitempty"`
	Nodes   []BGPNode `json:"nodes"`
	// Unreachable are the addresses of API servers beside which no agent answers.
	Unreachable []string `json:"unreachable,omitempty"`
}

// BGPNode has the sessions of one agent.
type BGPNode struct {
	Node    string `json:"node"`
	Address string `json:"address"` // of the page /status
	BGP
}

// label returns the name of a node, or else its address.
func (n BGPNode) label() string { return cmp.Or(n.Node, n.Address) }

// CollectBGP reads the sessions of the agents: those beside API servers and, with credentials that
// may list Nodes, those of all nodes. It needs no API server for what the agent of this host knows.
// peer is the name or the address of the only peer to report, empty for all. It fails if no agent
// answers.
func CollectBGP(ctx context.Context, cfg config.Config, peer string) (BGPReport, error) {
	c, err := newCollector(ctx, cfg)
	if err != nil {
		return BGPReport{}, err
	}
	servers, failed := c.router.ReadServers(ctx)
	c.hosts = apiclient.Union(servers, c.hosts)
	var hosts []string
	for _, host := range c.hosts {
		hosts = append(hosts, ipOf(host))
	}
	control := len(hosts)
	for _, node := range c.listNodes(ctx) {
		if address := internalIP(node); address != "" && !slices.Contains(hosts, address) {
			hosts = append(hosts, address)
		}
	}
	report, answered := c.fetchSessions(ctx, hosts)
	if len(answered) == 0 {
		if failed != nil {
			return BGPReport{}, c.explain(failed)
		}
		return BGPReport{}, fmt.Errorf("no agent answers at %s; %s", strings.Join(hosts, ", "),
			HintElsewhere)
	}
	for _, host := range hosts[:control] {
		if !answered[host] && !isLoopback(host) {
			report.Unreachable = append(report.Unreachable, host)
		}
	}
	if len(report.Nodes) == 0 {
		return BGPReport{}, errors.New("no agent that answers has a part in BGP")
	}
	report.choose(peer)
	return report, nil
}

// isLoopback reports whether an address is that of this host alone.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// maxRequests is how many pages are requested at once.
const maxRequests = 128

// fetchSessions reads the pages of the agents on hosts, each agent once. answered has the hosts on
// which one answers.
func (c *collector) fetchSessions(
	ctx context.Context, hosts []string,
) (report BGPReport, answered map[string]bool) {
	answered = map[string]bool{}
	seen := map[string]bool{}
	var mu sync.Mutex
	var group sync.WaitGroup
	limit := make(chan struct{}, maxRequests)
	for _, host := range hosts {
		for _, port := range bgpPorts(c.cfg) {
			limit <- struct{}{}
			group.Go(func() {
				defer func() { <-limit }()
				address := net.JoinHostPort(host, port)
				a := fetchAgent(ctx, address)
				if a == nil {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				answered[host] = true
				key := a.Identity + " " + port // one that is reached at two addresses
				if a.BGP != nil && (a.Identity == "" || !seen[key]) {
					seen[key] = true
					report.Nodes = append(report.Nodes, BGPNode{a.Node, address, *a.BGP})
				}
			})
		}
	}
	group.Wait()
	slices.SortFunc(report.Nodes, func(a, b BGPNode) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.Address, b.Address))
	})
	return report, answered
}

// bgpPorts returns the ports of /status: the given one, or those of all manifests.
func bgpPorts(cfg config.Config) []string {
	ports := agentPorts(cfg)
	if _, port, err := net.SplitHostPort(config.ServicesMetricsAddress); err == nil && len(ports) > 1 {
		ports = append(ports, port)
	}
	return ports
}

// choose keeps the sessions with a peer, if one is given, and sets Problem.
func (r *BGPReport) choose(peer string) {
	var peers, problems []string
	chosen := 0
	for i, n := range r.Nodes {
		list := []Session{}
		for _, s := range n.Sessions {
			peers = append(peers, s.Peer)
			if peer == "" || peer == s.Peer || peer == s.Address {
				list = append(list, s)
				problems = append(problems, s.problems(n.label())...)
			}
		}
		r.Nodes[i].Sessions = list
		chosen += len(list)
	}
	slices.Sort(peers)
	switch {
	case len(peers) == 0:
		problems = []string{"no node has BGP peers"}
	case chosen == 0:
		problems = []string{fmt.Sprintf("no node has the BGP peer %q: there are %s", peer,
			strings.Join(slices.Compact(peers), ", "))}
	}
	if peer != "" {
		r.Nodes = slices.DeleteFunc(r.Nodes, func(n BGPNode) bool { return len(n.Sessions) == 0 })
	}
	r.Problem = sentence(problems)
}

// problems returns what is wrong with a session of a node.
func (s Session) problems(node string) (all []string) {
	if !s.established() {
		return []string{fmt.Sprintf("%s has no session with %s: %s", node, s.Peer, s.why())}
	}
	if s.Refused > 0 {
		all = append(all, fmt.Sprintf("%s does not announce %d routes to %s: the session is at its limit",
			node, s.Refused, s.Peer))
	}
	if s.BFD != nil && !s.BFD.up() {
		all = append(all, fmt.Sprintf("%s has no BFD with %s: %s", node, s.Peer, s.BFD.inWords()))
	}
	return all
}
