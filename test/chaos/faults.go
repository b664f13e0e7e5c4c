package main

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

// fault is one thing that happens to a node, more often the larger its weight.
type fault struct {
	name   string
	weight int
	begin  begin
}

// begin lets a fault happen. undo, if there is one, ends it.
type begin = func(c *chaos, n *cluster.Node) (undo func() error, err error)

// errNotNow means that a fault cannot happen now, because of another one.
var errNotNow = errors.New("not possible now")

var faults = []fault{
	{"agent frozen", 10, withAgent((*cluster.Agent).Freeze, (*cluster.Agent).Thaw)},
	{"agent frozen by its cgroup", 6, freezeGroup},
	{"all processes frozen", 6, freezeNode},
	{"agent killed", 10, killAgent},
	{"agent ended", 6, endAgent},
	{"agent restarted", 6, restartAgent},
	{"address moved", 6, move},
	{"node off", 6, powerOff},
	{"node cut off", 8, cut},
	{"node is not heard", 6, mute},
	{"node does not hear", 6, deafen},
	{"frames lost", 10, lose},
	{"API cut off", 8, cutPorts(cluster.Port, 2379, 2380)},
	{"agents cut off from each other", 6, cutPorts(config.DefaultPeerPort)},
	{"API server killed", 6, killAPI},
	{"API server frozen", 4, freezeAPI},
	{"etcd member frozen", 4, freezeEtcd},
	{"nftables flushed", 6, flushRuleset},
	{"large nftables transactions", 6, largeTransactions},
	{"busy processes", 6, hogs},
}

func running(n *cluster.Node) *cluster.Agent {
	if a := n.Agent(); a != nil && a.Running() {
		return a
	}
	return nil
}

// withAgent makes a fault of what happens to a node's agent.
func withAgent(do, end func(*cluster.Agent) error) begin {
	return func(_ *chaos, n *cluster.Node) (func() error, error) {
		a := running(n)
		if a == nil {
			return nil, errNotNow
		}
		return func() error { return gone(a, end(a)) }, gone(a, do(a))
	}
}

// gone ignores the error of a process that has ended meanwhile.
func gone(a *cluster.Agent, err error) error {
	if !a.Running() {
		return nil
	}
	return err
}

func freezeGroup(_ *chaos, n *cluster.Node) (func() error, error) {
	a := running(n)
	if a == nil {
		return nil, errNotNow
	}
	undo, err := netlab.FreezeGroup(a.Process)
	if errors.Is(err, netlab.ErrFrozen) {
		return nil, errNotNow
	}
	return undo, gone(a, err)
}

func freezeNode(_ *chaos, n *cluster.Node) (func() error, error) {
	return n.Host.Thaw, n.Host.Freeze()
}

func killAgent(c *chaos, n *cluster.Node) (func() error, error) {
	a := running(n)
	if a == nil {
		return nil, errNotNow
	}
	c.killed[n.Name] = time.Now()
	return n.RestartAgent, gone(a, errors.Join(a.Freeze(), a.Kill()))
}

func endAgent(_ *chaos, n *cluster.Node) (func() error, error) {
	a := running(n)
	if a == nil {
		return nil, errNotNow
	}
	return n.RestartAgent, gone(a, a.SendTerm())
}

func restartAgent(c *chaos, n *cluster.Node) (func() error, error) {
	undo, err := killAgent(c, n)
	if err != nil {
		return nil, err
	}
	return nil, undo()
}

// move runs `kvip move` on the node. That it fails in the middle of other faults is not an error.
func move(_ *chaos, n *cluster.Node) (func() error, error) {
	a := running(n)
	if a == nil {
		return nil, errNotNow
	}
	p, err := n.Host.Start(n.WithState(netlab.Command{
		Path: a.Path(), Args: []string{"move"}, Log: n.Log("move"),
	}))
	if err != nil {
		return nil, err
	}
	return func() error { return stop(p) }, nil
}

// stop ends a process that may have ended, or be frozen with its node.
func stop(p *netlab.Process) error {
	if err := p.Kill(); err != nil && p.Running() {
		return err
	}
	<-p.Done()
	return nil
}

func powerOff(_ *chaos, n *cluster.Node) (func() error, error) {
	return func() error { return errors.Join(n.PowerOn(), n.RestartAgent()) }, n.PowerOff()
}

// cut drops everything between a node and the others. The client reaches all of them.
func cut(c *chaos, n *cluster.Node) (func() error, error) {
	return c.cluster.Lab.Heal, c.cluster.Lab.Partition(n.Host, c.cluster.Others(n)...)
}

