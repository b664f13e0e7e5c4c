// Package status reports which node holds the VIPs and why, or which nodes announce them by BGP,
// from any control-plane node and without using the VIPs: it reads the Lease, and probes every API
// server and every agent. It changes nothing.
package status

import (
	"time"

	"github.com/kvip/kvip/pkg/election/kubelease"
)

// Report is the output of `kvip status`. Its JSON form is stable.
type Report struct {
	// Announce is AnnounceBGP if agents announce the VIPs by BGP. Then there is no Lease, and there
	// are no transitions. Empty: one node holds the VIPs.
	Announce string `json:"announce,omitempty"`
	Lease    Lease  `json:"lease,omitzero"`
	// Degraded is why the holder stays with an API server that is not ready or slow. By BGP: why all
	// nodes that announce do so by the worse path.
	Degraded string `json:"degraded,omitempty"`
	// Problem is why the VIPs are not on exactly one node, or by BGP not on all nodes that are ready;
	// empty if they are.
	Problem string `json:"problem,omitempty"`
	Nodes   []Node `json:"nodes"`
	// Unseen are nodes that the lease names and whose agents do not answer.
	Unseen []string `json:"unseen,omitempty"`
	// Transitions are the last changes of holder, newest last.
	Transitions []kubelease.Transition `json:"transitions,omitzero"`
}

// Lease is the Lease of the election.
type Lease struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Exists    bool      `json:"exists"`
	Holder    string    `json:"holder,omitempty"` // node name; empty without a holder
	Identity  string    `json:"identity,omitempty"`
	Term      int64     `json:"term"`
	Renewed   time.Time `json:"renewed,omitzero"`
	// Age is the time since Renewed by this host's clock.
	Age         time.Duration `json:"ageNanoseconds,omitempty"`
	Duration    time.Duration `json:"durationNanoseconds,omitempty"`
	RequestedBy string        `json:"requestedBy,omitempty"`
	// Voters are the nodes whose agents confirm the holder in mode fast. Empty in mode slow (F7).
	Voters []string `json:"voters,omitempty"`
}

// Node is one control-plane node: its API server, and its agent.
type Node struct {
	Address string `json:"address"` // of the API server
	Name    string `json:"name,omitempty"`
	Ready   bool   `json:"ready"`
	Problem string `json:"problem,omitempty"` // why it is not ready
	Agent   *Agent `json:"agent,omitempty"`   // nil if the agent does not answer
}

// Agent is the view of one agent, as it serves it on /status.
type Agent struct {
	Node     string   `json:"node"`
	Identity string   `json:"identity"`
	Version  string   `json:"version"`
	VIPs     []string `json:"vips"`
	Link     string   `json:"link,omitempty"`
	State    string   `json:"state"`  // of the election
	Reason   string   `json:"reason"` // for that state
	Owned    bool     `json:"owned"`  // the kernel has the VIPs
	// Draining reports whether the agent serves connections of an earlier tenure (F11).
	Draining bool `json:"draining,omitempty"`
	// Fence is what ends the service of the VIPs on this node at the deadline (F9).
	Fence string `json:"fence,omitempty"`
	// Slow is why this agent takes no part in mode fast, or as the holder is in mode slow.
	Slow string `json:"slow,omitempty"`
	// Agents is how many agents this one knows, itself included.
	Agents    int    `json:"agents,omitempty"`
	Term      int64  `json:"term"`
	Health    string `json:"health"` // of the local API server
	HealthWhy string `json:"healthReason,omitempty"`
	Warning   string `json:"warning,omitempty"`
	// CredentialsKind is the kind of credentials in use: serviceaccount, bootstrap or none.
	CredentialsKind string `json:"credentialsKind,omitempty"`
	// Credentials is the file in use, or why there is none.
	Credentials string `json:"credentials,omitempty"`
	// TokenExpires is when the agent's own token expires.
	TokenExpires time.Time `json:"tokenExpires,omitzero"`
	// TokenProblem is why the agent has no such token.
	TokenProblem string   `json:"tokenProblem,omitempty"`
	NotReady     string   `json:"notReady,omitempty"` // why; empty if the agent is ready
	Peers        []string `json:"peers,omitempty"`    // the other API servers that it knows
	// BGP is nil if the agent has no part in BGP.
	BGP *BGP `json:"bgp,omitempty"`
}
