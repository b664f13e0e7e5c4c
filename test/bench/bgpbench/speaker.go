package bgpbench

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/bgplab"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/routerlab"
)

// Kinds of speakers, and names of timers: a speaker is named by both, as in kvip-300ms.
const (
	kvipKind    = "kvip"
	birdKind    = "bird"
	metallbKind = "metallb"

	slowTimers  = "300ms" // BFD, 3 times
	quickTimers = "50ms"
	holdTimers  = "hold" // no BFD, a hold time of 9 s
)

const (
	multiplier = 3
	holdTime   = 9 * time.Second // what the routers offer, and kvip's default
)

// speakerNames are all speakers, in the order of columns.
var speakerNames = []string{
	kvipKind + "-" + slowTimers, kvipKind + "-" + quickTimers, birdKind + "-" + slowTimers,
	birdKind + "-" + quickTimers, kvipKind + "-" + holdTimers, birdKind + "-" + holdTimers,
	metallbKind + "-" + holdTimers,
}

// bfdTimers returns the timers of that name, nil without BFD.
func bfdTimers(name string) *routerlab.BFD {
	if name == holdTimers {
		return nil
	}
	interval, err := time.ParseDuration(name)
	if err != nil {
		panic(err) // the names are constants
	}
	return &routerlab.BFD{Interval: interval, Multiplier: multiplier}
}

// speaker is a program that announces the addresses from each node.
type speaker interface {
	kind() string
	timers() string
	version() string
	log(n *cluster.Node) string
	// start starts it on a node, unless it runs there.
	start(l *bgplab.Lab, n *cluster.Node) error
	terminate(n *cluster.Node) error
	kill(n *cluster.Node) error
	freeze(n *cluster.Node) error
	// stop ends it everywhere, and removes what it left.
	stop(l *bgplab.Lab) error
}

func nameOf(s speaker) string { return s.kind() + "-" + s.timers() }

// findSpeaker finds the program of a speaker.
func findSpeaker(ctx context.Context, name string) (speaker, error) {
	kind, timers, _ := strings.Cut(name, "-")
	one := identity{kindName: kind, timersName: timers}
	switch kind {
	case kvipKind:
		path, version, err := failover.FindKvip(ctx)
		one.versionText = version
		return &kvip{agent{one, "kvip"}, path}, err
	case birdKind:
		version, err := birdVersion()
		one.versionText = version
		return &bird{one, map[string]*routerlab.Router{}}, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(filepath.Dir(self), "nativespeaker")
	one.versionText, err = moduleVersion(path, "go.universe.tf/metallb")
	return &metallb{agent{one, "nativespeaker"}, path}, err
}

// birdVersion finds "2.0.12" in "BIRD version 2.0.12".
func birdVersion() (string, error) {
	out, err := exec.Command("/usr/sbin/bird", "--version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("get the version of BIRD (apt-get install bird2): %w", err)
	}
	m := regexp.MustCompile(`version (\S+)`).FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("get the version of BIRD: %q", out)
	}
	return string(m[1]), nil
}

// moduleVersion returns the version of a module in a program.
func moduleVersion(path, module string) (string, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the speaker of MetalLB (make bench-failover MODE=bgp builds it): %w",
			err)
	}
	for _, m := range info.Deps {
		if m.Path == module {
			return m.Version, nil
		}
	}
	return "", fmt.Errorf("%s does not contain %s", path, module)
}

// identity is what names a speaker.
type identity struct{ kindName, timersName, versionText string }

func (i identity) kind() string    { return i.kindName }
func (i identity) timers() string  { return i.timersName }
func (i identity) version() string { return i.versionText }

// agent is a speaker that runs as the node's agent.
type agent struct {
	identity
	logName string
}

func (a agent) log(n *cluster.Node) string { return n.Log(a.logName) }

