package speaker

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/nftfilter"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/vip"
)

const (
	// gather is the least time between two turns: what changes meanwhile is taken together. A turn that
	// took longer is followed by a rest of the same length: thousands of changes cost half a core at most.
	gather = 20 * time.Millisecond
	// lookAgain bounds how long something that changes without an event stays unseen.
	lookAgain = time.Second
	// frozenAfter is how late a turn must be to say that this process or machine stood still (E9): others
	// may have the addresses now.
	frozenAfter = 3 * time.Second
	// filterEvery is how often the packet filter is written without a change, to renew its timeouts.
	filterEvery = 30 * time.Second
	// routesEvery is how often the links are read without an event where a Fallback may depend on routes, of
	// which there are none.
	routesEvery = 10 * time.Second
	// filterMargin is for how long a write of the filter may fail, or be late, and it still outlives the addresses.
	filterMargin = 10 * time.Second
)

// FilterTimeout is the timeout that the elements of the packet filter need, so that they do not end before the
// addresses if this process is killed: an address may have been renewed just before that, and the filter
// filterEvery earlier (S5).
func FilterTimeout(lifetime time.Duration) time.Duration {
	return lifetime + filterEvery + filterMargin
}

// The agent acts through these. Each names the one type that implements it in the program.
type (
	// AddressOwner are the kernel's; *vip.Roster.
	AddressOwner interface {
		Present() ([]vip.Marked, error)
		KeepsMarks() (bool, error)
		Sync(want []vip.Address) (added, removed []vip.Address, err error)
		Refresh(now time.Duration) (next time.Duration, err error)
		Clear() error
	}
	// PacketFilter is the packet filter; *nftfilter.Filter.
	PacketFilter interface {
		Apply(w nftfilter.Want) error
		Remove() error
	}
	// Announcer tells the network and listens to it; *arp.Chorus.
	Announcer interface {
		Set(want []arp.Announcement)
		Defend(addr netip.Addr)
		Sightings() <-chan arp.Conflict
	}
)

// Config of an Agent. All fields are needed unless they say otherwise.
type Config struct {
	Node      string
	Cache     *svc.Cache
	NodeLease *NodeLease
	Clock     boottime.Clock
	Log       *slog.Logger
	Addresses AddressOwner
	Filter    PacketFilter
	Announcer Announcer
	// Networks lists this host's links.
	Networks func() ([]link.Network, error)
	// LinkEvents are hints that links or addresses changed.
	LinkEvents <-chan link.Event
	// HostControlPlane returns the control plane's virtual IPs that this host has now.
	HostControlPlane func() ([]netip.Addr, error)
	// ForeignHolder says that another program than kvip announces Services: then this node announces none (S9).
	ForeignHolder func() string
	// Interface is a name or pattern of this node's links for Services; may be empty. The others learn from the
	// node's Lease which links that selects.
	Interface string
	// Fallback reports whether a link of this node takes addresses that are in no subnet of it; nil: none does.
	Fallback func(link.Network) bool
	// ControlPlane are the control plane's addresses known beforehand; may be empty.
	ControlPlane []netip.Addr
	// StatusPort is where the page of this agent is served; 0 if it is not.
	StatusPort int
	// Metrics is told what happens, for metrics; may be nil.
	Metrics Metrics
}

// Metrics is told what happens.
type Metrics interface {
	ServiceAddresses(owned, leaving int)
	ServiceMoved(change string)
	ServiceConflict()
}

// Speaker is the Services part of this node. Its loop alone changes what the node has.
type Speaker struct {
	cfg   Config
	wake  chan struct{}
	beat  atomic.Int64            // instant of the last turn (E12)
	links map[string]link.Network // by name, as the network was last read; nil: it could not be read yet

	have     holdings
	remains  holdings      // what could not be taken off the host: it stays protected (S5)
	adopted  bool          // what an earlier agent left was read
	adopting bool          // nothing was decided since the start
	suspect  bool          // this process stood still, and has no fresh view since: it announces nothing
	dirty    bool          // something of this host changed
	unread   bool          // the links could not be read
	again    time.Duration // when to decide once more, as something failed; 0: nothing did
	basis    basis
	noLink   bool                            // the configuration selects no link that is there
	routesAt time.Duration                   // when to read the links without an event
	filterAt time.Duration                   // when the packet filter is to be written without a change
	filtered map[netip.Addr][]nftfilter.Port // what it lets through, as it was last written
	able     abilities
	chosen   map[netip.Addr]bool // AddressOwner that are this node's by decision, and that it does not have
	info     svc.NodeInfo        // what the others are told of the links
	failing  string              // what does not work at present
	told     map[string]bool
	foreign  string
	control  []netip.Addr             // the control plane's addresses on this host
	reported map[string]time.Duration // strangers that claimed an address

	last situation // of this goroutine alone

	placed atomic.Uint64 // see Placed

	mu    sync.Mutex // guards what the page shows
	shown report
}

// basis is what a turn was based on. While it is the same there is nothing to decide.
type basis struct {
	changes uint64
	fresh   bool
	alive   string
	foreign string
	synced  bool
}

// New returns an Agent that has touched nothing yet.
func New(cfg Config) *Speaker {
	if cfg.Metrics == nil {
		cfg.Metrics = noMetrics{}
	}
	a := &Speaker{
		cfg: cfg, wake: make(chan struct{}, 1), have: holdings{}, remains: holdings{}, adopting: true, unread: true, dirty: true,
		told: map[string]bool{}, able: newAbilities(), reported: map[string]time.Duration{},
	}
	cfg.NodeLease.OnChange(a.rouse)
	return a
}

type noMetrics struct{}

func (noMetrics) ServiceAddresses(int, int) {}
func (noMetrics) ServiceMoved(string)       {}
func (noMetrics) ServiceConflict()          {}

func (a *Speaker) rouse() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run serves until ctx ends. What the node has then stays: it is Leave that gives it up (S6).
func (a *Speaker) Run(ctx context.Context) error {
	changed := a.cfg.Cache.Subscribe()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-a.cfg.Announcer.Sightings():
			a.sighted(s)
			continue
		case ev := <-a.cfg.LinkEvents:
			if !a.relink(ev) {
				continue
			}
		case <-changed:
		case <-a.wake:
		case <-timer.C:
		}
		began := a.cfg.Clock()
		timer.Reset(a.turn())
		if !a.rest(ctx, max(gather, a.cfg.Clock()-began)) {
			return nil
		}
	}
}

// rest gathers changes for a while, during which sightings are heard.
func (a *Speaker) rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case s := <-a.cfg.Announcer.Sightings():
			a.sighted(s)
		case ev := <-a.cfg.LinkEvents:
			a.relink(ev)
		case <-timer.C:
			return true
		}
	}
}
