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

// Bounds of what one node's Lease may say. Any node may write the Lease of any other.
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

// NodeInfo is what an agent tells the others in its node's Lease. What a node decides about another one comes from
// there and from the Node object, never from its own flags.
type NodeInfo struct {
	// Node is the node's name.
	Node string `json:"node"`
	// Links are its usable links and their subnets.
	Links []LinkInfo `json:"links"`
	// Selected reports whether the agent's --services-interface is set: Services that name no interface go to
	// the links that it selects.
	Selected bool `json:"selected,omitempty"`
	// ControlPlane are the virtual IPs of the control plane that this node has now.
	ControlPlane []netip.Addr `json:"controlPlane,omitempty"`
	// Addresses are the node's own on its links: no Service may have one of them.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Unavailable is why the node can carry no address at present, and Failed why it cannot carry single ones.
	Unavailable     string                `json:"unavailable,omitempty"`
	FailedAddresses map[netip.Addr]string `json:"failedAddresses,omitempty"`
	// StatusPort is the port on which the agent's /services page is served; 0 if it is not.
	StatusPort int `json:"statusPort,omitempty"`
}

// LinkInfo is one usable link of a node.
type LinkInfo struct {
	Name string `json:"name"`
	// Names are its alternative names.
	Names   []string       `json:"names,omitempty"`
	MAC     string         `json:"mac"`
	Subnets []netip.Prefix `json:"subnets,omitempty"`
	// Selected reports whether the agent's --services-interface selects it or, where that is not set, its
	// --services-fallback.
	Selected bool `json:"selected,omitempty"`
}

// Bounded returns what of i fits into a Lease, and is taken from one: readers and writers cut alike. Links are cut
// from the end.
func (i NodeInfo) Bounded() NodeInfo {
	i.Links = slices.Clone(head(i.Links, maxLinks))
	i.Links = slices.DeleteFunc(i.Links, func(l LinkInfo) bool { return l.Name == "" || len(l.Name) > maxName })
	for at, l := range i.Links {
		i.Links[at] = l.bounded()
	}
	i.ControlPlane = unicast(i.ControlPlane, maxNodeVIPs)
	i.Addresses = unicast(i.Addresses, maxNodeAddrs)
	i.Unavailable = explanation(i.Unavailable)
	if len(i.FailedAddresses) > 0 {
		failed := make(map[netip.Addr]string, min(len(i.FailedAddresses), maxFailed))
		for _, addr := range unicast(slices.Collect(maps.Keys(i.FailedAddresses)), maxFailed) {
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
	l.Names = slices.DeleteFunc(slices.Clone(head(l.Names, maxNames)), func(name string) bool { return name == "" || len(name) > maxName })
	if len(l.Names) == 0 {
		l.Names = nil
	}
	if mac, err := net.ParseMAC(l.MAC); err != nil || len(mac) != 6 {
		l.MAC = ""
	}
	l.Subnets = slices.DeleteFunc(slices.Clone(head(l.Subnets, maxSubnets)), func(p netip.Prefix) bool { return !p.IsValid() || p.Bits() == 0 })
	if len(l.Subnets) == 0 {
		l.Subnets = nil
	}
	return l
}

func readNodeInfo(text string) (info NodeInfo) {
	if len(text) > maxNodeInfo || json.Unmarshal([]byte(text), &info) != nil || len(info.Node) > maxName {
		return NodeInfo{}
	}
	return info.Bounded()
}

func head[T any](list []T, most int) []T { return list[:min(len(list), most)] }

// unicast returns the addresses that a link can have, in order, at most so many.
func unicast(list []netip.Addr, most int) []netip.Addr {
	list = slices.DeleteFunc(slices.Clone(list), func(a netip.Addr) bool {
		return !a.IsValid() || a.Zone() != "" || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback()
	})
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return head(slices.Compact(list), most)
}

// explanation makes a reason fit for a log and a terminal.
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

// PlacementLinks returns the links as placement understands them.
func (i NodeInfo) PlacementLinks() []placement.Link {
	links := make([]placement.Link, 0, len(i.Links))
	for _, l := range i.Links {
		links = append(links, placement.Link{Name: l.Name, Names: l.Names, Selected: l.Selected, Subnets: l.Subnets})
	}
	return links
}
