package speaker

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/bgp/advertiser"
	"github.com/kvip/kvip/pkg/bgp/policy"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/heartbeat"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/reporter"
	"github.com/kvip/kvip/pkg/required"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/vip"
)

// AddressOwner puts addresses on the links of this host. *vip.ServiceOwner implements it.
type AddressOwner interface {
	Present() ([]vip.Marked, error)
	KeepsMarks() (bool, error)
	Sync(list []assignment.Assignment) error
	Refresh(now time.Duration) (next time.Duration, err error)
	Clear() error
}

// PacketFilter restricts the ports of addresses. *nftfilter.Filter implements it.
type PacketFilter interface {
	Apply(want []assignment.Assignment) error
	Remove() error
}

// Announcer announces addresses and reports conflicts. *arp.Announcer implements it.
type Announcer interface {
	Set(list []assignment.Assignment)
	Defend(addr netip.Addr)
	Conflicts() <-chan arp.Conflict
}

// Routes announces addresses to routers. *advertiser.Advertiser implements it.
type Routes interface {
	SetAddresses(s advertiser.Source, list []policy.Address)
}

// noRoutes discards.
type noRoutes struct{}

// SetAddresses implements Routes.
func (noRoutes) SetAddresses(advertiser.Source, []policy.Address) {}

// Heartbeat notices nodes that are off. *heartbeat.Heartbeat implements it.
type Heartbeat interface {
	Set(links []heartbeat.Link, nodes []heartbeat.Node)
}

// Metrics counts what happens. *metrics.Set implements it.
type Metrics interface {
	ServiceAddresses(owned, leaving int)
	ServiceMoved(change string)
	ServiceConflict()
}

// Config of a Speaker.
type Config struct {
	// Node is the name of this node. It must not be empty.
	Node string
	// Cache, NodeLease, Addresses, Filter and Announcer must not be nil.
	Cache     *svc.Cache
	NodeLease *NodeLease
	Addresses AddressOwner
	Filter    PacketFilter
	Announcer Announcer
	// Routes announces the addresses of pools with announcement BGP. Nil: nothing does.
	Routes Routes
	// Networks lists the links of this host. It must not be nil.
	Networks func() ([]link.Network, error)
	// Loopback returns the loopback interface. Nil means link.Loopback.
	Loopback func() (link.Link, error)
	// Heartbeat receives which nodes there are (S10). Nil: only Leases show whether a node is alive.
	Heartbeat Heartbeat
	// LinkEvents are hints that links or addresses changed. May be nil.
	LinkEvents <-chan link.Event
	// HostControlPlane returns the control plane's virtual IPs on this host. Nil: there are none.
	HostControlPlane func() ([]netip.Addr, error)
	// ForeignHolder returns the holder of the allocator's Lease if it is not kvip, or "". While
	// there is one this node announces no Services (S9). Nil: there is none.
	ForeignHolder func() string
	// Interface is a name or pattern of this node's links for Services. May be empty. Other
	// nodes read the matching links in the node's Lease.
	Interface string
	// Fallback reports whether a link takes addresses that are in no subnet of this node.
	// Nil: none does.
	Fallback func(link.Network) bool
	// ControlPlane are virtual IPs of the control plane that are known in advance. May be empty.
	ControlPlane []netip.Addr
	// StatusPort is the port of this node's /services page; 0: there is none.
	StatusPort int
	// Metrics may be nil.
	Metrics Metrics
	// Health receives heartbeats, and whether this node can take addresses. May be nil.
	Health *reporter.Reporter
	// Clock may be nil: boottime.Now.
	Clock boottime.Clock
	// Log may be nil: it discards.
	Log *slog.Logger
}

// complete sets defaults and returns an error for each required field that is missing.
func (c *Config) complete() error {
	if c.HostControlPlane == nil {
		c.HostControlPlane = func() ([]netip.Addr, error) { return nil, nil }
	}
	if c.ForeignHolder == nil {
		c.ForeignHolder = func() string { return "" }
	}
	if c.Routes == nil {
		c.Routes = noRoutes{}
	}
	if c.Loopback == nil {
		c.Loopback = link.Loopback
	}
	if c.Metrics == nil {
		c.Metrics = noMetrics{}
	}
	if c.Clock == nil {
		c.Clock = boottime.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return required.Fields("speaker", map[string]bool{
		"Node": c.Node == "", "Cache": c.Cache == nil, "NodeLease": c.NodeLease == nil,
		"Addresses": c.Addresses == nil, "Filter": c.Filter == nil,
		"Announcer": c.Announcer == nil, "Networks": c.Networks == nil,
	})
}
