package bgpdemo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kvip/kvip/test/lab/kindcluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

const (
	// label marks containers and networks of the demonstration, as kind/down.sh knows them.
	label         = "dev.kvip.demo=" + clusterName
	clientNetwork = "kvip-bgp-client"
	nodesAS       = 65010
	routersAS     = 65000
	// pathBFD is as in kind/bgp: five nodes share one machine, so that a packet may be late.
	pathBFD = "300ms/5"

	startWithin  = time.Minute // for a router to answer
	routesScript = "/run/kvip-routes.sh"
)

// The addresses of kind/bgp. The network of the nodes is Docker's.
var (
	vip          = netip.MustParseAddr("10.78.0.1")
	addresses    = netip.MustParsePrefix("10.78.0.0/24")
	behind       = netip.MustParsePrefix("198.51.100.0/24")
	exampleNodes = netip.MustParsePrefix("172.18.0.0/16")
)

// machine is a container with a router: one of the two, or that of the client.
type machine struct {
	name    string
	config  string // in kind/bgp
	path    string // of the configuration, in the container
	command string // of bash
	behind  netip.Addr
	// inside is its address in the nodes' network. Not set: the client.
	inside netip.Addr
}

// fabric is the routers, and the client behind them.
type fabric struct {
	engine     *kindcluster.Engine
	image      string
	root, dir  string // of the project, and for files
	routers    []*machine
	client     *machine
	nodesRange netip.Prefix
}

func newFabric(engine *kindcluster.Engine, root, dir string) (*fabric, error) {
	const runBIRD = "mkdir -p /run/bird; exec bird -f"
	f := &fabric{
		engine: engine, image: os.Getenv("KVIP_ROUTER_IMAGE"), root: root, dir: filepath.Join(root, dir),
		routers: []*machine{
			{name: "kvip-bgp-frr", config: "frr.conf", path: "/etc/frr/frr.conf",
				command: `sed -i 's/^\(bgpd\|bfdd\)=no/\1=yes/' /etc/frr/daemons
					install -d -o frr -g frr /run/frr
					. /usr/lib/frr/frrcommon.sh; exec /usr/lib/frr/watchfrr $(daemon_list)`,
				behind: netip.MustParseAddr("198.51.100.2")},
			{name: "kvip-bgp-bird", config: "bird.conf", path: "/etc/bird/bird.conf", command: runBIRD,
				behind: netip.MustParseAddr("198.51.100.3")},
		},
		client: &machine{name: "kvip-bgp-client", config: "client.conf", path: "/etc/bird/bird.conf",
			command: runBIRD, behind: netip.MustParseAddr("198.51.100.10")},
	}
	if f.image == "" {
		return nil, errors.New(
			"nothing is prepared: KVIP_ROUTER_IMAGE comes from kind/prepare.sh ... bgp")
	}
	return f, nil
}

// start starts routers and client, before there is a node.
func (f *fabric) start(ctx context.Context) (err error) {
	if f.nodesRange, err = f.engine.Subnet(ctx); err != nil {
		return err
	}
	// No address is translated: br_netfilter would do it with what routers forward.
	if _, err := f.engine.Docker(ctx, "network", "create", "--label", label, "--subnet",
		behind.String(), "--opt", "com.docker.network.bridge.enable_ip_masquerade=false",
		clientNetwork); err != nil {
		return fmt.Errorf("create the network of the client: %w", err)
	}
	for _, m := range append(slices.Clone(f.routers), f.client) {
		if err := f.startMachine(ctx, m); err != nil {
			return fmt.Errorf("start %s: %w", m.name, err)
		}
	}
	for _, m := range f.routers {
		if m.inside, err = f.insideAddress(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (f *fabric) startMachine(ctx context.Context, m *machine) error {
	config, err := os.ReadFile(filepath.Join(f.root, "kind", "bgp", m.config))
	if err != nil {
		return err
	}
	file := filepath.Join(f.dir, m.config)
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(config), exampleNodes.String(),
		f.nodesRange.String())), 0o644); err != nil {
		return err
	}
	args := []string{"create", "--name", m.name, "--hostname", m.name, "--label", label,
		"--volume", file + ":" + m.path + ":ro"}
	for _, capability := range []string{"NET_ADMIN", "NET_RAW", "SYS_ADMIN"} { // zebra requires them
		args = append(args, "--cap-add", capability)
	}
	// A router forwards between hosts of one network and does not redirect them. ECMP selects a path
	// for each connection (fib_multipath_hash_policy).
	for _, key := range []string{"ip_forward=1", "fib_multipath_hash_policy=1",
		"conf.all.send_redirects=0", "conf.default.send_redirects=0"} {
		args = append(args, "--sysctl", "net.ipv4."+key)
	}
	router := m != f.client
	if router {
		args = append(args, "--network", kindcluster.NetworkName)
	} else {
		args = append(args, "--network", clientNetwork, "--ip", m.behind.String())
	}
	if _, err := f.engine.Docker(ctx, append(args, f.image, "bash", "-c", m.command)...); err != nil {
		return err
	}
	if router {
		if _, err := f.engine.Docker(ctx, "network", "connect", "--ip", m.behind.String(), clientNetwork,
			m.name); err != nil {
			return err
		}
	}
	_, err = f.engine.Docker(ctx, "start", m.name)
	return err
}

// insideAddress returns the address that Docker gave to a router in the nodes' network.
func (f *fabric) insideAddress(ctx context.Context, m *machine) (netip.Addr, error) {
	out, err := f.engine.Docker(ctx, "inspect", "-f",
		`{{(index .NetworkSettings.Networks "`+kindcluster.NetworkName+`").IPAddress}}`, m.name)
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(strings.TrimSpace(out))
}

