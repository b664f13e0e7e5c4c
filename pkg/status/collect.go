package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/directhttp"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/pkg/health"
	"github.com/kvip/kvip/pkg/tokenmanager"
)

const (
	probeTimeout = 2 * time.Second
	hedgeDelay   = 500 * time.Millisecond // before the next API server is asked for the Nodes
	maxPage      = 1 << 20                // bytes of /status
	// maxPeers bounds how many API servers are probed because agents list them.
	maxPeers = 32
	// settleTime is how long a move of the VIP may take, during which a report shows a problem.
	settleTime = 500 * time.Millisecond
)

// HintElsewhere is what to do on a host from which no API server can be reached.
const HintElsewhere = "run this on a control-plane node, as root, or give --kubeconfig"

// Collect reads the Lease, and probes the API servers and the agents. It fails only if no API
// server returns the Lease, which agents that announce by BGP do not need. A problem is confirmed
// by a second look, because the VIP may move while Lease and agents are read.
func Collect(ctx context.Context, cfg config.Config) (Report, error) {
	report, err := collect(ctx, cfg)
	if err != nil || report.Problem == "" || !backoff.Sleep(ctx, settleTime) {
		return report, err
	}
	if again, err := collect(ctx, cfg); err == nil {
		return again, nil
	}
	return report, nil
}

// collector has what one collection needs.
type collector struct {
	cfg    config.Config
	store  *apiclient.Store
	router *apiclient.Router
	hosts  []string // API servers found so far
	// fallback are the servers that kubeconfigs name. They come last: the VIP may be among them.
	fallback []string
	// local is the agent of this host, nil if none answers.
	local *Agent
}

func newCollector(ctx context.Context, cfg config.Config) (*collector, error) {
	store, err := openStore(cfg)
	if err != nil {
		return nil, err
	}
	c := &collector{
		cfg: cfg, store: store, fallback: apiclient.KubeconfigServers(cfg.Kubeconfigs),
	}
	c.findLocal(ctx)
	c.router, err = apiclient.NewRouter(apiclient.RouterConfig{
		Store: store, Local: c.servers, LocalFirst: true,
	})
	return c, err
}

func collect(ctx context.Context, cfg config.Config) (Report, error) {
	c, err := newCollector(ctx, cfg)
	if err != nil {
		return Report{}, err
	}
	driver, err := kubelease.New(kubelease.Config{
		Namespace: cfg.Namespace, Name: cfg.LeaseName, Router: c.router,
	})
	if err != nil {
		return Report{}, err
	}
	record, renewed, err := driver.Read(ctx)
	var nodes []Node
	if err != nil { // the agents of the peers may know more API servers
		nodes = c.probeNodes(ctx, c.hosts)
		c.hosts = append(c.hosts, peersOf(nodes)...)
		if !byBGP(nodes) {
			record, renewed, err = driver.Read(ctx)
		}
	}
	if err != nil && !byBGP(nodes) {
		return Report{}, c.explain(err)
	}
	if all, err := c.router.ReadServers(ctx); err == nil {
		c.hosts = apiclient.Union(all, c.hosts[1:]) // without loopback
		slices.Sort(c.hosts)
	}
	nodes = c.probeNodes(ctx, c.hosts)
	// A dead API server leaves the list within seconds, but agents remember it.
	nodes = append(nodes, c.probeNodes(ctx, peersOf(nodes))...)
	if byBGP(nodes) {
		return c.bgpReport(ctx, nodes), nil
	}
	report := Report{
		Lease: newLease(cfg, record, renewed), Degraded: record.Degraded, Nodes: nodes,
		Transitions: append([]kubelease.Transition{}, kubelease.Transitions(record.History)...),
	}
	report.complete(c.nodeNames(ctx, report.Nodes))
	report.Problem = report.problem()
	return report, nil
}

// complete sorts the nodes by their addresses, and names them.
func (r *Report) complete(byAddress map[string]string) {
	slices.SortFunc(r.Nodes, func(a, b Node) int { return strings.Compare(a.Address, b.Address) })
	r.setNames(byAddress)
}

// openStore returns a Store with kvip's own token, if this node has one, and the kubeconfigs.
func openStore(cfg config.Config) (*apiclient.Store, error) {
	store, err := apiclient.NewStore(apiclient.StoreConfig{
		Kubeconfigs: cfg.Kubeconfigs, StateDir: cfg.StateDir,
	})
	if err != nil || cfg.StateDir == "" {
		return store, err
	}
	if creds, err := tokenmanager.Directory(cfg.StateDir).Credentials(); err == nil {
		store.SetToken(creds)
	}
	return store, nil
}

// findLocal finds where to start: the API server of this node, its agent, and the peers of that.
func (c *collector) findLocal(ctx context.Context) {
	c.hosts = []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(c.cfg.Port))}
	addresses := []string{config.DefaultHealthAddress, config.DaemonSetHealthAddress}
	if c.cfg.MetricsAddress != "" {
		addresses = append(addresses, c.cfg.MetricsAddress)
	}
	for _, address := range addresses {
		if a := fetchAgent(ctx, address); a != nil {
			c.local, c.hosts = a, append(c.hosts, a.Peers[:min(len(a.Peers), maxPeers)]...)
			return
		}
	}
}

// servers returns all API servers, in the order to try them.
func (c *collector) servers() []string { return apiclient.Union(c.hosts, c.fallback) }

// explain adds what to do to the error of a read of the Lease.
func (c *collector) explain(err error) error {
	switch {
	case apiclient.IsDenied(err):
		return fmt.Errorf(
			"the API server refuses these credentials; give others with --kubeconfig: %w", err)
	case errors.Is(err, apiclient.ErrNoCredentials): // no server was asked
		return fmt.Errorf("%w; %s", err, HintElsewhere)
	case apiclient.IsNoResponse(err):
		return fmt.Errorf("no API server at %s answers: %w; %s",
			strings.Join(c.servers(), ", "), err, HintElsewhere)
	}
	return err
}

