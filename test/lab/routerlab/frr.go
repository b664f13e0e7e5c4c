package routerlab

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// frrDir has the daemons of FRR.
const frrDir = "/usr/lib/frr/"

// frr are the daemons zebra, bfdd and bgpd. Each reads a configuration file of its own: the daemon
// leaves the mode of configuration at the `exit` of a block that it does not have.
type frr struct{ *Router }

func (f frr) daemons() []daemon {
	all := []daemon{f.daemon("zebra")} // its clients retry after 10 s only
	for _, n := range f.cfg.Neighbors {
		if n.BFD != nil {
			all = append(all, f.daemon("bfdd"))
			break
		}
	}
	return append(all, f.daemon("bgpd"))
}

func (f frr) daemon(name string) daemon {
	return daemon{
		path: frrDir + name,
		args: []string{"-u", "root", "-g", "root", "--log", "stdout", "--log-level", "info"},
		ready: func() error {
			_, err := f.vty(name, "show version")
			return err
		},
	}
}

// vty executes commands of one daemon in one session, and returns the output of the last one. It
// has the protocol of vtysh (lib/vty.c, vtysh_read): a command ends with NUL, its output with three
// NULs and the result. The program vtysh takes 130 ms of CPU time.
func (f frr) vty(daemon string, commands ...string) ([]byte, error) {
	conn, err := f.dialSocket("frr/" + daemon + ".vty")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // everything was read
	var out []byte
	for _, c := range append([]string{"enable"}, commands...) {
		if _, err := conn.Write(append([]byte(c), 0)); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", daemon, c, err)
		}
		var result byte
		if out, result, err = readVTY(conn); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", daemon, c, err)
		}
		if result != 0 {
			return nil, fmt.Errorf("%s: %q: result %d: %s", daemon, c, result, out)
		}
	}
	return out, nil
}

// readVTY reads the output of one command.
func readVTY(conn io.Reader) (out []byte, result byte, err error) {
	buf := make([]byte, 1<<16)
	for {
		n, err := conn.Read(buf)
		out = append(out, buf[:n]...)
		if end := len(out) - 4; end >= 0 && bytes.Equal(out[end:end+3], []byte{0, 0, 0}) {
			return out[:end], out[end+3], nil
		}
		if err != nil {
			return nil, 0, err
		}
	}
}

func (f frr) sessions() ([]SessionInfo, error) {
	out, err := f.vty("bgpd", "show bgp neighbors json")
	if err != nil {
		return nil, err
	}
	return parseFRRSessions(out)
}

func (f frr) routes() (all []Route, err error) {
	for _, family := range []string{"ipv4", "ipv6"} {
		out, err := f.vty("bgpd", "show bgp "+family+" unicast json detail")
		if err != nil {
			return nil, err
		}
		routes, err := parseFRRRoutes(out)
		if err != nil {
			return nil, err
		}
		all = append(all, routes...)
	}
	return all, nil
}

func (f frr) refresh(id string) error {
	for _, family := range []string{"ipv4", "ipv6"} {
		if _, err := f.vty("bgpd", "clear bgp "+family+" unicast "+id+" soft in"); err != nil {
			return err
		}
	}
	return nil
}

func (f frr) reset(id string) error {
	_, err := f.vty("bgpd", "clear bgp "+id)
	return err
}

func (f frr) setBFD(id string, on bool) error {
	command := "shutdown"
	if on {
		command = "no shutdown"
	}
	for i, n := range f.cfg.Neighbors {
		if n.BFD == nil || frrName(i, n) != id {
			continue
		}
		_, err := f.vty("bfdd", "configure terminal", "bfd", "profile "+frrProfile(i), command)
		return err
	}
	return fmt.Errorf("neighbor %s has no BFD", id)
}

func (f frr) announce(a Announcement) error {
	commands := []string{"configure terminal"}
	commands = append(commands, f.routeMap(a)...)
	commands = append(commands, f.family(a.Prefix)...)
	_, err := f.vty("bgpd", append(commands, frrNetwork(a))...)
	return err
}

func (f frr) withdraw(a Announcement) error {
	commands := append([]string{"configure terminal"}, f.family(a.Prefix)...)
	_, err := f.vty("bgpd", append(commands, "no network "+a.Prefix.String())...)
	return err
}

// family enters the block of a prefix's address family.
func (f frr) family(p netip.Prefix) []string {
	return []string{fmt.Sprintf("router bgp %d", f.cfg.AS),
		"address-family " + frrFamily(p.Addr().Is4())}
}

func frrFamily(is4 bool) string {
	if is4 {
		return "ipv4 unicast"
	}
	return "ipv6 unicast"
}

// frrNetwork originates a route, with the attributes of its route map.
func frrNetwork(a Announcement) string {
	return fmt.Sprintf("network %s route-map %s", a.Prefix, frrRouteMapName(a))
}

func frrRouteMapName(a Announcement) string {
	return "originate-" + strings.NewReplacer("/", "-", ":", "-").Replace(a.Prefix.String())
}

// routeMap sets the attributes of a route that the router originates.
func (f frr) routeMap(a Announcement) []string {
	lines := []string{"route-map " + frrRouteMapName(a) + " permit 10"}
	set := func(format string, args ...any) {
		lines = append(lines, "set "+fmt.Sprintf(format, args...))
	}
	if a.MED != 0 {
		set("metric %d", a.MED)
	}
	if a.Prepend > 0 {
		set("as-path prepend%s", strings.Repeat(fmt.Sprintf(" %d", f.cfg.AS), a.Prepend))
	}
	if len(a.Communities) > 0 {
		set("community %s", strings.Join(a.Communities, " "))
	}
	if len(a.LargeCommunities) > 0 {
		set("large-community %s", strings.Join(a.LargeCommunities, " "))
	}
	return append(lines, "exit")
}
