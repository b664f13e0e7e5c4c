package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/pkg/health"
	"github.com/kvip/kvip/pkg/tokenmanager"
)

const (
	askTimeout = 2 * time.Second
	maxAnswer  = 1 << 20
	// maxRemembered bounds how many API servers are asked because agents name them.
	maxRemembered = 32
)

// HintElsewhere is what to do where no API server can be asked.
const HintElsewhere = "run this on a control-plane node, as root, or give --kubeconfig"

// settleTime is how long a move may take that makes a report look like trouble.
const settleTime = 500 * time.Millisecond

// Collect asks the Lease, the API servers and the agents. It fails only if no API server
// can say who holds the lease. What looks like trouble it looks at a second time.
func Collect(ctx context.Context, cfg config.Config) (Report, error) {
	report, err := collect(ctx, cfg)
	if err != nil || report.Problem == "" {
		return report, err
	}
	select {
	case <-ctx.Done():
		return report, nil
	case <-time.After(settleTime):
	}
	if again, err := collect(ctx, cfg); err == nil {
		return again, nil
	}
	return report, nil
}

func collect(ctx context.Context, cfg config.Config) (Report, error) {
	store := openStore(cfg)
	hosts := knownHosts(ctx, cfg)
	servers := apiclient.KubeconfigServers(cfg.Kubeconfigs) // the last ones: the VIP may be among them
	driver, err := kubelease.New(kubelease.Config{
		Namespace: cfg.Namespace, Name: cfg.LeaseName, Servers: store, Local: func() []string { return union(hosts, servers) },
		Clock: boottime.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return Report{}, err
	}
	record, renewed, err := driver.Read(ctx)
	if err != nil { // the agents of the peers may know of more
		hosts = append(hosts, remembered(askNodes(ctx, cfg, store, hosts))...)
		record, renewed, err = driver.Read(ctx)
	}
	if err != nil {
		return Report{}, explain(union(hosts, servers), err)
	}
	report := Report{Lease: leaseOf(cfg, record, renewed), Degraded: record.Degraded, Transitions: []kubelease.Transition{}}
	report.Transitions = append(report.Transitions, kubelease.Transitions(record.History)...)
	if all, err := driver.Endpoints(ctx); err == nil {
		hosts = union(all, hosts[1:]) // without loopback
		slices.Sort(hosts)
	}
	report.Nodes = askNodes(ctx, cfg, store, hosts)
	// A dead API server is not listed for long, but agents remember it.
	report.Nodes = append(report.Nodes, askNodes(ctx, cfg, store, remembered(report.Nodes))...)
	slices.SortFunc(report.Nodes, func(a, b Node) int { return strings.Compare(a.Address, b.Address) })
	report.nameTheSilent(nodeNames(ctx, store, union(hosts, servers), report.Nodes))
	report.Problem = report.judge()
	return report, nil
}

// explain says what to do about an API that could not be asked.
func explain(hosts []string, err error) error {
	if apiclient.IsDenied(err) {
		return fmt.Errorf("the API server refuses these credentials; give others with --kubeconfig: %w", err)
	}
	return fmt.Errorf("no API server at %s answers: %w; %s", strings.Join(hosts, ", "), err, HintElsewhere)
}

// nodeNames returns the names of the cluster's nodes by their addresses, if a node is without one and the
// credentials are a person's: kvip's own token must not read Nodes.
func nodeNames(ctx context.Context, store *apiclient.Store, hosts []string, nodes []Node) map[string]string {
	kind, _ := store.InUse()
	if kind != apiclient.Bootstrap || !slices.ContainsFunc(nodes, func(n Node) bool { return n.Name == "" }) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for _, host := range hosts {
		server, err := store.Server(host)
		if err != nil {
			return nil
		}
		list, err := server.Core.Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			continue
		}
		names := map[string]string{}
		for _, node := range list.Items {
			for _, a := range node.Status.Addresses {
				names[a.Address] = node.Name
			}
		}
		return names
	}
	return nil
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// openStore uses kvip's own token where this node has one, and else the kubeconfigs.
func openStore(cfg config.Config) *apiclient.Store {
	store := apiclient.NewStore(apiclient.StoreConfig{Kubeconfigs: cfg.Kubeconfigs, StateDir: cfg.StateDir, Log: slog.New(slog.DiscardHandler)})
	if cfg.StateDir == "" {
		return store
	}
	dir := tokenmanager.Directory(cfg.StateDir)
	if own, err := dir.Credentials(); err == nil {
		store.SetToken(own)
	}
	return store
}

// remembered returns the API servers that agents know of and that are not among nodes.
func remembered(nodes []Node) (hosts []string) {
	var known []string
	for _, n := range nodes {
		known = append(known, n.Address)
		if n.Agent != nil {
			hosts = union(hosts, n.Agent.Peers[:min(len(n.Agent.Peers), maxRemembered)])
		}
	}
	hosts = slices.DeleteFunc(hosts, func(h string) bool { return slices.Contains(known, h) })
	return hosts[:min(len(hosts), maxRemembered)]
}

// union returns what is in any of the lists, once, in their order.
func union(lists ...[]string) (all []string) {
	for _, one := range slices.Concat(lists...) {
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all
}

// knownHosts is where API servers may be: this node, and the peers that its agent knows.
func knownHosts(ctx context.Context, cfg config.Config) []string {
	hosts := []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port))}
	addresses := []string{config.DefaultHealthAddress, config.DaemonSetHealthAddress}
	if cfg.MetricsAddress != "" {
		addresses = append(addresses, cfg.MetricsAddress)
	}
	for _, address := range addresses {
		if a := askAgent(ctx, address); a != nil {
			return append(hosts, a.Peers[:min(len(a.Peers), maxRemembered)]...)
		}
	}
	return hosts
}

