package svc

import (
	"encoding/json"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/kvip/kvip/pkg/placement"
)

// Limits of NodeInfo in one node's Lease: any node may write the Lease of any other.
const (
	maxNodeInfo    = 128 << 10 // bytes of the annotation
	maxLinks       = 64
	maxNames       = 16 // of one link
	maxSubnets     = 32 // of one link
	maxNodeVIPs    = 16
	maxNodeAddrs   = 256
	maxFailed      = 256
	maxName        = 253 // bytes of a name
	maxExplanation = 300 // bytes of a reason
)

// NodeInfo is the state of a node that its speaker publishes in the node's Lease. Decisions about a
// node depend on this and the Node object, not on flags of the deciding agent.
type NodeInfo struct {
	// Node is the node's name.
	Node string `json:"node"`
	// Links are its usable links and their subnets.
	Links []LinkInfo `json:"links"`
	// Selected reports whether --services-interface is set. Services that name no interface then use
	// only the links that it selects.
	Selected bool `json:"selected,omitempty"`
	// ControlPlane lists the virtual IPs of control planes that this node has now.
	ControlPlane []netip.Addr `json:"controlPlane,omitempty"`
	// Addresses are the node's own on its links: no Service may have one of them.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Unavailable is why the node cannot own any address at present. FailedAddresses are the reasons
	// for single addresses.
	Unavailable     string                `json:"unavailable,omitempty"`
	FailedAddresses map[netip.Addr]string `json:"failedAddresses,omitempty"`
	// StatusPort is the port of the agent's page /services; 0 if it is not served.
	StatusPort int `json:"statusPort,omitempty"`
}

// LinkInfo is one usable link of a node.
type LinkInfo struct {
	Name string `json:"name"`
	// Names are its alternative names.
	Names   []string       `json:"names,omitempty"`
	MAC     string         `json:"mac"`
	Subnets []netip.Prefix `json:"subnets,omitempty"`
	// Selected reports whether --services-interface selects the link, or --services-fallback if that
	// is not set.
	Selected bool `json:"selected,omitempty"`
}

// Bounded returns i within its limits. Writers and readers apply it alike. Links are cut from the
// end.
func (i NodeInfo) Bounded() NodeInfo {
	i.Links = slices.Clone(first(i.Links, maxLinks))
	i.Links = slices.DeleteFunc(i.Links, func(l LinkInfo) bool { return invalidName(l.Name) })
	for at, l := range i.Links {
		i.Links[at] = l.bounded()
	}
	i.ControlPlane = hostAddresses(i.ControlPlane, maxNodeVIPs)
	i.Addresses = hostAddresses(i.Addresses, maxNodeAddrs)
	i.Unavailable = explanation(i.Unavailable)
	if len(i.FailedAddresses) > 0 {
		failed := make(map[netip.Addr]string, min(len(i.FailedAddresses), maxFailed))
		for _, addr := range hostAddresses(slices.Collect(maps.Keys(i.FailedAddresses)), maxFailed) {
			failed[addr] = explanation(i.FailedAddresses[addr])
		}
		i.FailedAddresses = failed
	}
	if i.StatusPort < 0 || i.StatusPort > 65535 {
		i.StatusPort = 0
	}
	return i
}

func (l LinkInfo) bounded() LinkInfo {
	l.Names = keep(l.Names, maxNames, func(name string) bool { return !invalidName(name) })
	l.Subnets = keep(l.Subnets, maxSubnets, func(p netip.Prefix) bool {
		return p.IsValid() && p.Bits() > 0
	})
	if mac, err := net.ParseMAC(l.MAC); err != nil || len(mac) != 6 {
		l.MAC = ""
	}
	return l
}

func invalidName(name string) bool { return name == "" || len(name) > maxName }

func readNodeInfo(text string) (info NodeInfo) {
	invalid := len(text) > maxNodeInfo || json.Unmarshal([]byte(text), &info) != nil
	if invalid || len(info.Node) > maxName {
		return NodeInfo{}
	}
	return info.Bounded()
}

// keep returns the valid ones among the first n elements of list, nil if there are none.
func keep[T any](list []T, n int, valid func(T) bool) (kept []T) {
	for _, one := range first(list, n) {
		if valid(one) {
			kept = append(kept, one)
		}
	}
	return kept
}

// hostAddresses returns the addresses that a link can have, link-local ones included, sorted, at
// most n.
func hostAddresses(list []netip.Addr, n int) []netip.Addr {
	list = slices.DeleteFunc(slices.Clone(list), func(a netip.Addr) bool {
		return !a.IsValid() || a.Zone() != "" || a.Is4In6() ||
			a.IsUnspecified() || a.IsMulticast() || a.IsLoopback()
	})
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return first(slices.Compact(list), n)
}

// explanation makes a reason safe for a log and a terminal.
func explanation(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, text)
	if len(text) > maxExplanation {
		text = strings.ToValidUTF8(text[:maxExplanation], "") + "..."
	}
	return text
}

// PlacementLinks returns the links for package placement.
func (i NodeInfo) PlacementLinks() []placement.Link {
	links := make([]placement.Link, 0, len(i.Links))
	for _, l := range i.Links {
		links = append(links, placement.Link{
			Name: l.Name, Names: l.Names, Selected: l.Selected, Subnets: l.Subnets,
		})
	}
	return links
}
