package controlplane

import (
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/pkg/quorum"
	"github.com/kvip/kvip/test/lab/cluster"
)

// voters returns the voters of the Lease in mode fast, none in mode slow.
func (s *env) voters() []string { return kubelease.Decode(s.lease()).FastVoters() }

// term returns the term of the Lease.
func (s *env) term() int64 { return kubelease.Decode(s.lease()).Term }

// waitFast waits until the Lease is in mode fast with all nodes as voters.
func (s *env) waitFast() {
	s.t.Helper()
	s.wait("mode fast", func() bool { return len(s.voters()) == len(s.c.Nodes) })
}

// TestFastFaults injects each fault into the holder in mode fast (F1 to F11): the VIP moves, never
// has two holders, and the mode is fast again.
func TestFastFaults(t *testing.T) {
	s := newEnv(t)
	for _, f := range []fault{
		{"agent SIGTERM", func(n *cluster.Node) error { return n.Agent().SendTerm() }, true},
		{"agent SIGKILL", func(n *cluster.Node) error { return n.Agent().Kill() }, false},
		{"agent SIGSTOP", func(n *cluster.Node) error { return n.Agent().Freeze() }, false},
		{"node off", (*cluster.Node).PowerOff, false},
		{"API server killed", (*cluster.Node).KillAPI, false},
	} {
		s.waitFast()
		time.Sleep(2 * quorum.MaxWindow) // a restarted voter acknowledges nothing for 2 s (F3)
		s.survive(f)
	}
}

// TestFastWithoutEtcd: the address stays where it is while etcd answers no one (F1).
func TestFastWithoutEtcd(t *testing.T) {
	s := newEnv(t)
	s.waitFast()
	holder := s.holder()
	for _, n := range s.c.Nodes {
		s.must(n.FreezeEtcd())
	}
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		if h := s.holders(); len(h) != 1 || h[0] != holder.Name {
			t.Errorf("holders %v, want %s", h, holder.Name)
		}
	}
	for _, n := range s.c.Nodes {
		s.must(n.ThawEtcd())
	}
	s.must(s.c.Heal(t.Context()))
	s.waitSettled()
}

// TestFastNeedsMessages: where the agents cannot reach each other the mode is slow, with the
// reason, and nothing moves (F6). It is fast again when they can.
func TestFastNeedsMessages(t *testing.T) {
	s := newEnv(t)
	s.waitFast()
	holder := s.holder()
	s.must(s.c.Lab.PartitionPorts(holder.Host, []uint16{config.DefaultPeerPort},
		s.c.Others(holder)...))
	s.wait("mode slow", func() bool { return len(s.voters()) == 0 })
	s.wait("the reason", func() bool {
		text, _, _ := s.runKvip(holder, "status")
		return strings.Contains(text, "Mode:      slow: fewer than three agents")
	})
	if h := s.holders(); len(h) != 1 || h[0] != holder.Name {
		t.Errorf("holders %v, want %s", h, holder.Name)
	}
	s.must(s.c.Lab.Heal())
	s.waitFast()
}

// lifetime returns how long the kernel of a node keeps the IPv4 VIP, 0 if it does not have it.
func (s *env) lifetime(n *cluster.Node) (left time.Duration) {
	s.t.Helper()
	s.must(n.Host.Do(func() error {
		list, err := netlink.AddrList(nil, netlink.FAMILY_V4)
		for _, a := range list {
			if a.IP.Equal(cluster.VIP4.AsSlice()) {
				left = time.Duration(a.ValidLft) * time.Second
			}
		}
		return err
	}))
	return left
}

// TestF9SecondLink: while the holder has another link in the subnet of the VIP, which the fence
// does not cover, the mode is slow, with the reason, and the lifetime of the address ends before
// the lease does. Nothing moves, and the mode is fast again without that link.
func TestF9SecondLink(t *testing.T) {
	s := newEnv(t)
	s.waitFast()
	holder := s.holder()
	second := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "second"}, PeerName: "far"}
	s.must(holder.Host.Do(func() error {
		return errors.Join(netlink.LinkAdd(second), netlink.LinkSetUp(second),
			netlink.LinkSetUp(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "far"}}),
			netlink.AddrAdd(second, &netlink.Addr{
				IPNet: &net.IPNet{IP: net.IPv4(10, 77, 0, 200), Mask: net.CIDRMask(24, 32)},
				Flags: unix.IFA_F_NOPREFIXROUTE,
			}))
	}))
	remove := sync.OnceValue(func() error {
		return holder.Host.Do(func() error { return netlink.LinkDel(second) })
	})
	defer func() { s.must(remove()) }()
	s.wait("mode slow", func() bool { return len(s.voters()) == 0 })
	s.slowBecause("link second with ")
	s.wait("a lifetime that ends before the lease", func() bool {
		left := s.lifetime(holder)
		return left > 0 && left <= 3*time.Second
	})
	if h := s.holders(); len(h) != 1 || h[0] != holder.Name {
		t.Errorf("holders %v, want %s", h, holder.Name)
	}
	s.must(remove())
	s.waitFast()
	if left := s.lifetime(holder); left <= 0 {
		t.Errorf("in mode fast again the address lasts %v", left)
	}
}
