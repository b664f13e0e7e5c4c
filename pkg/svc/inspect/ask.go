// Package inspect finds out about one Service what the API and every agent know: who announces its
// addresses, since when, and why. It changes nothing and decides nothing.
package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/svc/speaker"
)

const (
	askTimeout = 2 * time.Second
	maxAnswer  = 1 << 20
)

// Config of a question. All fields are needed.
type Config struct {
	Router *apiclient.Router
	Reader svc.Reader
	// LeaseNamespace is where the Leases of the Services part are.
	LeaseNamespace string
	// Namespace and Name are the Service's.
	Namespace, Name string
}

// Report is what is known of a Service.
type Report struct {
	Service string `json:"service"`
	// Managed says that kvip serves it, else Why says why not.
	Managed    bool   `json:"managed"`
	SkipReason string `json:"skipReason,omitempty"`
	// Status are the addresses in its status, Condition kvip's own condition there.
	Status    []netip.Addr      `json:"status"`
	Condition *metav1.Condition `json:"condition,omitempty"`
	Addresses []Address         `json:"addresses"`
	// Problem says which addresses are not announced by exactly one node; empty if all are, as far as
	// is known.
	Problem string `json:"problem,omitempty"`
	// Responded are the nodes whose agents answered.
	Responded []string `json:"responded"`
	// Problems are what does not work at present, by the node whose agent says so.
	Problems map[string]string `json:"problems,omitempty"`
	// Unreachable are the nodes whose agents did not answer, and why.
	Unreachable map[string]string `json:"unreachable,omitempty"`
}

// Address is one address of the Service, as the agent says that knows best. Here, State and Since are set
// if Node announces it.
type Address struct {
	speaker.AddressReport
	// On are the nodes that have the address, in the state that each says.
	On map[string]string `json:"on"`
}

// Service asks. It fails if the API does not know the Service.
func Service(ctx context.Context, cfg Config) (Report, error) {
	var one *svc.Service
	var leases []*svc.Lease
	addresses := map[string][]netip.Addr{}
	err := cfg.Router.Do(ctx, func(ctx context.Context, s *apiclient.Server) error {
		object, err := s.Core.Services(cfg.Namespace).Get(ctx, cfg.Name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("get service %s/%s: %w", cfg.Namespace, cfg.Name, err)
		}
		one = cfg.Reader.Service(object)
		if leases, err = nodeLeases(ctx, s, cfg.LeaseNamespace); err != nil {
			return err
		}
		return nodeAddresses(ctx, s, addresses)
	})
	if err != nil {
		return Report{}, err
	}
	report := ofObject(one)
	answers, silent := askAll(ctx, leases, addresses, report.Service)
	report.Addresses, report.Problems = merge(answers), problems(answers)
	report.Responded, report.Unreachable = nodesOf(answers), silent
	report.Problem = report.judge()
	return report, nil
}

// ofObject is what the API alone tells.
func ofObject(one *svc.Service) Report {
	report := Report{Service: string(one.Owner()), Managed: one.Managed, SkipReason: one.SkipReason, Status: append([]netip.Addr{}, one.Status...), Condition: one.Condition}
	if !one.Managed && one.SkipReason == "" {
		report.SkipReason = "it is not of type LoadBalancer"
	}
	return report
}

func nodesOf(answers []speaker.Report) []string {
	nodes := make([]string, len(answers))
	for i, answer := range answers {
		nodes[i] = answer.Node
	}
	return nodes
}

func problems(answers []speaker.Report) map[string]string {
	all := map[string]string{}
	for _, answer := range answers {
		if answer.Problem != "" {
			all[answer.Node] = answer.Problem
		}
	}
	return all
}

func nodeLeases(ctx context.Context, s *apiclient.Server, namespace string) ([]*svc.Lease, error) {
	list, err := s.Coordination.Leases(namespace).List(ctx, metav1.ListOptions{LabelSelector: svc.LabelRole + "=" + svc.RoleNode})
	if err != nil {
		return nil, fmt.Errorf("list leases of nodes in %s: %w", namespace, err)
	}
	var all []*svc.Lease
	for i := range list.Items {
		if l := svc.ReadLease(&list.Items[i]); l.Holder != "" && l.Info.Node != "" {
			all = append(all, l)
		}
	}
	return all, nil
}

func nodeAddresses(ctx context.Context, s *apiclient.Server, into map[string][]netip.Addr) error {
	list, err := s.Core.Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	for _, n := range list.Items {
		for _, a := range n.Status.Addresses {
			if addr, err := netip.ParseAddr(a.Address); err == nil {
				into[n.Name] = append(into[n.Name], addr)
			}
		}
	}
	return nil
}

// askAll asks every agent at once. A node may have a second Lease, from before the seat was renamed: it is
// silent only if it answers by neither.
func askAll(ctx context.Context, leases []*svc.Lease, addresses map[string][]netip.Addr, service string) (answers []speaker.Report, silent map[string]string) {
	silent = map[string]string{}
	var mu sync.Mutex
	var group sync.WaitGroup
	for _, l := range leases {
		group.Go(func() {
			answer, err := askNode(ctx, l.Info, addresses[l.Info.Node], service)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				silent[l.Info.Node] = err.Error()
			} else {
				answers = append(answers, answer)
			}
		})
	}
	group.Wait()
	for _, answer := range answers {
		delete(silent, answer.Node)
	}
	slices.SortFunc(answers, func(a, b speaker.Report) int { return strings.Compare(a.Node, b.Node) })
	return answers, silent
}

// askNode tries the node's addresses in turn.
func askNode(ctx context.Context, info svc.NodeInfo, addresses []netip.Addr, service string) (report speaker.Report, err error) {
	if info.StatusPort == 0 {
		return report, fmt.Errorf("its agent serves no page (--metrics-address)")
	}
	err = fmt.Errorf("the Node has no address")
	for _, addr := range addresses {
		page := url.URL{Scheme: "http", Host: net.JoinHostPort(addr.String(), strconv.Itoa(info.StatusPort)), Path: "/services", RawQuery: url.Values{"name": {service}}.Encode()}
		if report, err = askPage(ctx, page.String()); err == nil && report.Node != info.Node {
			err = fmt.Errorf("ask agent at %s: it answers for node %q", page.String(), report.Node) // a foreign host, or a foreign program
		}
		if err == nil {
			return report, nil
		}
	}
	return report, err
}

// direct goes through no proxy, as the agents are on the nodes' own network, and nowhere that an answer names.
var direct = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func askPage(ctx context.Context, page string) (report speaker.Report, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return report, fmt.Errorf("ask agent: %w", err)
	}
	response, err := direct.Do(request)
	if err != nil {
		return report, fmt.Errorf("ask agent: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return report, fmt.Errorf("ask agent at %s: %s", page, response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&report); err != nil {
		return report, fmt.Errorf("read answer of agent at %s: %w", page, err)
	}
	return report, nil
}
