package routerlab

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

const (
	gobgpdPath = "/usr/bin/gobgpd"
	gobgpPath  = "/usr/bin/gobgp"
	// gobgpSocket is where gobgpd serves its API, as the program sees it.
	gobgpSocket = "unix:///run/gobgpd.sock"
)

// gobgp is one daemon, and a client for its API.
type gobgp struct{ *Router }

func (g gobgp) daemons() []daemon {
	return []daemon{{
		path: gobgpdPath,
		args: []string{"-f", "/etc/gobgpd.toml", "--api-hosts", gobgpSocket, "--pprof-disable"},
		ready: func() error {
			conn, err := g.dialSocket("gobgpd.sock")
			if err != nil {
				return err
			}
			_ = conn.Close() // it was opened to see that it can be
			return g.each()
		},
	}}
}

// each returns nil once every neighbor of the configuration is known: gobgpd serves its API before
// it reads the configuration.
func (g gobgp) each() error {
	sessions, err := g.sessions()
	if err != nil {
		return err
	}
	known := map[netip.Addr]bool{}
	for _, s := range sessions {
		known[s.Neighbor] = true
	}
	for _, n := range g.cfg.Neighbors {
		if n.Addr.IsValid() && !known[n.Addr] {
			return fmt.Errorf("neighbor %s is not configured yet", n.Addr)
		}
	}
	return nil
}

func (g gobgp) cli(args ...string) ([]byte, error) {
	return g.query(gobgpPath, append([]string{"--target", gobgpSocket, "-j"}, args...)...)
}

func (g gobgp) files() map[string]string {
	var t configText
	t.line("[global.config]\nas = %d\nrouter-id = %q", g.cfg.AS, g.cfg.RouterID)
	t.lineIf(!g.cfg.SinglePath, "[global.use-multiple-paths.config]\nenabled = true")
	for i, n := range g.cfg.Neighbors {
		if n.Listen.IsValid() {
			t.line("[[dynamic-neighbors]]\n[dynamic-neighbors.config]\nprefix = %q", n.Listen)
			t.line("peer-group = \"range%d\"", i)
			t.line("[[peer-groups]]\n[peer-groups.config]\npeer-group-name = \"range%d\"", i)
			gobgpNeighbor(&t, "peer-groups", n)
			continue
		}
		t.line("[[neighbors]]\n[neighbors.config]\nneighbor-address = %q", n.Addr)
		gobgpNeighbor(&t, "neighbors", n)
	}
	return map[string]string{"gobgpd.toml": t.String()}
}

// gobgpNeighbor writes the tables of a neighbor or peer group. The first lines continue its table
// config.
func gobgpNeighbor(t *configText, table string, n Neighbor) {
	t.line("peer-as = %d", n.AS)
	t.lineIf(n.Password != "", "auth-password = %q", n.Password)
	t.line("[%s.timers.config]\nconnect-retry = 1\nhold-time = %d\nkeepalive-interval = %d", table,
		n.holdSeconds(), n.keepaliveSeconds())
	t.line("[%s.transport.config]\npassive-mode = %t", table, n.Passive)
	t.lineIf(n.Multihop > 0, "[%s.ebgp-multihop.config]\nenabled = true\nmultihop-ttl = %d", table,
		n.Multihop)
	t.lineIf(n.TTLSecurity, "[%s.ttl-security.config]\nenabled = true\nttl-min = 255", table)
	t.lineIf(n.GracefulRestart, "[%s.graceful-restart.config]\nenabled = true\nhelper-only = true",
		table)
	for family, used := range map[string]bool{"ipv4-unicast": n.IPv4, "ipv6-unicast": n.IPv6} {
		if !used {
			continue
		}
		t.line("[[%s.afi-safis]]\n[%s.afi-safis.config]\nafi-safi-name = %q", table, table, family)
		t.lineIf(n.MaximumPrefixes > 0, "[%s.afi-safis.prefix-limit.config]\nmax-prefixes = %d", table,
			n.MaximumPrefixes)
		t.lineIf(n.GracefulRestart, "[%s.afi-safis.mp-graceful-restart.config]\nenabled = true", table)
	}
}

func (g gobgp) sessions() ([]SessionInfo, error) {
	out, err := g.cli("neighbor")
	if err != nil {
		return nil, err
	}
	return parseGoBGPSessions(out, time.Now())
}

// gobgpStates are the states by their number in GoBGP's API.
var gobgpStates = []string{"", "Idle", "Connect", "Active", "OpenSent", "OpenConfirm", Established}

