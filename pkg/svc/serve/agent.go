package serve

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/clock"
	"github.com/kvip/kvip/pkg/filter"
	"github.com/kvip/kvip/pkg/link"
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
)

// The agent acts through these. Each names the one type that implements it in the program.
type (
	// addresses are the kernel's; *vip.Roster.
	addresses interface {
		Present() ([]vip.Marked, error)
		Sync(want []vip.Address) (added, removed []vip.Address, err error)
		Refresh(now time.Duration) (next time.Duration, err error)
		Clear() error
	}
	// protection is the packet filter; *filter.Filter.
	protection interface {
		Apply(w filter.Want) error
		Remove() error
	}
	// announcer tells the network and listens to it; *arp.Chorus.
	announcer interface {
		Set(want []arp.Voice)
		Defend(addr netip.Addr)
		Sightings() <-chan arp.Sighting
	}
)

// Config of an Agent. All fields are needed unless they say otherwise.
type Config struct {
	Node      string
	Catalogue *svc.Catalogue
	Heart     *Heart
	Clock     clock.Func
	Log       *slog.Logger
	Addresses addresses
	Filter    protection
	Announcer announcer
	// Networks lists this host's links.
	Networks func() ([]link.Network, error)
	// LinkEvents are hints that links or addresses changed.
	LinkEvents <-chan link.Event
	// ControlPlaneHere returns the control plane's virtual IPs that this host has now.
	ControlPlaneHere func() ([]netip.Addr, error)
	// Foreign says that another program than kvip announces Services: then this node announces none (S9).
	Foreign func() string
	// Interface is a name or pattern of the links for Services; may be empty.
	Interface string
	// ControlPlane are the control plane's addresses known beforehand; may be empty. Port is theirs.
	ControlPlane []netip.Addr
	Port         int
	// StatusPort is where the page of this agent is served; 0 if it is not.
	StatusPort int
	// Observed is told what happens, for metrics; may be nil.
	Observed Observer
}

// Observer is told what happens.
type Observer interface {
	ServiceAddresses(owned, leaving int)
	ServiceMoved(change string)
	ServiceConflict()
}

// Agent is the Services part of this node. Its loop alone changes what the node has.
type Agent struct {
	cfg   Config
	wake  chan struct{}
	beat  atomic.Int64            // instant of the last turn (E12)
	links map[string]link.Network // by name, as the network was last read

	have     holdings
	adopting bool // nothing was decided since the start
	suspect  bool // this process stood still, and has no fresh view since: it announces nothing
	dirty    bool // something of this host changed
	basis    basis
	filtered time.Duration
	failing  string // the trouble that was last logged
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
func New(cfg Config) *Agent {
	if cfg.Observed == nil {
		cfg.Observed = nobody{}
	}
	a := &Agent{cfg: cfg, wake: make(chan struct{}, 1), have: holdings{}, adopting: true, links: map[string]link.Network{}, reported: map[string]time.Duration{}}
	cfg.Heart.OnVerdict(a.rouse)
	return a
}

type nobody struct{}

func (nobody) ServiceAddresses(int, int) {}
func (nobody) ServiceMoved(string)       {}
func (nobody) ServiceConflict()          {}

func (a *Agent) rouse() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run serves until ctx ends. What the node has then stays: it is Leave that gives it up (S6).
func (a *Agent) Run(ctx context.Context) error {
	a.readLinks()
	a.adopt()
	changed := a.cfg.Catalogue.Subscribe()
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
			if !a.concerns(ev) {
				continue
			}
			a.dirty = true
			a.readLinks()
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
func (a *Agent) rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case s := <-a.cfg.Announcer.Sightings():
			a.sighted(s)
		case ev := <-a.cfg.LinkEvents:
			if a.concerns(ev) {
				a.dirty = true
				a.readLinks()
			}
		case <-timer.C:
			return true
		}
	}
}

// concerns says whether an event tells something new: an address that this node has is reported
// whenever its lifetime is renewed.
func (a *Agent) concerns(ev link.Event) bool {
	_, ours := a.have[ev.Addr]
	switch ev.Kind {
	case link.AddrAdded:
		return !ours && !slices.Contains(a.control, ev.Addr)
	case link.AddrRemoved:
		return ours || !ev.Addr.Is6() || slices.Contains(a.control, ev.Addr) || !ev.Addr.IsLinkLocalUnicast()
	}
	return true
}

// readLinks reads this host's links and tells the others of them.
func (a *Agent) readLinks() {
	networks, err := a.cfg.Networks()
	if err != nil {
		a.cfg.Log.Warn("cannot read the links of this host; trying again", "reason", err)
		return
	}
	info := svc.NodeInfo{Node: a.cfg.Node, Status: a.cfg.StatusPort, Links: []svc.LinkInfo{}}
	a.links = make(map[string]link.Network, len(networks))
	for _, n := range networks {
		a.links[n.Name] = n
		info.Links = append(info.Links, svc.LinkInfo{Name: n.Name, MAC: n.MAC.String(), Subnets: n.Subnets})
	}
	if here, err := a.cfg.ControlPlaneHere(); err == nil {
		info.ControlPlane, a.control = here, here
	}
	a.cfg.Heart.Inform(info)
}

// linkRef finds a link of this host.
func (a *Agent) linkRef(name string) (arp.LinkRef, bool) {
	n, ok := a.links[name]
	return arp.LinkRef{Index: n.Index, Name: n.Name, MAC: net.HardwareAddr(n.MAC)}, ok
}
