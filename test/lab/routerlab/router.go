package routerlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/wait"
)

const (
	startTimeout   = 3 * time.Minute  // of each daemon, with 100 000 routes on a busy machine
	commandTimeout = 30 * time.Second // of a query
	stopGrace      = 10 * time.Second // until a daemon that does not end is killed
)

// Router is a running router. Its methods are safe for concurrent use.
type Router struct {
	Host *netlab.Host

	cfg     Config
	speaker speaker
	mu      sync.Mutex
	procs   []*netlab.Process
}

// speaker is what differs between the kinds. id is that of SessionInfo.
type speaker interface {
	// files returns the configuration: names below the host's /etc, and texts.
	files() map[string]string
	daemons() []daemon
	sessions() ([]SessionInfo, error)
	routes() ([]Route, error)
	refresh(id string) error
	reset(id string) error
	setBFD(id string, on bool) error
	announce(a Announcement) error
	withdraw(a Announcement) error
}

// daemon is a program of a router. ready returns nil once it answers.
type daemon struct {
	path  string
	args  []string
	env   []string
	ready func() error
}

// etcFiles are files of /etc that daemons need: users, groups and the rules of PAM.
var etcFiles = map[string]string{
	"passwd": "root:x:0:0:root:/root:/bin/sh\n" +
		"_openbgpd:x:995:995::/run/openbgpd:/usr/sbin/nologin\n",
	"group": "root:x:0:\n_openbgpd:x:995:\n",
}

// Start writes the configuration of a router into the directory of a host, and starts its daemons
// one after the other. It returns once the last one answers. Sessions may not be established yet.
func Start(host *netlab.Host, cfg Config) (*Router, error) {
	cfg, err := cfg.complete(host)
	if err != nil {
		return nil, fmt.Errorf("start %s in host %s: %w", cfg.Kind, host.Name, err)
	}
	r := &Router{Host: host, cfg: cfg}
	r.speaker = newSpeaker(r)
	if err := r.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s in host %s: %w", cfg.Kind, host.Name, err), r.Kill())
	}
	return r, nil
}

func newSpeaker(r *Router) speaker {
	switch r.cfg.Kind {
	case FRR:
		return frr{r}
	case BIRD:
		return &bird{Router: r, withdrawn: map[netip.Prefix]bool{}}
	case GoBGP:
		return gobgp{r}
	case OpenBGPD:
		return openbgpd{r}
	default:
		return &exabgp{Router: r}
	}
}

func (r *Router) start() error {
	if err := r.prepare(); err != nil {
		return err
	}
	if p, ok := r.speaker.(interface{ prepareFIFO() error }); ok {
		if err := p.prepareFIFO(); err != nil {
			return err
		}
	}
	for _, d := range r.speaker.daemons() {
		if err := r.startDaemon(d); err != nil {
			return err
		}
	}
	if r.cfg.Kind != GoBGP { // its configuration has no routes
		return nil
	}
	for _, a := range r.cfg.Originate {
		if err := r.Announce(a); err != nil {
			return err
		}
	}
	return nil
}

// prepare writes the files, and makes the kernel hash ports as well as addresses.
func (r *Router) prepare() error {
	for _, dir := range []string{"run/frr", "run/bird", "run/openbgpd", "run/exabgp", "tmp"} {
		if err := os.MkdirAll(filepath.Join(r.Host.Dir, dir), 0o755); err != nil {
			return err
		}
	}
	for _, files := range []map[string]string{etcFiles, r.speaker.files()} {
		for name, text := range files {
			if err := r.writeEtc(name, text); err != nil {
				return err
			}
		}
	}
	if r.cfg.SinglePath {
		return nil
	}
	return errors.Join(r.Host.Sysctl("net/ipv4/fib_multipath_hash_policy", "1"),
		r.Host.Sysctl("net/ipv6/fib_multipath_hash_policy", "1"))
}

// writeEtc writes a file of the host's /etc. OpenBGPD refuses a file that others can read, and
// ExaBGP executes scripts.
func (r *Router) writeEtc(name, text string) error {
	path := filepath.Join(r.Host.Etc, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	mode := os.FileMode(0o600)
	switch {
	case strings.HasSuffix(name, ".sh"):
		mode = 0o700
	case !strings.Contains(name, "bgp"):
		mode = 0o644
	}
	return os.WriteFile(path, []byte(text), mode)
}

// command completes a command with the directories of the router.
func (r *Router) command(c netlab.Command) netlab.Command {
	c.Mounts = map[string]string{
		"/run": filepath.Join(r.Host.Dir, "run"), "/var/tmp": filepath.Join(r.Host.Dir, "tmp"),
	}
	return c
}

func (r *Router) startDaemon(d daemon) error {
	name := filepath.Base(d.path)
	p, err := r.Host.Start(r.command(netlab.Command{
		Path: d.path, Args: d.args, Env: d.env, Log: filepath.Join(r.Host.Dir, name+".log"),
	}))
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.procs = append(r.procs, p)
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return wait.Until(ctx, name, wait.Interval, func() error {
		if !p.Running() {
			text, _ := os.ReadFile(p.Log) // best effort
			return wait.Permanent(fmt.Errorf("it ended: %w\n%s", p.Err(), text))
		}
		return d.ready()
	})
}

// query runs a program of the router in its host, and returns its standard output.
func (r *Router) query(path string, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	p, err := r.Host.Start(r.command(netlab.Command{
		Path: path, Args: args, Stdout: &stdout, Output: &stderr,
	}))
	if err != nil {
		return nil, err
	}
	select {
	case <-p.Done():
	case <-time.After(commandTimeout):
		err = errors.Join(fmt.Errorf("no answer within %s", commandTimeout), p.Kill())
	}
	if err = errors.Join(err, p.Err()); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s%s", filepath.Base(path), strings.Join(args, " "), err,
			stderr.String(), stdout.String())
	}
	return stdout.Bytes(), nil
}