// nodeNames returns the names of the cluster's Nodes by their addresses, if a node of the report
// has no name. It needs bootstrap credentials: kvip's own token must not list Nodes.
func (c *collector) nodeNames(ctx context.Context, nodes []Node) map[string]string {
	if !slices.ContainsFunc(nodes, func(n Node) bool { return n.Name == "" }) {
		return nil
	}
	return namesOf(c.listNodes(ctx))
}

// namesOf returns the names of Nodes by their addresses.
func namesOf(list []corev1.Node) map[string]string {
	names := map[string]string{}
	for _, node := range list {
		for _, a := range node.Status.Addresses {
			names[a.Address] = node.Name
		}
	}
	return names
}

// listNodes returns the cluster's Nodes, none without bootstrap credentials or if no API server
// answers.
func (c *collector) listNodes(ctx context.Context) []corev1.Node {
	if kind, _ := c.store.InUse(); kind != apiclient.Bootstrap {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	list, err := apiclient.Hedge(ctx, c.router, apiclient.HedgeConfig{Delay: hedgeDelay},
		func(ctx context.Context, s *apiclient.Server) (*corev1.NodeList, error) {
			return s.Core.Nodes().List(ctx, metav1.ListOptions{})
		})
	if err != nil {
		return nil
	}
	return list.Items
}

// peersOf returns the API servers that agents list and that are not among nodes.
func peersOf(nodes []Node) (hosts []string) {
	var known []string
	for _, n := range nodes {
		known = append(known, n.Address)
		if n.Agent != nil {
			hosts = apiclient.Union(hosts, n.Agent.Peers[:min(len(n.Agent.Peers), maxPeers)])
		}
	}
	hosts = slices.DeleteFunc(hosts, func(h string) bool { return slices.Contains(known, h) })
	return hosts[:min(len(hosts), maxPeers)]
}

func newLease(cfg config.Config, r election.Record, renewed time.Time) Lease {
	l := Lease{
		Namespace: cfg.Namespace, Name: cfg.LeaseName, Exists: r.Exists,
		Holder: election.NodeName(r.Holder), Identity: r.Holder, Term: r.Term,
		Renewed: renewed, Duration: r.Duration, RequestedBy: r.RequestedBy,
	}
	for _, id := range r.FastVoters() {
		l.Voters = append(l.Voters, election.NodeName(id))
	}
	if !renewed.IsZero() {
		l.Age = max(0, time.Since(renewed).Round(time.Millisecond))
	}
	return l
}

// probeNodes probes several nodes in parallel.
func (c *collector) probeNodes(ctx context.Context, hosts []string) []Node {
	nodes := make([]Node, len(hosts))
	var group sync.WaitGroup
	for i, host := range hosts {
		group.Go(func() { nodes[i] = c.probeNode(ctx, host) })
	}
	group.Wait()
	return nodes
}

// probeNode probes an API server and the agents on its host in parallel: a hung API server must not
// use up the time of the agents.
func (c *collector) probeNode(ctx context.Context, host string) Node {
	n := Node{Address: host}
	var group sync.WaitGroup
	ports := agentPorts(c.cfg)
	agents := make([]*Agent, len(ports))
	for i, port := range ports {
		group.Go(func() { agents[i] = fetchAgent(ctx, net.JoinHostPort(ipOf(host), port)) })
	}
	if err := c.probeReady(ctx, host); err != nil {
		n.Problem = describe(err)
	}
	n.Ready = n.Problem == ""
	group.Wait()
	if n.Agent = activeAgent(agents); n.Agent != nil {
		n.Name = n.Agent.Node
	}
	return n
}

// ipOf returns the host part of "address:port".
func ipOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// agentPorts returns the ports of /status: the given one, or those of the static pod and the
// DaemonSet.
func agentPorts(cfg config.Config) (ports []string) {
	addresses := []string{cfg.MetricsAddress}
	if cfg.MetricsAddress == config.DefaultMetricsAddress {
		addresses = append(addresses, config.DaemonSetMetricsAddress)
	}
	for _, address := range addresses {
		if _, port, err := net.SplitHostPort(address); err == nil {
			ports = append(ports, port)
		}
	}
	return ports
}

// activeAgent returns the agent that has the address, else the first one that has started: on a
// node with a static pod and a pod of the DaemonSet one waits for the other.
func activeAgent(agents []*Agent) (best *Agent) {
	rank := func(a *Agent) int {
		switch {
		case a == nil:
			return 0
		case a.Owned:
			return 3
		case a.State != "starting":
			return 2
		}
		return 1
	}
	for _, a := range agents {
		if rank(a) > rank(best) {
			best = a
		}
	}
	return best
}

// describe returns why an API server is not ready.
func describe(err error) string {
	var network net.Error
	timeout := errors.As(err, &network) && network.Timeout()
	if timeout || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("its API server does not answer for %v", probeTimeout)
	}
	return err.Error()
}

func (c *collector) probeReady(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	tls, err := c.store.TLS()
	if err != nil {
		return err
	}
	return health.Ready(ctx, tls, c.store.Authorization(), "https://"+host)
}

var direct = directhttp.NewClient()

// fetchAgent reads an agent's /status. It returns nil if no agent answers.
func fetchAgent(ctx context.Context, address string) *Agent {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	url := "http://" + address + "/status"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil
	}
	response, err := direct.Do(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	var a Agent
	page := json.NewDecoder(io.LimitReader(response.Body, maxPage))
	if response.StatusCode != http.StatusOK || page.Decode(&a) != nil {
		return nil
	}
	return &a
}
