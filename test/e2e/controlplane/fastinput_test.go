package controlplane

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/lab/cluster"
)

// peerAddress returns where a node's agent receives messages.
func peerAddress(n *cluster.Node) *net.UDPAddr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.Host.Addr(true), config.DefaultPeerPort))
}

// slowBecause waits until the holder's status names a reason for mode slow.
func (s *env) slowBecause(reason string) {
	s.t.Helper()
	s.wait("mode slow: "+reason, func() bool {
		text, _, _ := s.runKvip(s.c.Nodes[0], "status")
		return strings.Contains(text, "Mode:      slow: "+reason)
	})
}

// TestFastPortTaken: while another program has the port of one agent the mode is slow, with the
// reason, and the VIP is served. It is fast when the port is free again.
func TestFastPortTaken(t *testing.T) {
	s := prepareEnv(t)
	n := s.c.Nodes[1]
	var other *net.UDPConn
	s.must(n.Host.Do(func() (err error) {
		other, err = net.ListenUDP("udp4", peerAddress(n))
		return err
	}))
	defer other.Close()
	s.startAll()
	s.waitSettled()
	s.waitLogged(n, "cannot exchange messages with all agents", "address already in use")
	s.slowBecause("fewer than three agents")
	s.must(other.Close())
	s.waitFast()
}

// TestFastFlags: agents with different --failover-timeout, of which the shortest and the longest
// are those of both ends of the range, hold and fail over in mode fast.
func TestFastFlags(t *testing.T) {
	s := prepareEnv(t)
	for i, timeout := range []string{"150ms", "350ms", "2s"} {
		s.startAgent(s.c.Nodes[i], "--failover-timeout="+timeout)
	}
	s.waitSettled()
	for range 2 {
		s.waitFast()
		time.Sleep(2 * time.Second) // a voter that was restarted acknowledges nothing for so long (F3)
		s.survive(fault{"node off", (*cluster.Node).PowerOff, false})
	}
}

// reject makes a node refuse datagrams to the agents' port, as a firewall with the target REJECT
// does. It returns what undoes it.
func (s *env) reject(n *cluster.Node) (undo func()) {
	s.t.Helper()
	table := &nftables.Table{Name: "firewall", Family: nftables.TableFamilyINet}
	change := func(do func(*nftables.Conn)) {
		s.t.Helper()
		s.must(n.Host.Do(func() error {
			conn, err := nftables.New()
			if err != nil {
				return err
			}
			do(conn)
			return conn.Flush()
		}))
	}
	change(func(conn *nftables.Conn) {
		conn.AddTable(table)
		chain := conn.AddChain(&nftables.Chain{
			Table: table, Name: "input", Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
		})
		const port = config.DefaultPeerPort
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{port >> 8, port & 0xff}},
			&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH},
		}})
	})
	return func() { change(func(conn *nftables.Conn) { conn.DelTable(table) }) }
}

// TestFastFirewall: a firewall that refuses the agents' messages, on the holder or on all nodes,
// leads to mode slow with the reason, and moves nothing.
func TestFastFirewall(t *testing.T) {
	s := newEnv(t)
	for _, all := range []bool{false, true} {
		s.waitFast()
		time.Sleep(time.Second)
		holder, term := s.holder(), s.term()
		var undo []func()
		for _, n := range s.c.Nodes {
			if all || n == holder {
				undo = append(undo, s.reject(n))
			}
		}
		s.slowBecause("fewer than three agents")
		if h := s.holders(); len(h) != 1 || h[0] != holder.Name || s.term() != term {
			t.Errorf("on all nodes %t: holders %v in term %d, want %s in term %d", all, h, s.term(),
				holder.Name, term)
		}
		for _, end := range undo {
			end()
		}
	}
	s.waitFast()
}

// flood sends datagrams from a host until ctx ends, and counts them: from another program's port,
// and from that of the agent, if there is one.
func flood(ctx context.Context, listen func(port int) (*net.UDPConn, error), port int,
	to *net.UDPAddr, count *atomic.Int64) error {
	conn, err := listen(port)
	if err != nil {
		return err
	}
	defer conn.Close()
	b := make([]byte, 1472)
	for i := 0; ctx.Err() == nil; i++ {
		b[0] = byte(i)
		if _, err := conn.WriteToUDP(b[:70+i%1400], to); err != nil && ctx.Err() == nil {
			time.Sleep(time.Millisecond) // its own queue is full
			continue
		}
		count.Add(1)
	}
	return nil
}

