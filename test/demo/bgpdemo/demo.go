package bgpdemo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/kvip/kvip/test/demo/kindenv"
	"github.com/kvip/kvip/test/demo/screen"
	"github.com/kvip/kvip/test/lab/kindcluster"
)

const (
	installWithin = 4 * time.Minute // until pods run, and the address is announced
	spreadWithin  = time.Minute     // until the routers use all API servers
	removeWithin  = 3 * time.Minute
)

// fastKeys saves most of the time of an API server for each new connection.
const fastKeys = "kind: ClusterConfiguration\nencryptionAlgorithm: ECDSA-P256\n"

// demo is the cluster, its routers, and what happens to them.
type demo struct {
	*kindenv.Env
	keep    bool   // leave everything at the end
	root    string // the project's directory
	fabric  *fabric
	service netip.Addr
	watch   *watch
	rows    []row
}

// run shows everything. A failed row does not end it.
func (d *demo) run(ctx context.Context) error {
	if !kindcluster.Root() {
		return errors.New("the client is in the network of a container: sudo make kind-bgp-demo")
	}
	if err := d.Prepare(ctx); err != nil {
		return err
	}
	if err := d.create(ctx); err != nil {
		return err
	}
	if err := d.showRoutes(ctx); err != nil {
		return err
	}
	if err := d.install(ctx); err != nil {
		return err
	}
	if err := d.runFaults(ctx); err != nil {
		return err
	}
	d.Out.Say("\n%s", table(d.rows))
	if err := verdict(d.rows); err != nil {
		return err
	}
	return d.finish()
}

// create starts the routers and creates the cluster behind them.
func (d *demo) create(ctx context.Context) (err error) {
	if d.root, err = os.Getwd(); err != nil {
		return err
	}
	echo := os.Getenv("KVIP_ECHO_ARCHIVE")
	if echo == "" {
		return errors.New("nothing is prepared: KVIP_ECHO_ARCHIVE comes from kind/prepare.sh ... bgp")
	}
	if d.fabric, err = newFabric(d.Cfg.Engine, d.root, d.Dir()); err != nil {
		return err
	}
	d.Cfg.Workers, d.Cfg.Images = workers, []string{d.Cfg.KvipArchive, echo}
	d.Cfg.Patches = []string{fastKeys}
	d.Cfg.Announce = func(ctx context.Context) (netip.Addr, []string, error) {
		if err := d.fabric.start(ctx); err != nil {
			return netip.Addr{}, nil, errors.Join(err, removeFabric(context.WithoutCancel(ctx),
				d.fabric.engine))
		}
		return vip, d.fabric.flags(), nil
	}
	d.Cfg.Running = func(c *kindcluster.Cluster) error {
		for _, n := range c.Nodes {
			if err := d.fabric.addRoutes(ctx, n); err != nil {
				return err
			}
		}
		d.Out.Say("  every node has routes to %s and to the client through both routers", addresses)
		return nil
	}
	if err := d.New(ctx); err != nil {
		return err
	}
	d.Out.Say("two routers run: FRR at %s and BIRD at %s, AS %d; a client with a router of its own is"+
		" behind them", d.fabric.routers[0].inside, d.fabric.routers[1].inside, routersAS)
	d.Out.Say("the VIP is %s: no network of the nodes has it, and each control plane with a ready API"+
		" server\nannounces it to both routers (AS %d, BFD %s)", vip, nodesAS, pathBFD)
	d.Out.Say("creating the cluster %s of three control planes and two workers, in one to three "+
		"minutes:", clusterName)
	took, err := d.Up(ctx)
	if err != nil {
		return err
	}
	d.Out.Say("  all nodes are Ready, and every API server and every kvip is ready (%.0f s)",
		took.Seconds())
	return nil
}

// showRoutes waits until the routers use all API servers, and shows their routes.
func (d *demo) showRoutes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, spreadWithin)
	defer cancel()
	err := kindcluster.Eventually(ctx, pollEvery,
		func() error { return d.fabric.spread(ctx, vip, d.Cluster.ControlPlanes()) })
	if err != nil {
		return fmt.Errorf("wait for the routes to the VIP: %w", err)
	}
	d.Out.Say("\nwhere do packets for the VIP go?")
	for _, m := range append(slices.Clone(d.fabric.routers), d.fabric.client) {
		text, err := d.fabric.route(ctx, m, vip)
		if err != nil {
			return err
		}
		d.Out.Say("$ docker exec %s ip route show %s\n%s", m.name, vip, kindenv.Indent(text))
	}
	return nil
}

// runFaults watches both addresses while each thing breaks.
func (d *demo) runFaults(ctx context.Context) (err error) {
	d.Out.Say("\na client behind the routers requests https://%s:6443/readyz and http://%s/, "+
		"each fifty times a second", vip, d.service)
	if d.watch, err = d.fabric.startWatch(ctx, d.service); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.watch.stop()) }()
	stop := d.Out.Live(ctx, d.status)
	defer stop()
	for _, f := range d.faults() {
		if err := d.runFault(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// status returns the live line: which API servers answered lately, and the client's requests.
func (d *demo) status() string {
	var names, holders []string
	now := time.Now()
	requests := d.watch.api.Requests(now.Add(-screen.StripFor))
	for i := range requests {
		requests[i].Server = short(requests[i].Server)
		if r := requests[i]; r.OK() && now.Sub(r.Start) < time.Second {
			holders = append(holders, r.Server)
		}
	}
	for _, n := range d.Cluster.ControlPlanes() {
		names = append(names, short(n.Name))
	}
	return screen.StatusLine(names, holders, requests, now)
}

// finish removes everything, or says what to try.
func (d *demo) finish() error {
	if d.keep {
		d.Out.Say("\n%s", nextSteps(d.Place(), d.service, d.fabric))
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), removeWithin)
	defer cancel()
	if err := d.Delete(ctx); err != nil {
		return fmt.Errorf("remove the cluster: %w", err)
	}
	if err := os.RemoveAll(d.Dir()); err != nil {
		return err
	}
	d.Out.Say("\nremoved: the cluster, the routers, their network and the files. KEEP=1 keeps them")
	if d.Cfg.Engine.Own() {
		d.Out.Say("the Docker engine that was started runs on: %s stops it",
			d.Place().Root("make kind-down"))
	}
	return nil
}