func (agent) terminate(n *cluster.Node) error { return n.Agent().SendTerm() }
func (agent) kill(n *cluster.Node) error      { return n.Agent().Kill() }
func (agent) freeze(n *cluster.Node) error    { return n.Agent().Freeze() }

func (agent) stop(l *bgplab.Lab) error { return l.Reset(context.Background()) }

// running reports whether the node's agent runs.
func running(n *cluster.Node) bool { return n.Agent() != nil && n.Agent().Running() }

// kvip runs as the kubelet runs the static pod of `kvip manifest pod`.
type kvip struct {
	agent
	path string
}

func (k *kvip) start(l *bgplab.Lab, n *cluster.Node) error {
	if running(n) {
		return nil
	}
	args := append([]string{"manifest", "pod"}, l.Flags()...)
	manifest, err := exec.Command(k.path, args...).Output()
	if err != nil {
		return fmt.Errorf("print the manifest with %s: %w", k.path, err)
	}
	_, err = n.RunManifest(k.path, manifest)
	return err
}

// metallb runs MetalLB's native speaker without a cluster. The addresses are on the node before.
type metallb struct {
	agent
	path string
}

func (m *metallb) start(l *bgplab.Lab, n *cluster.Node) error {
	if running(n) {
		return nil
	}
	args := []string{fmt.Sprintf("--as=%d", bgplab.NodeAS), "--prefix=" + address.String(),
		"--hold=" + holdTime.String()}
	for _, r := range l.Routers {
		args = append(args, fmt.Sprintf("--peer=%s/%d", r.Addr, bgplab.RouterAS))
	}
	if err := bgplab.AddAddresses(n); err != nil {
		return err
	}
	_, err := n.RunAgent(netlab.Command{Path: m.path, Args: args, Log: m.log(n)})
	return err
}

func (m *metallb) stop(l *bgplab.Lab) error {
	return errors.Join(removeAddresses(l), m.agent.stop(l))
}

// bird runs BIRD on the nodes. The addresses are there before.
type bird struct {
	identity
	speakers map[string]*routerlab.Router // by node
}

func (b *bird) log(n *cluster.Node) string { return n.Log("bird") }

func (b *bird) start(l *bgplab.Lab, n *cluster.Node) error {
	if r := b.speakers[n.Name]; r != nil && r.Processes()[0].Running() {
		return nil
	}
	if err := bgplab.AddAddresses(n); err != nil {
		return err
	}
	cfg := routerlab.Config{Kind: routerlab.BIRD, AS: bgplab.NodeAS}
	for _, p := range bgplab.Prefixes() {
		cfg.Originate = append(cfg.Originate, routerlab.Announcement{Prefix: p})
	}
	for _, r := range l.Routers {
		cfg.Neighbors = append(cfg.Neighbors, routerlab.Neighbor{
			Addr: r.Addr, AS: bgplab.RouterAS, IPv4: true, IPv6: true, BFD: bfdTimers(b.timers()),
			HoldTime: holdTime,
		})
	}
	r, err := routerlab.Start(n.Host, cfg)
	if err != nil {
		return err
	}
	b.speakers[n.Name] = r
	return nil
}

func (b *bird) terminate(n *cluster.Node) error { return b.speakers[n.Name].Stop() }
func (b *bird) kill(n *cluster.Node) error      { return b.speakers[n.Name].Kill() }
func (b *bird) freeze(n *cluster.Node) error    { return b.speakers[n.Name].Freeze() }

func (b *bird) stop(l *bgplab.Lab) error {
	var errs []error
	for name, r := range b.speakers {
		errs = append(errs, r.Thaw(), r.Stop())
		delete(b.speakers, name)
	}
	return errors.Join(append(errs, removeAddresses(l), l.Reset(context.Background()))...)
}

func removeAddresses(l *bgplab.Lab) error {
	var errs []error
	for _, n := range l.Nodes {
		errs = append(errs, bgplab.RemoveAddresses(n))
	}
	return errors.Join(errs...)
}
