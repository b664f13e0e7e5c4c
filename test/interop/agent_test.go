package interop

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/bfd"
	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/bgp/advertiser"
	"github.com/kvip/kvip/pkg/bgp/policy"
)

// settings of an agent.
type settings struct {
	Socket     string // a Unix socket, for requests
	Restarted  bool   // see bgp.Config
	Advertiser bool   // an Advertiser, not only a Speaker
}

// speaker is what the agent runs.
type speaker interface {
	SetPeers([]bgp.PeerConfig) error
	SetRoutes(map[string][]bgp.Route)
	Flushed() bool
	Status() []bgp.Status
	Run(context.Context) error
}

// Agent is the process under test. Its exported methods are requests (net/rpc).
type Agent struct {
	speaker speaker
	permit  atomic.Bool

	mu    sync.Mutex
	peers map[string]History
}

// History is what has happened to a peer.
type History struct {
	Attempts int      // to connect
	Reasons  []string // each different one, in the order of their first time
}

// runAgent is the agent's main function. SIGTERM ends it in order.
func runAgent(text string) error {
	var s settings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	a := &Agent{peers: map[string]History{}}
	a.permit.Store(true)
	err := a.create(s, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	l, err := net.Listen("unix", s.Socket)
	if err != nil {
		return err
	}
	server := rpc.NewServer()
	if err := server.RegisterName("Agent", a); err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go server.ServeCodec(jsonrpc.NewServerCodec(conn))
		}
	}()
	return a.speaker.Run(ctx)
}

func (a *Agent) create(s settings, log *slog.Logger) error {
	if s.Advertiser {
		one, err := advertiser.New(advertiser.Config{
			Permit: a.permit.Load, Restarted: s.Restarted, Log: log,
		})
		a.speaker = advertising{one}
		return err
	}
	watch, err := bfd.New(bfd.Config{Permit: a.permit.Load, Log: log})
	if err != nil {
		return err
	}
	one, err := bgp.New(bgp.Config{
		Permit: a.permit.Load, BFD: watch, LinkAddress: advertiser.LinkAddress, OnChange: a.changed,
		Restarted: s.Restarted, Log: log,
	})
	a.speaker = speaking{one, watch}
	return err
}

// changed adds to the history of a peer.
func (a *Agent) changed(s bgp.Status) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.peers[s.Name]
	if s.State == bgp.Connect {
		h.Attempts++
	}
	if s.Reason != "" && !slices.Contains(h.Reasons, s.Reason) {
		h.Reasons = append(h.Reasons, s.Reason)
	}
	a.peers[s.Name] = h
}

// speaking is a Speaker with its BFD.
type speaking struct {
	*bgp.Speaker
	watch *bfd.Server
}

// Run runs both until ctx ends.
func (s speaking) Run(ctx context.Context) error {
	detached, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.watch.Run(detached) }()
	err := s.Speaker.Run(ctx)
	stop()
	return errors.Join(err, <-ended)
}

// Flushed reports whether the kernels of all peers have acknowledged everything.
func (s speaking) Flushed() bool {
	return !slices.ContainsFunc(s.Status(), func(peer bgp.Status) bool {
		return !s.Speaker.Flushed(peer.Name)
	})
}

// advertising is an Advertiser. All its peers receive the routes of all.
type advertising struct{ *advertiser.Advertiser }

// SetPeers sets the peers.
func (a advertising) SetPeers(list []bgp.PeerConfig) error {
	var peers []policy.Peer
	for _, cfg := range list {
		peers = append(peers, policy.Peer{PeerConfig: cfg})
	}
	return a.Advertiser.SetPeers(advertiser.Services, peers, []policy.Advertisement{{Name: "all"}})
}

// SetRoutes sets the addresses.
func (a advertising) SetRoutes(routes map[string][]bgp.Route) {
	all := map[netip.Addr]policy.Address{}
	for _, list := range routes {
		for _, r := range list {
			all[r.Prefix.Addr()] = policy.Address{Addr: r.Prefix.Addr(), Worse: r.Worse}
		}
	}
	var addresses []policy.Address
	for _, one := range all {
		addresses = append(addresses, one)
	}
	a.SetAddresses(advertiser.Services, addresses)
}

// Flushed reports whether the kernels of all peers have acknowledged everything.
func (a advertising) Flushed() bool { return a.Advertiser.Flushed(advertiser.Services) }

// SetPeers is a request.
func (a *Agent) SetPeers(list []bgp.PeerConfig, _ *struct{}) error {
	return a.speaker.SetPeers(list)
}

// SetRoutes is a request.
func (a *Agent) SetRoutes(routes map[string][]bgp.Route, _ *struct{}) error {
	a.speaker.SetRoutes(routes)
	return nil
}

// Forget is a request to begin all histories again.
func (a *Agent) Forget(_ struct{}, _ *struct{}) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.peers)
	return nil
}

// Bulk are many routes with the same attributes.
type Bulk struct {
	Peers      []string
	Count      int
	Attributes bgp.Attributes
}

// SetBulk is a request to announce the first prefixes to peers, and nothing to others.
func (a *Agent) SetBulk(b Bulk, _ *struct{}) error {
	var list []bgp.Route
	for _, p := range prefixes(b.Count) {
		list = append(list, bgp.Route{Prefix: p, Attributes: b.Attributes})
	}
	routes := map[string][]bgp.Route{}
	for _, peer := range b.Peers {
		routes[peer] = list
	}
	a.speaker.SetRoutes(routes)
	return nil
}

// Permit is a request that sets what Config.Permit returns.
func (a *Agent) Permit(permitted bool, _ *struct{}) error {
	a.permit.Store(permitted)
	return nil
}

// Status is a request.
func (a *Agent) Status(_ struct{}, reply *[]bgp.Status) error {
	*reply = a.speaker.Status()
	return nil
}

// Flushed is a request.
func (a *Agent) Flushed(_ struct{}, reply *bool) error {
	*reply = a.speaker.Flushed()
	return nil
}

// History is a request for that of a peer.
func (a *Agent) History(peer string, reply *History) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	*reply = a.peers[peer]
	return nil
}

// Memory is a request for the lines VmRSS and VmHWM of /proc/self/status, after what is unused was
// returned to the kernel.
func (a *Agent) Memory(_ struct{}, reply *map[string]string) error {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/status")
	*reply = map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			(*reply)[name] = strings.TrimSpace(value)
		}
	}
	return err
}
