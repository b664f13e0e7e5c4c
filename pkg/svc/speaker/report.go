package speaker

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/printable"
)

// Report is what one node reports of all Services, or of one. The page /services serves it as JSON.
type Report struct {
	Node string `json:"node"`
	// Fresh reports whether this node may decide about others. Otherwise its addresses stay (S2).
	Fresh bool `json:"fresh"`
	// Alive are the announcing nodes that are alive in this node's view.
	Alive []string `json:"alive"`
	// Problem is what does not work at present.
	Problem   string          `json:"problem,omitempty"`
	Addresses []AddressReport `json:"addresses"`
}

// AddressReport is what one node reports of an address.
type AddressReport struct {
	Address  netip.Addr `json:"address"`
	Services []string   `json:"services"`
	// Node is the owner by this node's decision, "" if there is none. Reason and Sentence explain it.
	Node     string `json:"node"`
	Link     string `json:"link,omitempty"`
	Reason   string `json:"reason"`
	Sentence string `json:"sentence"`
	// Present reports whether the reporting node has the address, since Since. State is owned,
	// adopted, leaving or shared.
	Present bool      `json:"present"`
	State   string    `json:"state,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	// Eligible and Rejected explain the decision. A report about all Services omits them.
	Eligible []string          `json:"eligible,omitempty"`
	Rejected map[string]string `json:"rejected,omitempty"`
}

// page is the result of the last reconcile, for other goroutines.
type page struct {
	mu        sync.Mutex
	version   uint64
	snapshot  snapshot
	decisions map[netip.Addr]placement.Decision
	have      assignments
	problem   string
}

// updatePage sets the page. Without a fresh view nothing was decided, and the earlier decisions
// stand (S2).
func (s *Speaker) updatePage(snap snapshot, decisions map[netip.Addr]placement.Decision) {
	p := &s.page
	p.mu.Lock()
	defer p.mu.Unlock()
	if snap.view.Fresh {
		p.decisions = decisions
	}
	p.version++
	p.snapshot, p.have = snap, maps.Clone(s.applier.have)
	p.problem = joinTexts(s.problem, s.applier.faults.summary(s.cfg.Clock()))
}

// PlacementVersion grows whenever the result of Placement may have changed.
func (s *Speaker) PlacementVersion() uint64 {
	s.page.mu.Lock()
	defer s.page.mu.Unlock()
	return s.page.version
}

// Placement returns where an address belongs, and explains it to people. Without a fresh view, or
// for an unknown address, both are zero.
func (s *Speaker) Placement(addr netip.Addr) (d placement.Decision, why string) {
	s.page.mu.Lock()
	defer s.page.mu.Unlock()
	d, known := s.page.decisions[addr]
	if !known || !s.page.snapshot.view.Fresh {
		return placement.Decision{}, ""
	}
	return d, s.page.explain(addr, d)
}

// explain returns the reason of a decision as a sentence. If the owner cannot carry the address,
// it quotes the owner.
func (p *page) explain(addr netip.Addr, d placement.Decision) string {
	if d.Reason != placement.ReasonCannotCarry {
		return d.Reason.Sentence()
	}
	return fmt.Sprintf("%s: %s reports: %s",
		d.Reason.Sentence(), d.Node, p.snapshot.failureOf(d.Node, addr))
}

// Report returns this node's report of the given Service ("namespace/name"); empty means all.
func (s *Speaker) Report(service string) Report {
	view := s.cfg.NodeLease.View()
	s.page.mu.Lock()
	defer s.page.mu.Unlock()
	r := Report{
		Node: s.cfg.Node, Fresh: view.Fresh, Alive: view.Alive, Addresses: []AddressReport{},
		Problem: s.problemWith(s.page.problem),
	}
	for _, addr := range sortedAddrs(s.page.snapshot.services) {
		services := s.page.snapshot.serviceNames(addr)
		if service == "" || slices.Contains(services, service) {
			one := s.page.describe(addr, service != "", s.cfg.Clock())
			one.Services = services
			r.Addresses = append(r.Addresses, one)
		}
	}
	return r
}

func (p *page) describe(addr netip.Addr, withRejected bool, now time.Duration) AddressReport {
	d := p.decisions[addr]
	one := AddressReport{
		Address: addr, Node: d.Node, Link: d.Link, Reason: string(d.Reason),
		Sentence: p.explain(addr, d),
	}
	if a, ok := p.have[addr]; ok {
		one.Present, one.State = true, string(a.phase)
		one.Since = time.Now().Add(a.since - now).Truncate(time.Millisecond)
	}
	if !withRejected {
		return one
	}
	e := placement.Explain(p.snapshot.address(addr), p.snapshot.nodes)
	one.Eligible, one.Rejected = e.Eligible, map[string]string{}
	for node, reason := range e.Rejected {
		one.Rejected[node] = reason.Sentence()
	}
	return one
}

// problemWith joins own, what does not work here, with the problems of Lease and cache.
func (s *Speaker) problemWith(own string) string {
	return joinTexts(s.cfg.NodeLease.Problem(), s.cfg.Cache.Problem(), own)
}

// joinTexts joins those that are not empty.
func joinTexts(texts ...string) string {
	return strings.Join(slices.DeleteFunc(texts, func(text string) bool { return text == "" }), "; ")
}

// ServeHTTP serves the page /services; ?name=NAMESPACE/NAME selects one Service.
func (s *Speaker) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(printable.JSON(w))
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(s.Report(q.URL.Query().Get("name")))
}

// reportHealth reports whether this node can take addresses: it can if its view is fresh.
func (s *Speaker) reportHealth() {
	s.page.mu.Lock()
	own := s.page.problem
	s.page.mu.Unlock()
	problem := s.problemWith(own)
	switch {
	case s.cfg.NodeLease.View().Fresh:
		s.cfg.Health.Impaired(problem)
	case problem != "":
		s.cfg.Health.Stopped(problem)
	default:
		s.cfg.Health.Stopped("the view of the cluster is stale: the Lease of node " + s.cfg.Node +
			" was not renewed and seen back yet")
	}
}