// Sessions returns all sessions.
func (r *Router) Sessions() ([]SessionInfo, error) { return r.speaker.sessions() }

// Session returns the session with a neighbor, which of an unnumbered one is its link-local
// address.
func (r *Router) Session(neighbor netip.Addr) (SessionInfo, error) {
	all, err := r.speaker.sessions()
	if err != nil {
		return SessionInfo{}, err
	}
	i := slices.IndexFunc(all, func(s SessionInfo) bool {
		return s.Neighbor == neighbor.WithZone("")
	})
	if i < 0 {
		return SessionInfo{}, fmt.Errorf("router %s has no neighbor %s", r.Host.Name, neighbor)
	}
	return all[i], nil
}

// Routes returns the BGP table, with the routes that the router originates.
func (r *Router) Routes() ([]Route, error) { return r.speaker.routes() }

// RequestRefresh sends ROUTE-REFRESH (RFC 2918) for each family of a session.
func (r *Router) RequestRefresh(neighbor netip.Addr) error {
	if err := r.cfg.Kind.supports("RequestRefresh"); err != nil {
		return err
	}
	s, err := r.Session(neighbor)
	if err != nil {
		return err
	}
	return r.speaker.refresh(s.id)
}

// Reset ends a session with a NOTIFICATION. The router connects again.
func (r *Router) Reset(neighbor netip.Addr) error {
	s, err := r.Session(neighbor)
	if err != nil {
		return err
	}
	return r.speaker.reset(s.id)
}

// SetBFD turns BFD with a neighbor off or on again, and does not end the BGP session. FRR then
// sends AdminDown. BIRD turns off BFD with all neighbors, and sends no packets.
func (r *Router) SetBFD(neighbor netip.Addr, on bool) error {
	if err := r.cfg.Kind.supports("BFD"); err != nil {
		return err
	}
	s, err := r.Session(neighbor)
	if err != nil {
		return err
	}
	return r.speaker.setBFD(s.id, on)
}

// Announce originates a route, or changes its attributes.
func (r *Router) Announce(a Announcement) error { return r.speaker.announce(a) }

// Withdraw stops originating a route.
func (r *Router) Withdraw(prefix netip.Prefix) error {
	return r.speaker.withdraw(Announcement{Prefix: prefix})
}

// Processes returns the daemons, in the order of their start.
func (r *Router) Processes() []*netlab.Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.procs)
}

// Stop terminates the daemons in reverse order. A daemon that does not end is killed, which is an
// error. FRR and BIRD remove their routes from the kernel. Stop is idempotent.
func (r *Router) Stop() error {
	var errs []error
	procs := r.Processes()
	slices.Reverse(procs)
	for _, p := range procs {
		errs = append(errs, p.SendTerm())
		select {
		case <-p.Done():
		case <-time.After(stopGrace):
			errs = append(errs, fmt.Errorf("%s did not end within %s", p.Name, stopGrace), p.Kill())
		}
	}
	return errors.Join(append(errs, r.closeSpeaker())...)
}

// Kill kills all daemons (SIGKILL). Routes stay in the kernel, as after a crash.
func (r *Router) Kill() error {
	return errors.Join(r.each((*netlab.Process).Kill), r.closeSpeaker())
}

// Freeze stops all daemons (SIGSTOP). Their kernel goes on forwarding.
func (r *Router) Freeze() error { return r.each((*netlab.Process).Freeze) }

// Thaw continues all daemons (SIGCONT).
func (r *Router) Thaw() error { return r.each((*netlab.Process).Thaw) }

func (r *Router) each(f func(*netlab.Process) error) error {
	var errs []error
	for _, p := range r.Processes() {
		errs = append(errs, f(p))
	}
	return errors.Join(errs...)
}

// closeSpeaker closes what the speaker keeps open.
func (r *Router) closeSpeaker() error {
	if c, ok := r.speaker.(interface{ close() error }); ok {
		return c.close()
	}
	return nil
}

// Installed returns nil if the programs of a kind are installed, else an error that names one.
func Installed(kind Kind) error {
	for _, path := range map[Kind][]string{
		FRR: {frrDir + "zebra", frrDir + "bgpd", frrDir + "bfdd"}, BIRD: {birdPath},
		GoBGP: {gobgpdPath, gobgpPath}, OpenBGPD: {bgpdPath, bgpctlPath}, ExaBGP: {exabgpPath},
	}[kind] {
		if _, err := exec.LookPath(path); err != nil {
			return fmt.Errorf("%s is not installed: %w", kind, err)
		}
	}
	return nil
}
