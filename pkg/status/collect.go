package status

import (
	"context"
	"encoding/json"
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

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/clock"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/pkg/health"
	"github.com/kvip/kvip/pkg/rights"
)

const (
	askTimeout = 2 * time.Second
	maxAnswer  = 1 << 20
)

// Collect asks the Lease, the API servers and the agents. It fails only if no API server
// can say who holds the lease.
func Collect(ctx context.Context, cfg config.Config) (Report, error) {
	store := openStore(cfg)
	hosts := knownHosts(ctx, cfg)
	driver, err := kubelease.New(kubelease.Config{
		Namespace: cfg.Namespace, Name: cfg.LeaseName, Servers: store, Local: func() []string { return append([]string(nil), hosts...) },
		Clock: clock.Boottime, Log: slog.New(slog.DiscardHandler),
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
		return Report{}, fmt.Errorf("no API server at %s answers: %w", strings.Join(hosts, ", "), err)
	}
	report := Report{Lease: leaseOf(cfg, record, renewed), Degraded: record.Degraded, Transitions: []kubelease.Transition{}}
	report.Transitions = append(report.Transitions, kubelease.Transitions(record.History)...)
	if all, err := driver.Endpoints(ctx); err == nil {
		hosts = union(all, hosts[1:]) // without loopback
	}
	report.Nodes = askNodes(ctx, cfg, store, hosts)
	// A dead API server is not listed for long, but agents remember it.
	report.Nodes = append(report.Nodes, askNodes(ctx, cfg, store, remembered(report.Nodes))...)
	slices.SortFunc(report.Nodes, func(a, b Node) int { return strings.Compare(a.Address, b.Address) })
	return report, nil
}

// openStore uses kvip's own token where this node has one, and else the kubeconfigs.
func openStore(cfg config.Config) *apiclient.Store {
	store := apiclient.NewStore(apiclient.Config{Kubeconfigs: cfg.Kubeconfigs, StateDir: cfg.StateDir, Log: slog.New(slog.DiscardHandler)})
	if cfg.StateDir == "" {
		return store
	}
	dir := rights.Directory(cfg.StateDir)
	if own, err := dir.Own(); err == nil {
		store.Adopt(own)
	}
	return store
}

// remembered returns the API servers that agents know of and that are not among nodes.
func remembered(nodes []Node) (hosts []string) {
	var known []string
	for _, n := range nodes {
		known = append(known, n.Address)
		if n.Agent != nil {
			hosts = union(hosts, n.Agent.Peers)
		}
	}
	return slices.DeleteFunc(hosts, func(h string) bool { return slices.Contains(known, h) })
}

// union returns what is in either list, once.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
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
			return append(hosts, a.Peers...)
		}
	}
	return hosts
}

func leaseOf(cfg config.Config, r election.Record, renewed time.Time) Lease {
	l := Lease{
		Namespace: cfg.Namespace, Name: cfg.LeaseName, Exists: r.Exists, Holder: election.NodeOf(r.Holder), Identity: r.Holder, Term: r.Term,
		Renewed: renewed, Duration: r.Duration, WantedBy: r.WantedBy,
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
	address, _, _ := net.SplitHostPort(host)
	if _, port, err := net.SplitHostPort(cfg.MetricsAddress); err == nil {
		agent.Go(func() { n.Agent = askAgent(ctx, net.JoinHostPort(address, port)) })
	}
	if err := askReady(ctx, store, host); err != nil {
		n.Problem = err.Error()
	}
	n.Ready = n.Problem == ""
	agent.Wait()
	if n.Agent != nil {
		n.Name = n.Agent.Node
	}
	return n
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

// direct asks the nodes themselves, never a proxy that the environment names.
var direct = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

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