func leaseOf(cfg config.Config, r election.Record, renewed time.Time) Lease {
	l := Lease{
		Namespace: cfg.Namespace, Name: cfg.LeaseName, Exists: r.Exists, Holder: election.NodeName(r.Holder), Identity: r.Holder, Term: r.Term,
		Renewed: renewed, Duration: r.Duration, RequestedBy: r.RequestedBy,
	}
	if !renewed.IsZero() {
		l.Age = max(0, time.Since(renewed).Round(time.Millisecond))
	}
	return l
}

// askNodes asks every API server and the agent beside it, all at once.
func askNodes(ctx context.Context, cfg config.Config, store *apiclient.Store, hosts []string) []Node {
	nodes := make([]Node, len(hosts))
	var asked sync.WaitGroup
	for i, host := range hosts {
		asked.Go(func() { nodes[i] = askNode(ctx, cfg, store, host) })
	}
	asked.Wait()
	return nodes
}

// askNode asks both at once: an API server that hangs must not take the agent's time.
func askNode(ctx context.Context, cfg config.Config, store *apiclient.Store, host string) Node {
	n := Node{Address: host}
	var agent sync.WaitGroup
	ports := agentPorts(cfg)
	answers := make([]*Agent, len(ports))
	for i, port := range ports {
		agent.Go(func() { answers[i] = askAgent(ctx, net.JoinHostPort(hostOf(host), port)) })
	}
	if err := askReady(ctx, store, host); err != nil {
		n.Problem = problemOf(err)
	}
	n.Ready = n.Problem == ""
	agent.Wait()
	n.Agent = foremost(answers)
	if n.Agent != nil {
		n.Name = n.Agent.Node
	}
	return n
}

// agentPorts are where agents serve /status: those of the static pod and of the DaemonSet, or the one that
// was asked for.
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

// foremost returns the agent that has the address, else the first one that has begun: where a node has a
// static pod and a pod of the DaemonSet, one waits for the other.
func foremost(answers []*Agent) (best *Agent) {
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
	for _, a := range answers {
		if rank(a) > rank(best) {
			best = a
		}
	}
	return best
}

// problemOf says why an API server is not ready. Silence needs no more words.
func problemOf(err error) string {
	var network net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout() {
		return fmt.Sprintf("its API server does not answer for %v", askTimeout)
	}
	return err.Error()
}

func askReady(ctx context.Context, store *apiclient.Store, host string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	tls, err := store.TLS()
	if err != nil {
		return err
	}
	return health.Ready(ctx, tls, store.Authorization(), "https://"+host)
}

// direct asks the nodes themselves, never a proxy that the environment names, nor whom an answer names.
var direct = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// askAgent reads an agent's /status; nil if there is none.
func askAgent(ctx context.Context, address string) *Agent {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/status", nil)
	if err != nil {
		return nil
	}
	response, err := direct.Do(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	var a Agent
	if response.StatusCode != http.StatusOK || json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&a) != nil {
		return nil
	}
	return &a
}
