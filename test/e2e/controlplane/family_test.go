package controlplane

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

// TestFamilies hands over IPv4 alone, IPv6 alone and both under one lease, with forwarding
// off and on in the nodes: with it on, an old holder would pass stale traffic on and hide a
// missing announcement. A client that says nothing must follow by the announcement alone.
func TestFamilies(t *testing.T) {
	for name, vips := range map[string][]netip.Addr{
		"IPv4": {cluster.VIP4}, "IPv6": {cluster.VIP6}, "Both": {cluster.VIP4, cluster.VIP6},
	} {
		t.Run(name, func(t *testing.T) {
			var list []string
			for _, v := range vips {
				list = append(list, v.String())
			}
			s := newEnv(t, "--vip="+strings.Join(list, ","))
			t.Cleanup(func() { s.forwarding("0") })
			for _, forward := range []string{"0", "1"} {
				s.forwarding(forward)
				s.checkSilentClient()
			}
		})
	}
}

func (s *env) forwarding(value string) {
	for _, n := range s.c.Nodes {
		for _, key := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
			if err := n.Host.Sysctl(key, value); err != nil {
				s.t.Error(err)
			}
		}
	}
}

// checkSilentClient hands the VIPs over while nothing that the client sends arrives, so
// and sends no ARP requests. Its neighbour entries must change nevertheless.
func (s *env) checkSilentClient() {
	s.t.Helper()
	s.waitSettled() // the client has spoken with the VIPs and knows their holder
	old := s.holder()
	for _, v := range s.vips {
		s.wait("the client to know "+v.String(),
			func() bool { return s.neighbour(v) == old.Host.MAC.String() })
	}
	for _, n := range s.c.Nodes {
		s.must(s.c.Lab.Drop(s.c.Client, n.Host))
	}
	s.must(old.Agent().Terminate(patience))
	next := s.waitMoved(old)
	settled := time.Now()
	for _, v := range s.vips {
		s.wait("the client to follow "+v.String(),
			func() bool { return s.neighbour(v) == next.Host.MAC.String() })
	}
	s.must(s.c.Lab.Heal())
	s.must(old.RestartAgent())
	s.waitSettled()
	s.checkSimultaneous(settled)
}

// neighbour is the hardware address that the client has in memory for an address.
func (s *env) neighbour(v netip.Addr) string {
	var entries []struct {
		LLAddr string `json:"lladdr"`
	}
	out := s.runIP(s.c.Client, "-json", "neighbour", "show", "to", v.String(), "dev", netlab.LinkName)
	s.must(json.Unmarshal([]byte(out), &entries))
	if len(entries) == 0 {
		return ""
	}
	return entries[0].LLAddr
}

// checkSimultaneous checks that no sample since the hand-over shows the addresses on different
// nodes.
func (s *env) checkSimultaneous(since time.Time) {
	s.t.Helper()
	at := map[netip.Addr][]string{}
	for _, c := range s.sampler.Window(since, time.Time{}).Timeline {
		at[c.VIP] = c.Holders
		if len(at) < len(s.vips) {
			continue // the timeline begins with one entry for each
		}
		for _, v := range s.vips {
			if !slices.Equal(at[v], at[s.vips[0]]) {
				s.t.Errorf("%s: %s is on %v, %s on %v", c.At.Format("15:04:05.000"), s.vips[0], at[s.vips[0]],
					v, at[v])
			}
		}
	}
}
