package routerlab

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

const birdPath = "/usr/sbin/bird"

// bird is one daemon. Its routes are a part of its configuration, so that changes of them write the
// file again.
type bird struct {
	*Router
	mu        sync.Mutex // guards what follows, and the configuration
	withdrawn map[netip.Prefix]bool
	announced []Announcement
}

func (b *bird) daemons() []daemon {
	return []daemon{{
		path: birdPath, args: []string{"-f"},
		ready: func() error {
			_, err := b.ask("show status")
			return err
		},
	}}
}

// birdLine is a line of a reply. A line that continues another one has its code.
type birdLine struct {
	code string
	text string
}

// ask sends a command to BIRD's control socket, as birdc does (doc/reply_codes of BIRD).
func (b *bird) ask(command string) ([]birdLine, error) {
	conn, err := b.dialSocket("bird/bird.ctl")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // everything was read
	in := bufio.NewScanner(conn)
	in.Buffer(nil, 1<<20)
	if _, err := readBIRD(in); err != nil { // the greeting
		return nil, fmt.Errorf("connect to BIRD: %w", err)
	}
	if _, err := fmt.Fprintln(conn, command); err != nil {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	lines, err := readBIRD(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	return lines, nil
}

// errBIRDReply is a reply that reports an error.
var errBIRDReply = errors.New("BIRD")

// readBIRD reads a reply: each line has a code of four digits, then "-" or, in the last line, a
// space. A line that begins with a space has the code of the line before.
func readBIRD(in *bufio.Scanner) (all []birdLine, err error) {
	code := ""
	for in.Scan() {
		line := in.Text()
		if strings.HasPrefix(line, " ") {
			all = append(all, birdLine{code, line[1:]})
			continue
		}
		if len(line) < 5 {
			return nil, fmt.Errorf("unknown reply %q", line)
		}
		code = line[:4]
		all = append(all, birdLine{code, line[5:]})
		switch {
		case line[4] != ' ':
		case code >= birdErrorCode:
			return nil, fmt.Errorf("%w: %s %s", errBIRDReply, code, line[5:])
		default:
			return all, nil
		}
	}
	return nil, errors.Join(errors.New("the reply has no end"), in.Err())
}

func (b *bird) sessions() ([]SessionInfo, error) {
	protocols, err := b.protocols()
	if err != nil {
		return nil, err
	}
	all := []SessionInfo{}
	for _, p := range protocols {
		all = append(all, p.SessionInfo)
	}
	return all, nil
}

// protocols returns the BGP sessions, with the states of BFD.
func (b *bird) protocols() ([]birdProtocol, error) {
	lines, err := b.ask("show protocols all")
	if err != nil {
		return nil, err
	}
	all, err := parseBIRDProtocols(lines)
	if err != nil || !b.hasBFD() {
		return all, err
	}
	if lines, err = b.ask("show bfd sessions"); errors.Is(err, errBIRDReply) {
		return all, nil // BFD is turned off
	} else if err != nil {
		return nil, err
	}
	states := parseBIRDBFD(lines)
	for i := range all {
		all[i].BFD = states[all[i].Neighbor]
	}
	return all, nil
}

func (b *bird) hasBFD() bool {
	return slices.ContainsFunc(b.cfg.Neighbors, func(n Neighbor) bool { return n.BFD != nil })
}

func (b *bird) hasMultihop() bool {
	return slices.ContainsFunc(b.cfg.Neighbors, func(n Neighbor) bool { return n.Multihop > 0 })
}

func (b *bird) routes() ([]Route, error) {
	protocols, err := b.protocols()
	if err != nil {
		return nil, err
	}
	lines, err := b.ask("show route all")
	if err != nil {
		return nil, err
	}
	return parseBIRDRoutes(lines, protocols)
}

func (b *bird) refresh(id string) error { return b.command("reload in " + id) }

func (b *bird) reset(id string) error { return b.command("restart " + id) }

func (b *bird) setBFD(_ string, on bool) error {
	if !b.hasBFD() {
		return errors.New("no neighbor has BFD")
	}
	if on {
		return b.command("enable bfd1")
	}
	return b.command("disable bfd1")
}

func (b *bird) command(text string) error {
	_, err := b.ask(text)
	return err
}

func (b *bird) announce(a Announcement) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.announced = append(b.announced, a)
	delete(b.withdrawn, a.Prefix)
	return b.configure()
}

func (b *bird) withdraw(a Announcement) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.withdrawn[a.Prefix] = true
	return b.configure()
}

// configure writes the configuration again and applies it. Sessions stay established.
func (b *bird) configure() error {
	if err := b.writeEtc(birdConf, b.config()); err != nil {
		return err
	}
	return b.command("configure")
}