// TestFastFlood: datagrams of programs that have no key, also from the port of an agent, change
// nothing.
func TestFastFlood(t *testing.T) {
	s := newEnv(t)
	s.waitFast()
	time.Sleep(time.Second)
	holder, term := s.holder(), s.term()
	var victim *cluster.Node
	for _, n := range s.c.Nodes {
		if n != holder {
			victim = n
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var group sync.WaitGroup
	var sent atomic.Int64
	began, before := time.Now(), benchreport.CPUTime(holder.Agent().PID())
	for _, source := range []struct {
		host *cluster.Node
		port int
	}{{nil, 0}, {victim, config.DefaultPeerPort}} {
		host := s.c.Client
		if source.host != nil {
			host = source.host.Host
		}
		listen := func(port int) (conn *net.UDPConn, err error) {
			err = host.Do(func() error {
				local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(host.Addr(true), uint16(port)))
				conn, err = listenShared(local)
				return err
			})
			return conn, err
		}
		group.Go(func() {
			if err := flood(ctx, listen, source.port, peerAddress(holder), &sent); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	took, used := time.Since(began), benchreport.CPUTime(holder.Agent().PID())-before
	t.Logf("%.0f datagrams a second; the agent used %.0f %% of a core",
		float64(sent.Load())/took.Seconds(), 100*float64(used)/float64(took))
	h, voters := s.holders(), s.voters()
	if len(h) != 1 || h[0] != holder.Name || s.term() != term || len(voters) != 3 {
		t.Errorf("holders %v in term %d with %d voters, want %s in term %d", h, s.term(),
			len(voters), holder.Name, term)
	}
}

// listenShared opens a socket at an address that another one may have as well.
func listenShared(local *net.UDPAddr) (*net.UDPConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		controlErr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		})
		return errors.Join(controlErr, err)
	}}
	conn, err := config.ListenPacket(context.Background(), "udp4", local.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// directory returns what the agents have published, by their identities.
func (s *env) directory() map[string]map[string]any {
	s.t.Helper()
	l, err := s.leases().Get(context.Background(), kubelease.DirectoryName("kvip"),
		metav1.GetOptions{})
	s.must(err)
	var list []map[string]any
	_ = json.Unmarshal([]byte(l.Annotations[kubelease.AnnotationAgents]), &list) // nothing: no agent
	agents := map[string]map[string]any{}
	for _, e := range list {
		agents[fmt.Sprint(e["id"])] = e
	}
	return agents
}

// TestFastDirectoryEdited: other keys in the directory, or text that cannot be read, do not move
// the VIP. The agents publish themselves again.
func TestFastDirectoryEdited(t *testing.T) {
	s := newEnv(t)
	s.waitFast()
	time.Sleep(time.Second)
	holder, term, before := s.holder(), s.term(), s.directory()
	foreign := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{9}, 32)) // a valid key
	key := regexp.MustCompile(`"key":"[^"]*"`)
	for _, change := range []func(text string) string{
		func(text string) string { return key.ReplaceAllString(text, `"key":"`+foreign+`"`) },
		func(text string) string { return key.ReplaceAllString(text, `"key":"AAAA"`) },
		func(text string) string { return text[:len(text)/2] },
		func(string) string { return "" },
	} {
		s.editLease(kubelease.DirectoryName("kvip"), func(l *coordinationv1.Lease) {
			l.Annotations[kubelease.AnnotationAgents] = change(l.Annotations[kubelease.AnnotationAgents])
		})
		s.wait("the agents to publish themselves again", func() bool {
			now := s.directory()
			return maps.EqualFunc(now, before, func(a, b map[string]any) bool {
				return a["key"] == b["key"]
			})
		})
		s.waitFast()
		if h := s.holders(); len(h) != 1 || h[0] != holder.Name || s.term() != term {
			t.Errorf("holders %v in term %d, want %s in term %d", h, s.term(), holder.Name, term)
		}
	}
}

// TestTwoClustersWithOneVIP: an agent of another election, as of another cluster on the segment,
// does not take a VIP that is in use, whether it is there before or after. When the holder ends,
// one of both elections has it.
func TestTwoClustersWithOneVIP(t *testing.T) {
	s := newEnv(t)
	s.waitFast()
	holder := s.holder()
	other := s.c.Node(s.c.Others(holder)[0].Name)
	s.anyRights = true // the agent of the other election has no token of this one
	s.must(other.Agent().Terminate(patience))
	s.startAgent(other, "--lease-name=kvip-of-another-cluster")
	s.waitLogged(other, "another host answers for the address")
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		if h := s.holders(); len(h) != 1 || h[0] != holder.Name {
			t.Errorf("holders %v, want %s", h, holder.Name)
		}
	}
	for _, n := range s.c.Nodes {
		if n != other {
			s.must(n.Agent().Terminate(patience))
		}
	}
	s.wait("the other election to take the address", func() bool {
		h := s.holders()
		return len(h) == 1 && h[0] == other.Name
	})
	s.noAgents = true
}
