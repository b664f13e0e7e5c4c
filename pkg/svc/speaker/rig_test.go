package speaker

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/nftfilter"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/vip"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

var (
	ownMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	yourMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	noMAC   = net.HardwareAddr{2, 0, 0, 0, 0, 9}
	subnet  = netip.MustParsePrefix("10.0.0.0/24")
	subnet6 = netip.MustParsePrefix("fd00::/64")
	errTest = errors.New("broken by the test")
)

// journal is what was done to the host, in order.
type journal struct {
	mu    sync.Mutex
	words []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.words = append(j.words, fmt.Sprintf(format, args...))
}

func (j *journal) take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	words := strings.Join(j.words, ", ")
	j.words = nil
	return words
}

// roster notes what changes in the kernel.
type roster struct {
	*vip.ServiceOwner
	j       *journal
	present error
}

func (r *roster) Present() ([]vip.Marked, error) {
	if r.present != nil {
		return nil, r.present
	}
	return r.ServiceOwner.Present()
}

func (r *roster) Sync(want []vip.Address) (added, removed []vip.Address, err error) {
	added, removed, err = r.ServiceOwner.Sync(want)
	for _, a := range added {
		r.j.add("own %v", a.VIP)
	}
	for _, a := range removed {
		r.j.add("disown %v", a.VIP)
	}
	return added, removed, err
}

func (r *roster) Clear() error {
	r.j.add("clear")
	return r.ServiceOwner.Clear()
}

// table is a packet filter in memory.
type table struct {
	j    *journal
	fail error
	want nftfilter.Want
}

func (f *table) Apply(w nftfilter.Want) error {
	list := slices.Clone(w.Addresses)
	slices.SortFunc(list, netip.Addr.Compare)
	f.j.add("protect %v", list)
	if f.fail != nil {
		return fmt.Errorf("%w: %w", nftfilter.ErrNotWritten, f.fail)
	}
	f.want = w
	return nil
}

func (f *table) Remove() error {
	f.j.add("unprotect")
	return f.fail
}

// chorus is a network in memory.
type chorus struct {
	j         *journal
	voices    map[netip.Addr]arp.Announcement
	sightings chan arp.Conflict
}

func (c *chorus) Set(want []arp.Announcement) {
	next := map[netip.Addr]arp.Announcement{}
	for _, v := range want {
		next[v.Addr] = v
	}
	for _, addr := range slices.SortedFunc(maps.Keys(next), netip.Addr.Compare) {
		before, had := c.voices[addr]
		switch v := next[addr]; {
		case !v.Silent && (!had || before.Silent):
			c.j.add("announce %v", addr)
		case v.Silent && (!had || !before.Silent):
			c.j.add("listen %v", addr)
		}
	}
	for _, addr := range slices.SortedFunc(maps.Keys(c.voices), netip.Addr.Compare) {
		if _, has := next[addr]; !has {
			c.j.add("hush %v", addr)
		}
	}
	c.voices = next
}

func (c *chorus) Defend(addr netip.Addr)         { c.j.add("defend %v", addr) }
func (c *chorus) Sightings() <-chan arp.Conflict { return c.sightings }

