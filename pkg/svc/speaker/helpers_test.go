package speaker

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/nftfilter"
	"github.com/kvip/kvip/pkg/reporter"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/vip"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

var (
	vip4       = netip.MustParseAddr("10.0.0.100")
	vip6       = netip.MustParseAddr("fd00::100")
	ownMAC     = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	peerMAC    = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	foreignMAC = net.HardwareAddr{2, 0, 0, 0, 0, 9} // in no Lease
	subnet     = netip.MustParsePrefix("10.0.0.0/24")
	subnet6    = netip.MustParsePrefix("fd00::/64")
	errTest    = errors.New("injected by the test")
)

// journal has the actions on the host, in order.
type journal struct {
	mu      sync.Mutex
	actions []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.actions = append(j.actions, fmt.Sprintf(format, args...))
}

// drain returns and forgets the actions.
func (j *journal) drain() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	actions := strings.Join(j.actions, ", ")
	j.actions = nil
	return actions
}

// journalingOwner records the changes of a fake kernel.
type journalingOwner struct {
	*vip.ServiceOwner
	journal    *journal
	presentErr error
}

func (o *journalingOwner) Present() ([]vip.Marked, error) {
	if o.presentErr != nil {
		return nil, o.presentErr
	}
	return o.ServiceOwner.Present()
}

func (o *journalingOwner) Sync(list []assignment.Assignment) error {
	before, _ := o.ServiceOwner.Present()
	err := o.ServiceOwner.Sync(list)
	after, _ := o.ServiceOwner.Present()
	o.addMissing("add", after, before)
	o.addMissing("remove", before, after)
	return err
}

// addMissing adds an action for each address of list that is not in other.
func (o *journalingOwner) addMissing(action string, list, other []vip.Marked) {
	for _, m := range list {
		if !slices.ContainsFunc(other, func(x vip.Marked) bool { return x.Address == m.Address }) {
			o.journal.add(action+" %v", m.Addr)
		}
	}
}

func (o *journalingOwner) Clear() error {
	o.journal.add("remove addresses")
	return o.ServiceOwner.Clear()
}

// fakeFilter is a packet filter in memory.
type fakeFilter struct {
	journal *journal
	err     error
	want    []assignment.Assignment
}

func (f *fakeFilter) Apply(w []assignment.Assignment) error {
	list := addresses(w)
	slices.SortFunc(list, netip.Addr.Compare)
	f.journal.add("protect %v", list)
	if f.err != nil {
		return fmt.Errorf("%w: %w", nftfilter.ErrNotWritten, f.err)
	}
	f.want = w
	return nil
}

func addresses(list []assignment.Assignment) (all []netip.Addr) {
	for _, a := range list {
		all = append(all, a.Addr)
	}
	return all
}

func (f *fakeFilter) Remove() error {
	f.journal.add("remove filter")
	return f.err
}

func (f *fakeFilter) protects(addr netip.Addr) bool {
	return slices.Contains(addresses(f.want), addr)
}

// fakeAnnouncer records announcements.
type fakeAnnouncer struct {
	journal   *journal
	announced map[netip.Addr]assignment.Assignment
	conflicts chan arp.Conflict
}

func (f *fakeAnnouncer) Set(want []assignment.Assignment) {
	next := map[netip.Addr]assignment.Assignment{}
	for _, a := range want {
		next[a.Addr] = a
	}
	for _, addr := range sortedAddrs(next) {
		before, had := f.announced[addr]
		switch a := next[addr]; {
		case a.State == assignment.Announced && (!had || before.State != a.State):
			f.journal.add("announce %v", addr)
		case a.State == assignment.Silent && (!had || before.State != a.State):
			f.journal.add("silence %v", addr)
		}
	}
	for _, addr := range sortedAddrs(f.announced) {
		if _, has := next[addr]; !has {
			f.journal.add("withdraw %v", addr)
		}
	}
	f.announced = next
}

func (f *fakeAnnouncer) Defend(addr netip.Addr)         { f.journal.add("defend %v", addr) }
func (f *fakeAnnouncer) Conflicts() <-chan arp.Conflict { return f.conflicts }

