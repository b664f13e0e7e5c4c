package heartbeat

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/required"
)

// A frame is the EtherType for experiments (IEEE 802, appendix of RFC 9542), a magic number and the
// name of the node, to all hosts of the segment.
const (
	etherType = 0x88b5
	magic     = "kvip-heartbeat-1 "
	maxName   = 253
)

// Limits of what a Heartbeat does.
const (
	maxLinks = 8
	maxNodes = 1000
	inbox    = 256 // frames that wait to be recorded; later ones are lost
	// answerWithin is how long a kernel has to answer. A question that took answerLate longer proves
	// nothing: this process stood still.
	answerWithin = 85 * time.Millisecond
	answerLate   = 40 * time.Millisecond
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Node is another node that sends frames.
type Node struct {
	Name string
	// MACs are the hardware addresses of its links, Addresses its own addresses there.
	MACs      []net.HardwareAddr
	Addresses []netip.Addr
}

// Link is a link of this host, with its subnets and this host's own addresses there.
type Link struct {
	link.Link
	Subnets   []netip.Prefix
	Addresses []netip.Addr
}

// key identifies a link. One that is created again has another index.
func (l Link) key() string { return fmt.Sprint(l.Index, l.Name, l.MAC) }

// prober asks for addresses on a link; *arp.Announcer.
type prober interface {
	Set(list []assignment.Assignment)
	Run(ctx context.Context) error
	Probe(ctx context.Context, addrs []netip.Addr, timeout time.Duration) (
		map[netip.Addr]net.HardwareAddr, error)
}

// Config of a Heartbeat.
type Config struct {
	// Node is the name of this node. Required.
	Node string
	// Silent is called for a node that is silent, again and again while it is. Required.
	Silent func(node string)
	// Clock is boottime.Now if it is nil.
	Clock boottime.Clock
	// Log receives errors of links. Nil discards them.
	Log *slog.Logger

	probe  prober                         // of tests
	listen func(l Link) (arp.Conn, error) // of tests
}

// Heartbeat sends and receives the frames of a node on its links. It is safe for concurrent use.
// Make it with New.
type Heartbeat struct {
	cfg   Config
	heard chan frame
	wake  backoff.Signal // links or nodes changed

	mu    sync.Mutex
	links map[string]Link // by key, those on which another node has an address
	nodes map[string]neighbour
}

// neighbour is a node that has an address in a subnet of this host.
type neighbour struct {
	macs []net.HardwareAddr
	own  map[string]assignment.Assignment // its address on each link, by the link's key
}

// frame is one that was received.
type frame struct {
	node, link string // the key of the link
	at         time.Duration
}

// result of a question.
type result struct {
	node     string
	answered bool
	valid    bool // in time
}

// New validates the configuration. It opens nothing before Run.
func New(cfg Config) (*Heartbeat, error) {
	if err := required.Fields("heartbeat", map[string]bool{
		"Node": cfg.Node == "", "Silent": cfg.Silent == nil,
	}); err != nil {
		return nil, err
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.probe == nil {
		a, err := arp.New(arp.Config{
			Pacing: arp.ServicePacing(), Log: cfg.Log, Clock: cfg.Clock,
			MayAnnounce: func(netip.Addr) bool { return false }, // it asks for addresses of others
		})
		if err != nil {
			return nil, err
		}
		cfg.probe = a
	}
	if cfg.listen == nil {
		cfg.listen = func(l Link) (arp.Conn, error) { return arp.Listen(l.Link, etherType, nil) }
	}
	return &Heartbeat{
		cfg: cfg, heard: make(chan frame, inbox), wake: backoff.NewSignal(),
		nodes: map[string]neighbour{},
	}, nil
}

// Set sets the links of this host and the other nodes. Run follows at once. Frames are sent on
// links in whose subnets another node has an address that this host has not: networks of containers
// often have the same addresses on all hosts.
func (h *Heartbeat) Set(links []Link, nodes []Node) {
	var here []netip.Addr
	for _, l := range links {
		here = append(here, l.Addresses...)
	}
	neighbours, used := map[string]neighbour{}, map[string]Link{}
	for _, n := range nodes[:min(len(nodes), maxNodes)] {
		if n.Name == h.cfg.Node || len(n.Name) > maxName {
			continue
		}
		one := neighbour{macs: n.MACs, own: map[string]assignment.Assignment{}}
		for _, l := range links[:min(len(links), maxLinks)] {
			if a, ok := l.addressOf(n, here); ok {
				used[l.key()] = l
				one.own[l.key()] = assignment.Assignment{Addr: a, Link: l.Link, State: assignment.Silent}
			}
		}
		if len(one.own) > 0 {
			neighbours[n.Name] = one
		}
	}
	h.mu.Lock()
	h.links, h.nodes = used, neighbours
	h.mu.Unlock()
	h.wake.Notify()
}

// addressOf returns an address of a node in a subnet of the link, which is none of this host's.
func (l Link) addressOf(n Node, here []netip.Addr) (netip.Addr, bool) {
	i := slices.IndexFunc(n.Addresses, func(a netip.Addr) bool {
		return !slices.Contains(here, a) &&
			slices.ContainsFunc(l.Subnets, func(p netip.Prefix) bool { return p.Contains(a) })
	})
	if i < 0 {
		return netip.Addr{}, false
	}
	return n.Addresses[i], true
}

// Run sends, receives and judges until ctx ends, and returns nil.
func (h *Heartbeat) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { _ = h.cfg.probe.Run(ctx) })
	l := &loop{
		Heartbeat: h, detector: NewDetector(), sockets: map[string]*socket{},
		heardOn: map[string]string{}, results: make(chan result, inbox), group: &group,
	}
	defer l.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-h.heard:
			l.record(f)
			continue
		case r := <-l.results:
			l.judge(r)
			continue
		case <-h.wake:
			l.update()
			continue
		case <-timer.C:
		}
		l.drain() // a last look: what has arrived counts before anything is judged
		actions := l.detector.Step(h.cfg.Clock())
		if actions.Send {
			l.send()
		}
		for _, node := range actions.Ask {
			l.ask(ctx, node)
		}
		timer.Reset(max(l.detector.Next()-h.cfg.Clock(), time.Millisecond))
	}
}
