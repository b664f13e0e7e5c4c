package routerlab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// exabgpPath is the program of Debian's package. The name in the manual, /usr/sbin/exabgp, leads
// through /etc/alternatives, which a host does not have.
const exabgpPath = "/usr/sbin/python3-exabgp"

// exabgp is one daemon with two processes: one gives it commands from a FIFO, the other writes
// what it reports into a file. ExaBGP has no table, so the routes are computed from the reports.
type exabgp struct {
	*Router
	mu       sync.Mutex
	commands *os.File
}

func (e *exabgp) daemons() []daemon {
	env := []string{"exabgp_daemon_user=root", "exabgp_daemon_daemonize=false",
		"exabgp_log_destination=stdout", "exabgp_api_cli=false", "exabgp_api_ack=false",
		"PYTHONDONTWRITEBYTECODE=1"}
	return []daemon{{path: exabgpPath, args: []string{"/etc/exabgp/exabgp.conf"}, env: env,
		ready: e.open}}
}

// file is a file that the processes see below /run/exabgp.
func (e *exabgp) file(name string) string {
	return filepath.Join(e.Host.Dir, "run", "exabgp", name)
}

// prepareFIFO creates the FIFO of commands, and removes the reports of an earlier daemon.
func (e *exabgp) prepareFIFO() error {
	for _, name := range []string{"commands", "events"} {
		if err := os.Remove(e.file(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return unix.Mkfifo(e.file("commands"), 0o600)
}

// open opens the FIFO of commands, which succeeds once a process reads it.
func (e *exabgp) open() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	f, err := os.OpenFile(e.file("commands"), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	e.commands = f
	return nil
}

func (e *exabgp) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.commands == nil {
		return nil
	}
	f := e.commands
	e.commands = nil
	return f.Close()
}

// exabgpScripts are its processes. ExaBGP takes the end of a process's output for the end of the
// process, so that a shell keeps it open.
var exabgpScripts = map[string]string{
	"exabgp/events.sh":   "#!/bin/sh\ncat >>/run/exabgp/events\n",
	"exabgp/commands.sh": "#!/bin/sh\nexec cat /run/exabgp/commands\n",
}

func (e *exabgp) files() map[string]string {
	var t configText
	t.line("process events { run /etc/exabgp/events.sh; encoder json; }")
	t.line("process commands { run /etc/exabgp/commands.sh; encoder json; }")
	for _, n := range e.cfg.Neighbors {
		e.neighbor(&t, n)
	}
	files := map[string]string{"exabgp/exabgp.conf": t.String()}
	for name, text := range exabgpScripts {
		files[name] = text
	}
	return files
}

func (e *exabgp) neighbor(t *configText, n Neighbor) {
	t.line("neighbor %s {", n.Addr)
	t.line("  router-id %s;\n  local-address %s;", e.cfg.RouterID, e.Host.Addr(n.Addr.Is4()))
	t.line("  local-as %d;\n  peer-as %d;\n  hold-time %d;", e.cfg.AS, n.AS, n.holdSeconds())
	t.line("  listen 179;") // a socket of its own, with password and TTL
	t.lineIf(n.Password != "", "  md5-password %q;", n.Password)
	t.lineIf(n.TTLSecurity, "  outgoing-ttl 255;\n  incoming-ttl 255;")
	t.lineIf(n.Multihop > 0, "  outgoing-ttl %d;", n.Multihop)
	t.lineIf(n.Passive, "  passive true;")
	t.line("  family {")
	t.lineIf(n.IPv4, "    ipv4 unicast;")
	t.lineIf(n.IPv6, "    ipv6 unicast;")
	t.line("  }")
	t.lineIf(n.ExtendedNextHop, "  nexthop { ipv4 unicast ipv6; }")
	nexthop := "disable"
	if n.ExtendedNextHop {
		nexthop = "enable"
	}
	t.line("  capability { route-refresh enable; nexthop %s; }", nexthop)
	t.line("  api { processes [ events, commands ]; neighbor-changes;")
	t.line("    receive { parsed; update; open; notification; } }")
	t.line("  static {")
	for _, a := range e.cfg.Originate {
		if a.Prefix.Addr().Is4() && n.IPv4 || a.Prefix.Addr().Is6() && n.IPv6 {
			t.line("    route %s;", e.route(a))
		}
	}
	t.line("  }\n}")
}

// route is a route in ExaBGP's syntax.
func (e *exabgp) route(a Announcement) string {
	text := a.Prefix.String() + " next-hop " + e.nextHop(a)
	if a.MED != 0 {
		text += fmt.Sprintf(" med %d", a.MED)
	}
	if a.Prepend > 0 {
		text += fmt.Sprintf(" as-path [ %s]", strings.Repeat(fmt.Sprintf("%d ", e.cfg.AS), a.Prepend+1))
	}
	if len(a.Communities) > 0 {
		text += " community [ " + strings.Join(a.Communities, " ") + " ]"
	}
	if len(a.LargeCommunities) > 0 {
		text += " large-community [ " + strings.Join(a.LargeCommunities, " ") + " ]"
	}
	return text
}

// nextHop is the router's address of the family of a route, which "self" is not if the session has
// the other family.
func (e *exabgp) nextHop(a Announcement) string {
	if own := e.Host.Addr(a.Prefix.Addr().Is4()); own.IsValid() {
		return own.String()
	}
	return "self"
}

func (e *exabgp) reports() (*exabgpState, error) {
	text, err := os.ReadFile(e.file("events"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	state := newExaBGPState()
	for _, n := range e.cfg.Neighbors {
		state.session(n.Addr)
	}
	return state, state.read(text)
}

func (e *exabgp) sessions() ([]SessionInfo, error) {
	state, err := e.reports()
	if err != nil {
		return nil, err
	}
	return state.sessionList(), nil
}

func (e *exabgp) routes() ([]Route, error) {
	state, err := e.reports()
	if err != nil {
		return nil, err
	}
	return state.routeList(), nil
}

func (e *exabgp) refresh(id string) error {
	for _, n := range e.cfg.Neighbors {
		if n.Addr.String() != id {
			continue
		}
		for _, is4 := range []bool{true, false} {
			if is4 && n.IPv4 || !is4 && n.IPv6 {
				if err := e.send("neighbor " + id + " announce route-refresh " + frrFamily(is4)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// reset sends Cease, Administrative Reset (RFC 4486).
func (e *exabgp) reset(id string) error { return e.send("neighbor " + id + " teardown 4") }

func (e *exabgp) setBFD(string, bool) error { return e.cfg.Kind.supports("BFD") }

func (e *exabgp) announce(a Announcement) error { return e.send("announce route " + e.route(a)) }

func (e *exabgp) withdraw(a Announcement) error {
	return e.send("withdraw route " + a.Prefix.String() + " next-hop " + e.nextHop(a))
}

// send gives ExaBGP a command, which it does not acknowledge.
func (e *exabgp) send(command string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.commands == nil {
		return errors.New("ExaBGP is stopped")
	}
	_, err := fmt.Fprintln(e.commands, command)
	return err
}