// fixture is a Speaker of the node "me" on a fake host, in a cluster of the fake API server. Its
// clock stands still unless it is advanced, and each reconcile is explicit.
type fixture struct {
	*fakecluster.Env
	now       atomic.Int64
	cache     *svc.Cache
	lease     *NodeLease
	speaker   *Speaker
	journal   *journal
	kernel    *vip.Fake
	service   *journalingOwner
	filter    *fakeFilter
	announcer *fakeAnnouncer
	health    *reporter.Registry
	links     []link.Network
	linksErr  error
	control   []netip.Addr // the control plane's addresses on this host
	vipsErr   error
	foreign   string // holder of the allocator's Lease that is not kvip
	beat      *fakeHeartbeat
	routes    *fakeRoutes
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	e := fakecluster.New(t)
	f := &fixture{Env: e, journal: &journal{}, beat: &fakeHeartbeat{}}
	f.routes = &fakeRoutes{journal: f.journal}
	f.now.Store(int64(time.Hour))
	f.health = reporter.NewRegistry(f.clock)
	e.PutNode("me", "10.0.0.1")
	f.cache = e.RunCache()
	f.links = []link.Network{
		{
			Link:    link.Link{Index: 2, Name: "eth0", MAC: ownMAC},
			Subnets: []netip.Prefix{subnet, subnet6},
		},
	}
	f.kernel = vip.NewFake(f.clock)
	service, err := vip.NewServiceOwner(vip.ServiceOwnerConfig{
		Kernel: f.kernel, Clock: f.clock,
		DestroySockets: func([]netip.Addr) (int, error) { return 0, nil },
		Known: func() map[netip.Addr]bool {
			known := map[netip.Addr]bool{}
			for addr := range f.cache.Ledger() {
				known[addr] = true
			}
			return known
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.service = &journalingOwner{ServiceOwner: service, journal: f.journal}
	f.filter = &fakeFilter{journal: f.journal}
	f.announcer = &fakeAnnouncer{journal: f.journal, conflicts: make(chan arp.Conflict, 8)}
	f.restart()
	return f
}

// notReady returns what the Speaker reports now.
func (f *fixture) notReady() string {
	f.speaker.reportHealth()
	return f.health.NotReady()
}

// heartbeat returns the instant of a component's last heartbeat.
func (f *fixture) heartbeat(component string) time.Duration {
	return f.health.Component(component).LastHeartbeat()
}

// restart makes a new NodeLease and Speaker on the same host.
func (f *fixture) restart() {
	f.T.Helper()
	var err error
	f.lease, err = NewNodeLease(NodeLeaseConfig{
		Node: "me", Identity: "me_boot", Namespace: fakecluster.Namespace,
		Name: svc.NodeLease(fakecluster.LeaseName, "me"), Cache: f.cache, Router: f.Router,
		Clock: f.clock, Log: f.Logger, Health: f.health.Component("node Lease"),
	})
	if err != nil {
		f.T.Fatal(err)
	}
	f.announcer.announced = nil
	f.speaker, err = New(f.config())
	if err != nil {
		f.T.Fatal(err)
	}
}

func (f *fixture) config() Config {
	return Config{
		Node: "me", Cache: f.cache, NodeLease: f.lease, Clock: f.clock, Log: f.Logger,
		Addresses: f.service, Filter: f.filter, Announcer: f.announcer,
		Networks:         func() ([]link.Network, error) { return f.links, f.linksErr },
		HostControlPlane: func() ([]netip.Addr, error) { return f.control, f.vipsErr },
		ForeignHolder:    func() string { return f.foreign },
		StatusPort:       9,
		Heartbeat:        f.beat,
		Routes:           f.routes,
		Loopback:         func() (link.Link, error) { return link.Link{Index: 1, Name: "lo"}, nil },
		Health:           f.health.Component("Services"),
	}
}

func (f *fixture) clock() time.Duration { return time.Duration(f.now.Load()) }

// advance lets time pass.
func (f *fixture) advance(d time.Duration) { f.now.Add(int64(d)) }

// advanceRunning lets time pass during which the Speaker is not frozen.
func (f *fixture) advanceRunning(d time.Duration) {
	f.advance(d)
	f.speaker.pauses = pauseDetector{signAt: f.clock()}
}

// renew renews the Lease and waits until the renewal is seen back.
func (f *fixture) renew() {
	f.T.Helper()
	f.lease.renew(f.T.Context())
	f.lease.mu.Lock()
	l := f.lease.written
	f.lease.mu.Unlock()
	if l == nil {
		f.T.Fatalf("the Lease was not renewed\n%s", f.Log)
	}
	f.Eventually("the renewal is seen back", func() bool {
		shown := f.cache.Lease(l.Name)
		return shown != nil && shown.ResourceVersion == l.ResourceVersion
	})
	f.lease.refresh()
}

// reconcile returns the actions of one reconcile.
func (f *fixture) reconcile() string {
	f.speaker.reconcile()
	return f.journal.drain()
}

// expect asserts the actions of one reconcile.
func (f *fixture) expect(want string) {
	f.T.Helper()
	if got := f.reconcile(); got != want {
		f.T.Errorf("actions %q, want %q", got, want)
	}
}

// start reconciles, renews and reconciles again: the view is fresh.
func (f *fixture) start() {
	f.T.Helper()
	f.reconcile()
	f.renew()
	f.reconcile()
}

// assign reserves an address for Services, each NAMESPACE/NAME, and waits until that is seen.
func (f *fixture) assign(addr netip.Addr, owners ...string) {
	f.T.Helper()
	l := f.cache.Ledger()
	delete(l, addr)
	for _, service := range owners {
		l[addr] = append(l[addr], ipam.Entry{Service: ipam.ServiceKey(service)})
		known := slices.ContainsFunc(f.cache.Services(), func(s *svc.Service) bool {
			return string(s.Key()) == service
		})
		if !known {
			f.PutService(service)
		}
	}
	f.PutLedger("0", l)
	f.Eventually("the ledger is seen", func() bool {
		return f.cache.Ledger().Equal(l) && len(f.cache.Services()) >= len(l)
	})
}

// addPeer adds another node that is alive.
func (f *fixture) addPeer(name string, mac net.HardwareAddr) {
	f.T.Helper()
	f.PutNode(name, "10.0.0.2")
	f.renewPeer(name, mac)
}

func (f *fixture) renewPeer(name string, mac net.HardwareAddr) {
	f.T.Helper()
	lease := svc.NodeLease(fakecluster.LeaseName, name)
	before := f.cache.Lease(lease)
	f.PutNodeLease(svc.NodeInfo{
		Node: name,
		Links: []svc.LinkInfo{
			{Name: "eth0", MAC: mac.String(), Subnets: []netip.Prefix{subnet}},
		},
	}, name+"_boot", 5)
	f.Eventually("the peer is seen", func() bool {
		now := f.cache.Lease(lease)
		return now != nil && (before == nil || svc.Newer(now, before)) && f.cache.Node(name) != nil
	})
	f.lease.refresh()
}

// ownLease returns what this node's Lease reports.
func (f *fixture) ownLease() svc.NodeInfo {
	return f.cache.Lease(svc.NodeLease(fakecluster.LeaseName, "me")).Info
}

// putElection writes the Lease of the control plane's election, which lists vip4.
func (f *fixture) putElection(holder string) {
	f.T.Helper()
	seconds := int32(5)
	f.Put(fakecluster.LeasePath("api-vip"), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: "api-vip", Namespace: fakecluster.Namespace,
			Labels:      map[string]string{svc.LabelRole: svc.RoleControlPlane},
			Annotations: map[string]string{kubelease.AnnotationVIPs: vip4.String() + ":6443"},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds},
	})
	f.Eventually("the election's Lease is seen", func() bool {
		return f.cache.Lease("api-vip") != nil
	})
}

// cordon changes spec.unschedulable of a node.
func (f *fixture) cordon(name string, on bool) {
	f.T.Helper()
	f.PutNode(name, "10.0.0.1", func(n *corev1.Node) { n.Spec.Unschedulable = on })
	f.Eventually("the cordon is seen", func() bool { return f.cache.Node(name).Cordoned == on })
}

// ownVIP4 makes the Speaker own vip4 for a/web.
func (f *fixture) ownVIP4() {
	f.T.Helper()
	f.assign(vip4, "a/web")
	f.start()
	if f.announcer.announced[vip4].State != assignment.Announced || !f.kernel.Has(vip4) {
		f.T.Fatalf("the Speaker does not own %v: %+v\n%s", vip4, f.speaker.Report(""), f.Log)
	}
	f.journal.drain()
}

// conflict lets another host claim vip4, and returns the actions.
func (f *fixture) conflict(mac net.HardwareAddr) string {
	f.speaker.handleConflict(arp.Conflict{Addr: vip4, MAC: mac, At: f.clock()})
	return f.journal.drain()
}

// snapshot takes a snapshot with the given nodes alive.
func (f *fixture) snapshot(alive ...string) snapshot {
	view := f.lease.View()
	view.Fresh, view.Alive = true, alive
	return takeSnapshot(&f.speaker.cfg, view)
}

// logged returns how many log messages contain text.
func (f *fixture) logged(text string) int { return f.Log.Count(text) }

// only returns assignments of vip4 alone.
func only(a assigned) assignments {
	a.Addr = vip4
	return assignments{vip4: a}
}

var _ AddressOwner = (*vip.ServiceOwner)(nil)
