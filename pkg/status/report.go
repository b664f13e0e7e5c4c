// Package status tells who holds the virtual addresses and why, from any control-plane
// node and without the virtual addresses: it asks the Lease, every API server and every
// agent. It changes nothing.
package status

import (
	"time"

	"github.com/kvip/kvip/pkg/election/kubelease"
)

// Report is what `kvip status` prints; its JSON form is stable.
type Report struct {
	Lease    Lease  `json:"lease"`
	Degraded string `json:"degraded,omitempty"` // why the holder stays without a ready API server
	// Problem says why the addresses are not with exactly one node; empty if they are.
	Problem string `json:"problem,omitempty"`
	Nodes   []Node `json:"nodes"`
	// Unseen are nodes that the lease names and no agent answers for.
	Unseen      []string               `json:"unseen,omitempty"`
	Transitions []kubelease.Transition `json:"transitions"` // newest last
}

// Lease is the election's object.
type Lease struct {
	Namespace   string        `json:"namespace"`
	Name        string        `json:"name"`
	Exists      bool          `json:"exists"`
	Holder      string        `json:"holder,omitempty"` // node name; empty when nobody holds it
	Identity    string        `json:"identity,omitempty"`
	Term        int64         `json:"term"`
	Renewed     time.Time     `json:"renewed,omitzero"`
	Age         time.Duration `json:"ageNanoseconds,omitempty"` // since Renewed, by this machine's clock
	Duration    time.Duration `json:"durationNanoseconds,omitempty"`
	RequestedBy string        `json:"requestedBy,omitempty"`
}

// Node is one control-plane node: its API server, and its agent where that answers.
type Node struct {
	Address string `json:"address"` // of the API server
	Name    string `json:"name,omitempty"`
	Ready   bool   `json:"ready"`
	Problem string `json:"problem,omitempty"` // why it is not ready
	Agent   *Agent `json:"agent,omitempty"`   // nil when the agent does not answer
}

// Agent is one agent's own view, as it answers on /status.
type Agent struct {
	Node        string   `json:"node"`
	Identity    string   `json:"identity"`
	Version     string   `json:"version"`
	VIPs        []string `json:"vips"`
	Link        string   `json:"link,omitempty"`
	State       string   `json:"state"`  // of the election
	Reason      string   `json:"reason"` // for that state
	Owned       bool     `json:"owned"`  // the kernel has the addresses
	Term        int64    `json:"term"`
	Health      string   `json:"health"` // of the API server beside it
	HealthWhy   string   `json:"healthReason,omitempty"`
	Warning     string   `json:"warning,omitempty"`
	Rights      string   `json:"rights,omitempty"`      // whose are used: serviceaccount, bootstrap or none
	Credentials string   `json:"credentials,omitempty"` // file in use, or why there is none
	// TokenExpires is when the token that the agent keeps itself expires.
	TokenExpires  time.Time `json:"tokenExpires,omitzero"`
	RightsProblem string    `json:"rightsProblem,omitempty"` // what keeps it from having such a token
	NotReady      string    `json:"notReady,omitempty"`      // empty when the agent is ready
	Peers         []string  `json:"peers,omitempty"`         // the other API servers it knows
}
