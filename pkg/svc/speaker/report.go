package speaker

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/printable"
)

// Report is what the page /services of an agent says: this node's view of one or all Services.
type Report struct {
	Node string `json:"node"`
	// Fresh says that this node may judge who is alive; else it keeps what it has (S2).
	Fresh bool `json:"fresh"`
	// Alive are the announcing nodes that count as alive.
	Alive []string `json:"alive"`
	// Problem says what does not work at present.
	Problem   string          `json:"problem,omitempty"`
	Addresses []AddressReport `json:"addresses"`
}

// AddressReport is one address.
type AddressReport struct {
	Address  netip.Addr `json:"address"`
	Services []string   `json:"services"`
	// Node is who announces it by this node's view, "" if nobody does; Reason says why.
	Node     string `json:"node"`
	Link     string `json:"link,omitempty"`
	Reason   string `json:"reason"`
	Sentence string `json:"sentence"`
	// Present says that the address is on the node that reports, since then; State is owned, leaving,
	// adopted or shared.
	Present bool      `json:"present"`
	State   string    `json:"state,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	// Eligible and Rejected explain the choice; they are given for a single Service.
	Eligible []string          `json:"eligible,omitempty"`
	Rejected map[string]string `json:"rejected,omitempty"`
}

// report is what the page is made of.
type report struct {
	situation situation
	decisions map[netip.Addr]placement.Decision
	have      holdings
	problem   string
}

// publish shows the page, and the allocator, what was decided.
func (a *Speaker) publish(s situation, decisions map[netip.Addr]placement.Decision) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !s.verdict.Fresh {
		decisions = a.shown.decisions // nothing was decided; what was stands (S2)
	}
	a.placed.Add(1)
	a.shown = report{situation: s, decisions: decisions, have: maps.Clone(a.have), problem: joined(a.failing, a.able.problem(a.cfg.Clock(), a.isChosen))}
}

// PlacementVersion grows whenever Placement may answer otherwise than before.
func (a *Speaker) PlacementVersion() uint64 { return a.placed.Load() }

// Placement says where an address belongs, and explains it to a person. Without a reason nobody knows.
func (a *Speaker) Placement(addr netip.Addr) (d placement.Decision, why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	d, known := a.shown.decisions[addr]
	if !known || !a.shown.situation.verdict.Fresh {
		return placement.Decision{}, ""
	}
	return d, a.shown.why(addr, d)
}

// why explains a decision: with what the node says, where it cannot carry the address.
func (r report) why(addr netip.Addr, d placement.Decision) string {
	if d.Reason != placement.ReasonCannotCarry {
		return d.Reason.Sentence()
	}
	return fmt.Sprintf("%s: %s says: %s", d.Reason.Sentence(), d.Node, r.situation.cannotCarry(d.Node, addr))
}

// Report returns this node's view of all Services, or with a name of one alone and then with why.
func (a *Speaker) Report(owner string) Report {
	a.mu.Lock()
	shown := a.shown
	a.mu.Unlock()
	verdict := a.cfg.NodeLease.View()
	r := Report{Node: a.cfg.Node, Fresh: verdict.Fresh, Alive: verdict.Alive, Addresses: []AddressReport{}, Problem: a.problem(shown.problem)}
	for addr, tenants := range shown.situation.tenants {
		one := AddressReport{Address: addr}
		for _, t := range tenants {
			one.Services = append(one.Services, string(t.Owner()))
		}
		if owner == "" || slices.Contains(one.Services, owner) {
			r.Addresses = append(r.Addresses, shown.describe(one, owner != "", a.cfg.Clock))
		}
	}
	slices.SortFunc(r.Addresses, func(x, y AddressReport) int { return x.Address.Compare(y.Address) })
	return r
}

func (a *Speaker) problem(own string) string {
	return joined(a.cfg.NodeLease.Problem(), a.cfg.Cache.Problem(), own)
}

func joined(texts ...string) string {
	return strings.Join(slices.DeleteFunc(texts, func(text string) bool { return text == "" }), "; ")
}

func (r report) describe(one AddressReport, why bool, now boottime.Clock) AddressReport {
	d := r.decisions[one.Address]
	one.Node, one.Link, one.Reason, one.Sentence = d.Node, d.Link, string(d.Reason), r.why(one.Address, d)
	if h, here := r.have[one.Address]; here {
		one.Present, one.State = true, h.state()
		one.Since = time.Now().Add(h.since - now()).Truncate(time.Millisecond)
	}
	if !why {
		return one
	}
	e := placement.Explain(r.situation.address(one.Address), r.situation.nodes)
	one.Eligible = e.Eligible
	one.Rejected = map[string]string{}
	for node, reason := range e.Rejected {
		one.Rejected[node] = reason.Sentence()
	}
	return one
}

func (h held) state() string {
	switch {
	case h.shared:
		return "shared"
	case h.leaving:
		return "leaving"
	case h.adopted:
		return "adopted"
	}
	return "owned"
}

// ServeHTTP is the page /services; ?name=NAMESPACE/NAME asks for one Service.
func (a *Speaker) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(printable.JSON(w))
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(a.Report(q.URL.Query().Get("name")))
}

// LastReconcile is the instant of the last turn (E12).
func (a *Speaker) LastReconcile() time.Duration { return time.Duration(a.beat.Load()) }

// NotReady says why this node could take no address now, or "".
func (a *Speaker) NotReady() string {
	a.mu.Lock()
	own := a.shown.problem
	a.mu.Unlock()
	if a.cfg.NodeLease.View().Fresh {
		return ""
	}
	if problem := a.problem(own); problem != "" {
		return problem
	}
	return fmt.Sprintf("the view of the cluster is not fresh: the Lease of node %s was not renewed and seen back yet", a.cfg.Node)
}
