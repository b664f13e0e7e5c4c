package routerlab

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// The codes of replies.
const (
	birdProtocolCode = "1002" // a line of `show protocols`
	birdDetailCode   = "1006" // its details
	birdRouteCode    = "1007" // a route of `show route`
	birdAttrCode     = "1012" // its attributes
	birdBFDCode      = "1020" // `show bfd sessions`
	birdErrorCode    = "8000" // the first code of errors
)

// birdProtocol is a protocol of BGP.
type birdProtocol struct {
	SessionInfo
	stale bool // graceful restart keeps its routes
}

// parseBIRDProtocols parses the reply to `show protocols all`.
func parseBIRDProtocols(lines []birdLine) (all []birdProtocol, err error) {
	bgp := false
	for _, l := range lines {
		switch l.code {
		case birdProtocolCode: // name, protocol, table, state, since, info
			fields := strings.Fields(l.text)
			if len(fields) < 4 {
				return nil, fmt.Errorf("parse protocols of BIRD: %q", l.text)
			}
			if bgp = fields[1] == "BGP"; bgp {
				all = append(all, birdProtocol{SessionInfo: SessionInfo{id: fields[0], State: "Idle"}})
			}
		case birdDetailCode:
			if bgp {
				if err := all[len(all)-1].detail(strings.TrimSpace(l.text)); err != nil {
					return nil, fmt.Errorf("parse protocols of BIRD: %q: %w", l.text, err)
				}
			}
		}
	}
	return all, nil
}

// detail reads one line below a protocol.
func (p *birdProtocol) detail(line string) error {
	key, value, _ := strings.Cut(line, ":")
	value = strings.TrimSpace(value)
	switch key {
	case "BGP state":
		if value != "Down" && value != "Passive" { // no session, and a range
			p.State = value
		}
	case "Neighbor address":
		host, _, _ := strings.Cut(value, "%")
		p.Neighbor = addr(host)
	case "Last error":
		p.LastError = value
	case "Neighbor graceful restart active":
		p.stale = true
	case "Routes": // of a channel, as in "1 imported, 0 exported, 1 preferred"
		imported, _, _ := strings.Cut(value, " ")
		n, err := number(imported)
		p.Prefixes += int(n)
		return err
	}
	return nil
}

// parseBIRDBFD parses the reply to `show bfd sessions`: address, interface, state, and so on.
func parseBIRDBFD(lines []birdLine) map[netip.Addr]string {
	states := map[netip.Addr]string{}
	for _, l := range lines {
		fields := strings.Fields(l.text)
		if l.code == birdBFDCode && len(fields) > 2 && addr(fields[0]).IsValid() {
			states[addr(fields[0])] = fields[2]
		}
	}
	return states
}

// birdRoute matches the first line of a path, as in
//
//	198.51.100.1/32      unicast [n1 08:13:16.431 from 10.9.0.1] * (100) [AS65010i]
//
// Of further paths of the prefix, the prefix is missing.
var birdRoute = regexp.MustCompile(
	`^(\S*)\s+(?:unicast|blackhole|unreachable|prohibit) \[(\S+) [^]]*\] (\* )?\(`)

// parseBIRDRoutes parses the reply to `show route all`. Routes of other protocols than BGP and
// static, and those that BGP learnt in both families, have the neighbor of their protocol.
func parseBIRDRoutes(lines []birdLine, protocols []birdProtocol) (all []Route, err error) {
	by := map[string]birdProtocol{}
	for _, p := range protocols {
		by[p.id] = p
	}
	var prefix netip.Prefix
	for _, l := range lines {
		switch l.code {
		case birdRouteCode:
			found := birdRoute.FindStringSubmatch(l.text)
			if found == nil {
				continue // name of a table, or next hop of the kernel
			}
			if found[1] != "" {
				if prefix, err = netip.ParsePrefix(found[1]); err != nil {
					return nil, fmt.Errorf("parse routes of BIRD: %w", err)
				}
			}
			p := by[found[2]]
			all = append(all, Route{Prefix: prefix, Neighbor: p.Neighbor, Stale: p.stale,
				Best: found[3] != ""})
		case birdAttrCode:
			if len(all) == 0 {
				return nil, errors.New("parse routes of BIRD: attributes without a route")
			}
			if err := all[len(all)-1].birdAttribute(strings.TrimSpace(l.text)); err != nil {
				return nil, fmt.Errorf("parse routes of BIRD: %q: %w", l.text, err)
			}
		}
	}
	sortRoutes(all)
	return all, nil
}

// birdAttribute reads one attribute.
func (r *Route) birdAttribute(line string) (err error) {
	key, value, _ := strings.Cut(line, ": ")
	switch key {
	case "BGP.as_path":
		r.ASPath = asPath(value)
	case "BGP.next_hop":
		for _, field := range strings.Fields(value) {
			r.NextHops = append(r.NextHops, addr(field))
		}
	case "BGP.local_pref":
		r.LocalPref, err = number(value)
	case "BGP.med":
		r.MED, err = number(value)
	case "BGP.community":
		r.Communities = birdCommunities(value)
	case "BGP.large_community":
		r.LargeCommunities = birdCommunities(value)
	}
	return err
}

// birdCommunities parses a list such as "(65010,7) (65010, 1, 2)".
func birdCommunities(text string) (all []string) {
	for _, part := range strings.Split(text, ")") {
		part = strings.Trim(part, " (")
		if part != "" {
			all = append(all, strings.ReplaceAll(strings.ReplaceAll(part, " ", ""), ",", ":"))
		}
	}
	return all
}

func number(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err
}