// restart starts a killed router, which must get its address again: the nodes know no other one.
func (f *fabric) restart(ctx context.Context, m *machine) error {
	if _, err := f.engine.Docker(ctx, "start", m.name); err != nil {
		return err
	}
	now, err := f.insideAddress(ctx, m)
	if err == nil && now != m.inside {
		err = fmt.Errorf("%s had the address %s and has %s now", m.name, m.inside, now)
	}
	return err
}

// flags are those of kvip for both routers.
func (f *fabric) flags() []string {
	flags := []string{"--announce", "bgp", "--bgp-as", strconv.Itoa(nodesAS)}
	for _, m := range f.routers {
		flags = append(flags, "--bgp-peer", fmt.Sprintf("%s,as=%d,bfd=%s", m.inside, routersAS, pathBFD))
	}
	return flags
}

// routesCommand runs the script that keeps a node's routes through both routers, for addresses that
// are announced and for the client. It waits until the node has them.
func (f *fabric) routesCommand() string {
	var inside []string
	for _, m := range f.routers {
		inside = append(inside, m.inside.String())
	}
	return fmt.Sprintf(`setsid bash %s "%s" "%s %s" </dev/null >/run/kvip-routes.log 2>&1 &
for i in {1..50}; do
	if ip route show %[4]s | grep -q via; then exit; fi
	sleep 0.2
done
cat /run/kvip-routes.log >&2
exit 1
`, routesScript, strings.Join(inside, " "), addresses, behind)
}

// addRoutes gives a running node these routes. A node that restarts loses them.
func (f *fabric) addRoutes(ctx context.Context, n *kindcluster.Node) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	script, err := os.ReadFile(filepath.Join(f.root, "kind", "bgp", "routes.sh"))
	if err != nil {
		return err
	}
	err = kindcluster.Eventually(ctx, pollEvery, func() error {
		if err := n.Write(ctx, routesScript, bytes.NewReader(script)); err != nil {
			return err
		}
		_, err := n.Shell(ctx, f.routesCommand())
		return err
	})
	if err != nil {
		return fmt.Errorf("add routes to %s: %w", n.Name, err)
	}
	return nil
}

// route returns the lines of the kernel's route of a router to an address.
func (f *fabric) route(ctx context.Context, m *machine, to netip.Addr) (string, error) {
	return f.engine.Docker(ctx, "exec", m.name, "ip", "route", "show", to.String())
}

// via returns the next hops of the kernel's route of a router to an address.
func (f *fabric) via(ctx context.Context, m *machine, to netip.Addr) ([]netip.Addr, error) {
	out, err := f.engine.Docker(ctx, "exec", m.name, "ip", "-json", "route", "show", to.String())
	if err != nil {
		return nil, err
	}
	return parseVia([]byte(out))
}

// parseVia reads the next hops of `ip -json route show`, in the order of the addresses.
func parseVia(out []byte) (via []netip.Addr, err error) {
	type hop struct{ Gateway string }
	var routes []struct {
		hop
		Nexthops []hop
	}
	if err := json.Unmarshal(out, &routes); err != nil {
		return nil, fmt.Errorf("read a route: %w", err)
	}
	for _, r := range routes {
		for _, h := range append(r.Nexthops, r.hop) {
			if h.Gateway == "" {
				continue
			}
			addr, err := netip.ParseAddr(h.Gateway)
			if err != nil {
				return nil, fmt.Errorf("read a route: %w", err)
			}
			via = append(via, addr)
		}
	}
	slices.SortFunc(via, netip.Addr.Compare)
	return via, nil
}

// spread returns an error unless each router sends packets for an address to all of these nodes,
// and the client to both routers.
func (f *fabric) spread(ctx context.Context, to netip.Addr, nodes []*kindcluster.Node) error {
	var inside, outside []netip.Addr
	for _, n := range nodes {
		inside = append(inside, n.Addr)
	}
	for _, m := range f.routers {
		outside = append(outside, m.behind)
	}
	slices.SortFunc(inside, netip.Addr.Compare)
	for _, m := range append(slices.Clone(f.routers), f.client) {
		want := inside
		if m == f.client {
			want = outside
		}
		via, err := f.via(ctx, m, to)
		if err != nil {
			return err
		}
		if !slices.Equal(via, want) {
			return fmt.Errorf("%s sends packets for %s to %v, want %v", m.name, to, via, want)
		}
	}
	return nil
}

// clientHost adopts the client's network namespace. It is to be closed.
func (f *fabric) clientHost(ctx context.Context) (*netlab.Host, error) {
	out, err := f.engine.Docker(ctx, "inspect", "-f", "{{.State.Pid}}", f.client.name)
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil || pid == 0 {
		return nil, errors.Join(fmt.Errorf("%s does not run", f.client.name), err)
	}
	return netlab.Adopt("client", pid, netip.PrefixFrom(f.client.behind, behind.Bits()))
}

// removeFabric removes routers, client and the client's network, of this run or an earlier one.
func removeFabric(ctx context.Context, engine *kindcluster.Engine) error {
	containers, err := engine.Docker(ctx, "ps", "-aq", "--filter", "label="+label)
	if err == nil && containers != "" {
		_, err = engine.Docker(ctx, append([]string{"rm", "--force", "--volumes"},
			strings.Fields(containers)...)...)
	}
	networks, e := engine.Docker(ctx, "network", "ls", "-q", "--filter", "label="+label)
	if e == nil && networks != "" {
		_, e = engine.Docker(ctx, append([]string{"network", "rm"}, strings.Fields(networks)...)...)
	}
	return errors.Join(err, e)
}