func mute(c *chaos, n *cluster.Node) (func() error, error) {
	var errs []error
	for _, other := range c.cluster.Others(n) {
		errs = append(errs, c.cluster.Lab.Drop(n.Host, other))
	}
	return c.cluster.Lab.Heal, errors.Join(errs...)
}

func deafen(c *chaos, n *cluster.Node) (func() error, error) {
	var errs []error
	for _, other := range c.cluster.Others(n) {
		errs = append(errs, c.cluster.Lab.Drop(other, n.Host))
	}
	return c.cluster.Lab.Heal, errors.Join(errs...)
}

// lose drops 1 to 30 % of the frames between all nodes.
func lose(c *chaos, n *cluster.Node) (func() error, error) {
	return loseFrames(1+c.random.IntN(30))(c, n)
}

func cutPorts(ports ...uint16) begin {
	return func(c *chaos, n *cluster.Node) (func() error, error) {
		return c.cluster.Lab.Heal,
			c.cluster.Lab.PartitionPorts(n.Host, ports, c.cluster.Others(n)...)
	}
}

func killAPI(_ *chaos, n *cluster.Node) (func() error, error) { return n.StartAPI, n.KillAPI() }

func freezeAPI(_ *chaos, n *cluster.Node) (func() error, error) { return n.ThawAPI, n.FreezeAPI() }

func freezeEtcd(_ *chaos, n *cluster.Node) (func() error, error) {
	return n.ThawEtcd, n.FreezeEtcd()
}

// inNode calls do with a connection to the node's nftables.
func inNode(n *cluster.Node, do func(*nftables.Conn) error) error {
	return n.Host.Do(func() error {
		conn, err := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
			return c.SetWriteBuffer(transaction)
		}))
		if err != nil {
			return err
		}
		return do(conn)
	})
}

// orphanedFor is how long an address and its fence may be without an owner after an agent was
// killed: the lifetime of the address, and the kernel's lag.
const orphanedFor = 4 * time.Second

// flushRuleset removes all tables that no process owns, as `nft flush ruleset` does. The fence of
// an agent that was just killed is such a table: that both happen within the lifetime of the
// address is a window that remains (docs/design/fast.md).
func flushRuleset(c *chaos, n *cluster.Node) (func() error, error) {
	if time.Since(c.killed[n.Name]) < orphanedFor {
		return nil, errNotNow
	}
	return nil, inNode(n, func(conn *nftables.Conn) error {
		conn.FlushRuleset()
		return conn.Flush()
	})
}

const (
	largeSet      = 50_000 // elements of a transaction, as of a kube-proxy with many Services
	largePause    = 200 * time.Millisecond
	transaction   = 8 << 20 // bytes of one
	elementsParts = 5000    // elements of one attribute of netlink, which has 64 KiB at most
)

// largeTransactions replaces all elements of a large set again and again.
func largeTransactions(_ *chaos, n *cluster.Node) (func() error, error) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	var failed error
	done.Go(func() {
		for ctx.Err() == nil && failed == nil {
			failed = inNode(n, replaceLargeSet)
			select {
			case <-ctx.Done():
			case <-time.After(largePause):
			}
		}
	})
	return func() error {
		cancel()
		done.Wait()
		return failed
	}, nil
}

func replaceLargeSet(conn *nftables.Conn) error {
	table := &nftables.Table{Name: "chaos", Family: nftables.TableFamilyINet}
	conn.AddTable(table)
	conn.DelTable(table)
	conn.AddTable(table)
	set := &nftables.Set{Table: table, Name: "large", KeyType: nftables.TypeIPAddr}
	if err := conn.AddSet(set, nil); err != nil {
		return err
	}
	elements := make([]nftables.SetElement, 0, elementsParts)
	for i := range uint32(largeSet) {
		elements = append(elements, nftables.SetElement{
			Key: binary.BigEndian.AppendUint32(nil, 0x0a000000|i),
		})
		if len(elements) < elementsParts && i+1 < largeSet {
			continue
		}
		if err := conn.SetAddElements(set, elements); err != nil {
			return err
		}
		elements = elements[:0]
	}
	return conn.Flush()
}

// busy is how many processes do nothing but use CPU time.
const busy = 8

func hogs(_ *chaos, n *cluster.Node) (func() error, error) {
	var procs []*netlab.Process
	undo := func() error {
		var errs []error
		for _, p := range procs {
			errs = append(errs, stop(p))
		}
		return errors.Join(errs...)
	}
	for range busy {
		p, err := n.Host.Start(netlab.Command{
			Path: "/bin/sh", Args: []string{"-c", "while :; do :; done"},
		})
		if err != nil {
			return nil, errors.Join(err, undo())
		}
		procs = append(procs, p)
	}
	return undo, nil
}
