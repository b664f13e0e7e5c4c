package routerlab

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

const (
	bgpdPath   = "/usr/sbin/bgpd"
	bgpctlPath = "/usr/sbin/bgpctl"
)

// openbgpd is one daemon with three processes. It does not change the kernel's routes on Linux.
type openbgpd struct{ *Router }

func (o openbgpd) daemons() []daemon {
	return []daemon{{
		path: bgpdPath, args: []string{"-d", "-f", "/etc/bgpd.conf"},
		ready: func() error {
			conn, err := o.dialSocket("openbgpd/bgpd.sock.0")
			if err != nil {
				return err
			}
			_ = conn.Close() // it was opened to see that it can be
			_, err = o.sessions()
			return err
		},
	}}
}

func (o openbgpd) ctl(args ...string) ([]byte, error) {
	return o.query(bgpctlPath, append([]string{"-j"}, args...)...)
}

func (o openbgpd) files() map[string]string {
	var t configText
	t.line("AS %d\nrouter-id %s\nconnect-retry 1\nfib-update no", o.cfg.AS, o.cfg.RouterID)
	t.lineIf(!o.cfg.SinglePath, "rde evaluate all")
	for _, a := range o.cfg.Originate {
		t.line("network %s%s", a.Prefix, openbgpdAttributes(a))
	}
	for _, n := range o.cfg.Neighbors {
		peer := n.Addr.String()
		if n.Listen.IsValid() {
			peer = n.Listen.String()
		}
		t.line("neighbor %s {\n  remote-as %d\n  holdtime %d", peer, n.AS, n.holdSeconds())
		t.line("  announce IPv4 %s\n  announce IPv6 %s", openbgpdFamily(n.IPv4), openbgpdFamily(n.IPv6))
		t.lineIf(n.Password != "", "  tcp md5sig password %q", n.Password)
		t.lineIf(n.TTLSecurity, "  ttl-security yes")
		t.lineIf(n.Multihop > 0, "  multihop %d", n.Multihop)
		t.lineIf(n.MaximumPrefixes > 0, "  max-prefix %d", n.MaximumPrefixes)
		t.lineIf(!n.GracefulRestart, "  announce restart no")
		t.lineIf(n.Passive, "  passive")
		t.line("}")
	}
	t.line("allow from any\nallow to any")
	return map[string]string{"bgpd.conf": t.String()}
}

func openbgpdFamily(used bool) string {
	if used {
		return "unicast"
	}
	return "none"
}

// openbgpdAttributes returns the attributes of a network.
func openbgpdAttributes(a Announcement) string {
	words := openbgpdSet(a)
	if len(words) == 0 {
		return ""
	}
	return " set { " + strings.Join(words, ", ") + " }"
}

func openbgpdSet(a Announcement) (words []string) {
	if a.MED != 0 {
		words = append(words, fmt.Sprintf("metric %d", a.MED))
	}
	if a.Prepend > 0 {
		words = append(words, fmt.Sprintf("prepend-self %d", a.Prepend))
	}
	for _, c := range a.Communities {
		words = append(words, "community "+c)
	}
	for _, c := range a.LargeCommunities {
		words = append(words, "large-community "+c)
	}
	return words
}

func (o openbgpd) sessions() ([]SessionInfo, error) {
	out, err := o.ctl("show", "neighbor")
	if err != nil {
		return nil, err
	}
	return parseOpenBGPDSessions(out)
}

func parseOpenBGPDSessions(out []byte) (all []SessionInfo, err error) {
	var answer struct {
		Neighbors []struct {
			RemoteAddr string `json:"remote_addr"`
			State      string `json:"state"`
			UpdownSec  int64  `json:"last_updown_sec"`
			Config     struct {
				Template bool `json:"template"`
			} `json:"config"`
			Stats struct {
				Prefixes struct {
					Received int `json:"received"`
				} `json:"prefixes"`
			} `json:"stats"`
			LastErrorSent     string `json:"last_error_sent"`
			LastErrorReceived string `json:"last_error_received"`
			LastError         string `json:"last_error"`
		} `json:"neighbors"`
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, fmt.Errorf("parse neighbors of OpenBGPD: %w", err)
	}
	for _, n := range answer.Neighbors {
		if n.Config.Template {
			continue // a range
		}
		s := SessionInfo{id: n.RemoteAddr, Neighbor: addr(n.RemoteAddr), State: n.State,
			Prefixes: n.Stats.Prefixes.Received}
		for _, text := range []string{n.LastError, n.LastErrorSent, n.LastErrorReceived} {
			if s.LastError == "" {
				s.LastError = text
			}
		}
		if s.State == Established {
			s.Uptime = time.Duration(n.UpdownSec) * time.Second
		}
		all = append(all, s)
	}
	return all, nil
}

func (o openbgpd) routes() ([]Route, error) {
	out, err := o.ctl("show", "rib", "detail")
	if err != nil {
		return nil, err
	}
	return parseOpenBGPDRoutes(out)
}

func parseOpenBGPDRoutes(out []byte) (all []Route, err error) {
	var answer struct {
		RIB []struct {
			Prefix   netip.Prefix `json:"prefix"`
			ASPath   string       `json:"aspath"`
			NextHop  string       `json:"exit_nexthop"`
			Neighbor struct {
				RemoteAddr string `json:"remote_addr"`
			} `json:"neighbor"`
			Best             bool     `json:"best"`
			Stale            bool     `json:"stale"`
			Announced        bool     `json:"announced"`
			Metric           uint32   `json:"metric"`
			LocalPref        uint32   `json:"localpref"`
			Communities      []string `json:"communities"`
			LargeCommunities []string `json:"large_communities"`
		} `json:"rib"`
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, fmt.Errorf("parse routes of OpenBGPD: %w", err)
	}
	for _, e := range answer.RIB {
		r := Route{
			Prefix: e.Prefix, Neighbor: addr(e.Neighbor.RemoteAddr), ASPath: asPath(e.ASPath),
			LocalPref: e.LocalPref, MED: e.Metric, Communities: communities(e.Communities),
			LargeCommunities: e.LargeCommunities, Stale: e.Stale, Best: e.Best,
		}
		if e.Announced { // by the router itself, which has a neighbor for that
			r.Neighbor = netip.Addr{}
		}
		r.NextHops = []netip.Addr{addr(e.NextHop)}
		all = append(all, r)
	}
	sortRoutes(all)
	return all, nil
}

func (o openbgpd) refresh(id string) error {
	_, err := o.ctl("neighbor", id, "refresh")
	return err
}

func (o openbgpd) reset(id string) error {
	_, err := o.ctl("neighbor", id, "clear")
	return err
}

func (o openbgpd) setBFD(string, bool) error { return o.cfg.Kind.supports("BFD") }

func (o openbgpd) announce(a Announcement) error {
	args := []string{"network", "add", a.Prefix.String()}
	for _, word := range openbgpdSet(a) {
		args = append(args, strings.Fields(word)...)
	}
	_, err := o.ctl(args...)
	return err
}

func (o openbgpd) withdraw(a Announcement) error {
	_, err := o.ctl("network", "delete", a.Prefix.String())
	return err
}