func parseGoBGPSessions(out []byte, now time.Time) (all []SessionInfo, err error) {
	var neighbors []struct {
		State struct {
			NeighborAddress string `json:"neighbor_address"`
			SessionState    int    `json:"session_state"`
		} `json:"state"`
		Timers struct {
			State struct {
				Uptime struct {
					Seconds int64 `json:"seconds"` // since the epoch
				} `json:"uptime"`
			} `json:"state"`
		} `json:"timers"`
		AFISAFIs []struct {
			State struct {
				Accepted int `json:"accepted"`
			} `json:"state"`
		} `json:"afi_safis"`
	}
	if err := json.Unmarshal(out, &neighbors); err != nil {
		return nil, fmt.Errorf("parse neighbors of GoBGP: %w", err)
	}
	for _, n := range neighbors {
		s := SessionInfo{id: n.State.NeighborAddress, Neighbor: addr(n.State.NeighborAddress)}
		if i := n.State.SessionState; i >= 0 && i < len(gobgpStates) {
			s.State = gobgpStates[i]
		}
		for _, family := range n.AFISAFIs {
			s.Prefixes += family.State.Accepted
		}
		if s.State == Established {
			s.Uptime = now.Sub(time.Unix(n.Timers.State.Uptime.Seconds, 0))
		}
		all = append(all, s)
	}
	return all, nil
}

func (g gobgp) routes() (all []Route, err error) {
	for _, family := range []string{"ipv4", "ipv6"} {
		out, err := g.cli("global", "rib", "-a", family)
		if err != nil {
			return nil, err
		}
		routes, err := parseGoBGPRoutes(out)
		if err != nil {
			return nil, err
		}
		all = append(all, routes...)
	}
	return all, nil
}

// gobgpRoute is a path of `gobgp global rib -j`. Attributes have the numbers of their types.
type gobgpRoute struct {
	Best       bool   `json:"best"`
	Stale      bool   `json:"stale"`
	NeighborIP string `json:"neighbor-ip"`
	Attrs      []struct {
		Type    int `json:"type"`
		ASPaths []struct {
			ASNs []uint32 `json:"asns"`
		} `json:"as_paths"`
		NextHop     string          `json:"nexthop"`
		Metric      uint32          `json:"metric"`
		Communities []uint32        `json:"communities"`
		Value       json.RawMessage `json:"value"`
	} `json:"attrs"`
}

func parseGoBGPRoutes(out []byte) (all []Route, err error) {
	var table map[netip.Prefix][]gobgpRoute
	if err := json.Unmarshal(out, &table); err != nil {
		return nil, fmt.Errorf("parse routes of GoBGP: %w", err)
	}
	for prefix, paths := range table {
		for _, p := range paths {
			r, err := p.route(prefix)
			if err != nil {
				return nil, fmt.Errorf("parse route %s of GoBGP: %w", prefix, err)
			}
			all = append(all, r)
		}
	}
	sortRoutes(all)
	return all, nil
}

// route reads the attributes by their type (RFC 4271, RFC 1997, RFC 4760, RFC 8092).
func (p gobgpRoute) route(prefix netip.Prefix) (r Route, err error) {
	r = Route{Prefix: prefix, Neighbor: addr(p.NeighborIP), Best: p.Best, Stale: p.Stale}
	for _, a := range p.Attrs {
		switch a.Type {
		case 2:
			for _, segment := range a.ASPaths {
				r.ASPath = append(r.ASPath, segment.ASNs...)
			}
		case 3, 14:
			r.NextHops = append(r.NextHops, addr(a.NextHop))
		case 4:
			r.MED = a.Metric
		case 5:
			err = json.Unmarshal(a.Value, &r.LocalPref)
		case 8:
			for _, c := range a.Communities {
				r.Communities = append(r.Communities, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
			}
		case 32:
			var list []struct{ ASN, LocalData1, LocalData2 uint32 }
			err = json.Unmarshal(a.Value, &list)
			for _, c := range list {
				r.LargeCommunities = append(r.LargeCommunities,
					fmt.Sprintf("%d:%d:%d", c.ASN, c.LocalData1, c.LocalData2))
			}
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// refresh is not supported: `softresetin` reads the routes that GoBGP keeps.
func (g gobgp) refresh(string) error { return g.cfg.Kind.supports("RequestRefresh") }

func (g gobgp) reset(id string) error {
	_, err := g.cli("neighbor", id, "reset")
	return err
}

func (g gobgp) setBFD(string, bool) error { return g.cfg.Kind.supports("BFD") }

func (g gobgp) announce(a Announcement) error {
	args := []string{"add", a.Prefix.String()}
	if own := g.Host.Addr(a.Prefix.Addr().Is4()); own.IsValid() { // also over the other family
		args = append(args, "nexthop", own.String())
	}
	if a.Prepend > 0 {
		path := strings.TrimSpace(strings.Repeat(fmt.Sprintf("%d ", g.cfg.AS), a.Prepend))
		args = append(args, "aspath", path)
	}
	if a.MED != 0 {
		args = append(args, "med", fmt.Sprint(a.MED))
	}
	if len(a.Communities) > 0 {
		args = append(args, "community", strings.Join(a.Communities, ","))
	}
	if len(a.LargeCommunities) > 0 {
		args = append(args, "large-community", strings.Join(a.LargeCommunities, ","))
	}
	return g.rib(a.Prefix, args...)
}

func (g gobgp) withdraw(a Announcement) error { return g.rib(a.Prefix, "del", a.Prefix.String()) }

func (g gobgp) rib(p netip.Prefix, args ...string) error {
	_, err := g.cli(append([]string{"global", "rib", "-a", birdFamily(p.Addr().Is4())}, args...)...)
	return err
}