// rig is an agent of the node "me" on a host in memory, in a cluster of the fake API server. Its clock stands
// still unless it is told to go on, and each turn is asked for.
type rig struct {
	*fakecluster.Env
	now     atomic.Int64
	cat     *svc.Cache
	heart   *NodeLease
	agent   *Speaker
	j       *journal
	bulk    *vip.FakeBulk
	roster  *roster
	table   *table
	chorus  *chorus
	links   []link.Network
	broken  error // what Networks says
	control []netip.Addr
	foreign string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	e := fakecluster.New(t)
	r := &rig{Env: e, j: &journal{}}
	r.now.Store(int64(time.Hour))
	e.PutNode("me", "10.0.0.1")
	r.cat = e.Follow()
	r.links = []link.Network{{Link: link.Link{Index: 2, Name: "eth0", MAC: ownMAC}, Subnets: []netip.Prefix{subnet, subnet6}}}
	r.bulk = vip.NewFakeBulk(r.clock)
	kernel, err := vip.NewServiceOwner(vip.ServiceOwnerConfig{Kernel: r.bulk, Clock: r.clock, Sockets: func([]netip.Addr) (int, error) { return 0, nil },
		Known: func() map[netip.Addr]bool {
			known := map[netip.Addr]bool{}
			for addr := range r.cat.Ledger() {
				known[addr] = true
			}
			return known
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.roster, r.table = &roster{ServiceOwner: kernel, j: r.j}, &table{j: r.j}
	r.chorus = &chorus{j: r.j, sightings: make(chan arp.Conflict, 8)}
	r.restart()
	return r
}

// restart makes a new heart and agent on the same host.
func (r *rig) restart() {
	r.heart = NewNodeLease(NodeLeaseConfig{
		Node: "me", Identity: "me_boot", Namespace: fakecluster.Namespace, Name: svc.NodeLease(fakecluster.Seat, "me"), Cache: r.cat, Router: r.Router,
		Clock: r.clock, Log: r.Logger, OnFailure: func(string, error) {},
	})
	r.chorus.voices = nil
	r.agent = New(Config{
		Node: "me", Cache: r.cat, NodeLease: r.heart, Clock: r.clock, Log: r.Logger, Addresses: r.roster, Filter: r.table, Announcer: r.chorus,
		Networks:         func() ([]link.Network, error) { return r.links, r.broken },
		HostControlPlane: func() ([]netip.Addr, error) { return r.control, nil },
		ForeignHolder:    func() string { return r.foreign }, StatusPort: 9,
	})
}

func (r *rig) clock() time.Duration { return time.Duration(r.now.Load()) }

func (r *rig) pass(d time.Duration) { r.now.Add(int64(d)) }

// beat renews the Lease and waits until that is seen back.
func (r *rig) beat() {
	r.T.Helper()
	r.heart.renew(r.T.Context())
	r.heart.mu.Lock()
	l := r.heart.lease
	r.heart.mu.Unlock()
	if l == nil {
		r.T.Fatalf("the Lease was not renewed\n%s", r.Log)
	}
	r.Eventually("the renewal is seen back", func() bool {
		shown := r.cat.Lease(l.Name)
		return shown != nil && shown.ResourceVersion == l.ResourceVersion
	})
	r.heart.look()
}

// turn has the agent decide, and returns what it did to the host.
func (r *rig) turn() string {
	r.agent.turn()
	return r.j.take()
}

// did asserts what a turn does.
func (r *rig) did(want string) {
	r.T.Helper()
	if got := r.turn(); got != want {
		r.T.Errorf("it did %q, want %q", got, want)
	}
}

// give gives the address to Services, each NAMESPACE/NAME, and waits until it is seen.
func (r *rig) give(addr netip.Addr, owners ...string) {
	r.T.Helper()
	l := r.cat.Ledger()
	delete(l, addr)
	for _, owner := range owners {
		l[addr] = append(l[addr], ipam.Holder{Owner: ipam.Owner(owner)})
		if !slices.ContainsFunc(r.cat.Services(), func(s *svc.Service) bool { return string(s.Owner()) == owner }) {
			r.PutService(owner)
		}
	}
	r.PutLedger("0", l)
	r.Eventually("the ledger is seen", func() bool { return r.cat.Ledger().Equal(l) && len(r.cat.Services()) >= len(l) })
}

// peer makes another node that is alive.
func (r *rig) peer(name string, mac net.HardwareAddr) {
	r.T.Helper()
	r.PutNode(name, "10.0.0.2")
	r.peerBeats(name, mac)
}

func (r *rig) peerBeats(name string, mac net.HardwareAddr) {
	r.T.Helper()
	before := r.cat.Lease(svc.NodeLease(fakecluster.Seat, name))
	r.PutNodeLease(svc.NodeInfo{Node: name, Links: []svc.LinkInfo{{Name: "eth0", MAC: mac.String(), Subnets: []netip.Prefix{subnet}}}}, name+"_boot", 5)
	r.Eventually("the peer is seen", func() bool {
		now := r.cat.Lease(svc.NodeLease(fakecluster.Seat, name))
		return now != nil && (before == nil || svc.Newer(now, before)) && r.cat.Node(name) != nil
	})
	r.heart.look()
}

// cordon changes spec.unschedulable of a node.
func (r *rig) cordon(name string, on bool) {
	r.T.Helper()
	r.PutNode(name, "10.0.0.1", func(n *corev1.Node) { n.Spec.Unschedulable = on })
	r.Eventually("the cordon is seen", func() bool { return r.cat.Node(name).Cordoned == on })
}

// serving makes the agent announce vip4 for a/web.
func (r *rig) serving() {
	r.T.Helper()
	r.give(vip4, "a/web")
	r.turn()
	r.beat()
	r.turn()
	if v, ok := r.chorus.voices[vip4]; !ok || v.Silent || !r.bulk.Has(vip4) {
		r.T.Fatalf("the agent does not serve: %+v\n%s", r.agent.Report(""), r.Log)
	}
	r.j.take()
}

// sees has the agent hear somebody announce vip4.
func (r *rig) sees(mac net.HardwareAddr) string {
	r.agent.sighted(arp.Conflict{VIP: vip4, MAC: mac, At: r.clock()})
	return r.j.take()
}
