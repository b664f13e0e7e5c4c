package servicesdemo

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/kvip/kvip/kind/casestudy"
	"github.com/kvip/kvip/test/demo/kindenv"
	"github.com/kvip/kvip/test/demo/screen"
)

const (
	installWithin  = 4 * time.Minute // until pods run, and the address answers
	scenarioWithin = 6 * time.Minute // for a scenario, and until all is well after it
)

// demo is the cluster and what happens to it.
type demo struct {
	*kindenv.Env
	root     string // the project's directory
	study    *casestudy.Study
	verdicts []verdict
}

// result is what a client saw of a scenario.
type result interface {
	Lines() []string
	Judge() error
}

// scenario is a scenario with the words that announce it.
type scenario struct {
	name  string // short, for the summary
	intro string
	run   func(context.Context) (result, error)
	after func(context.Context) error // until all is well
}

// run shows all scenarios. A failed verdict does not end it.
func (d *demo) run(ctx context.Context) error {
	if err := d.Prepare(ctx); err != nil {
		return err
	}
	if err := d.create(ctx); err != nil {
		return err
	}
	if err := d.install(ctx); err != nil {
		return err
	}
	d.study.Watching = func(w *casestudy.Watch) func() {
		return d.Out.Live(ctx, func() string { return d.live(w) })
	}
	for _, a := range d.scenarios() {
		if err := d.runScenario(ctx, a); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
	}
	d.Out.Say("\n%s", summary(d.verdicts))
	d.Out.Say("\n%s", nextSteps(d.Place(), d.Dir(), d.study.Address))
	return failures(d.verdicts)
}

// create makes the files and the cluster.
func (d *demo) create(ctx context.Context) (err error) {
	if d.root, err = os.Getwd(); err != nil {
		return err
	}
	if d.Cfg, err = casestudy.Settings(d.Cfg, d.root); err != nil {
		return err
	}
	if err := d.New(ctx); err != nil {
		return err
	}
	d.Out.Say("creating the cluster %s of one control plane and three workers, in one to three "+
		"minutes:", clusterName)
	took, err := d.Up(ctx)
	if err != nil {
		return err
	}
	d.Out.Say("  all nodes are Ready (%.0f s)", took.Seconds())
	return nil
}

// install installs kvip and the application and shows the address.
func (d *demo) install(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, installWithin)
	defer cancel()
	d.Out.Say("\nkvip manifest crd, rbac --services and daemonset --services are applied, then " +
		"kind/echo/echo.yaml:\n" +
		"an IPPool of free addresses, three pods, and a Service of type LoadBalancer")
	began := time.Now()
	if d.study, err = casestudy.Install(ctx, d.Cluster, d.root); err != nil {
		return fmt.Errorf("install the application: %w", err)
	}
	d.Out.Say("  it answers at http://%s (%.0f s)", d.study.Address, time.Since(began).Seconds())
	return d.showStatus(ctx)
}

// showStatus shows the output of kvip status service.
func (d *demo) showStatus(ctx context.Context) error {
	node := d.Cluster.Nodes[1].Name
	text, err := d.study.Status(ctx, node)
	if err != nil {
		return fmt.Errorf("ask kvip on %s: %w", node, err)
	}
	d.Out.Say("\nwhich node announces it?\n$ kvip status service echo\n%s", kindenv.Indent(text))
	return nil
}

func (d *demo) scenarios() []scenario {
	var killed string
	return []scenario{
		{"spread", "which pods answer? 300 requests, each on a new connection",
			func(ctx context.Context) (result, error) { return d.study.Spread(ctx) }, d.study.WaitReady},
		{"unready pod", "one pod is made unready, while a client sends a hundred requests a second",
			func(ctx context.Context) (result, error) { return d.study.Unready(ctx) }, d.study.WaitReady},
		{"drain", "ab makes 50 000 requests, 100 at a time; meanwhile\n$ kubectl drain " +
			"--ignore-daemonsets --delete-emptydir-data NODE      # the node that announces the address",
			func(ctx context.Context) (result, error) { return d.study.Drain(ctx) }, d.study.WaitReady},
		{"dead node", "the announcing node is switched off\n$ docker kill NODE",
			func(ctx context.Context) (result, error) {
				r, err := d.study.Kill(ctx)
				killed = r.Old
				return r, err
			},
			func(ctx context.Context) error {
				d.Out.Say("\nthe node is switched on\n$ docker start %s", killed)
				return d.study.Restore(ctx, killed)
			}},
	}
}

// runScenario plays an act, prints its verdict and waits until all is well again.
func (d *demo) runScenario(ctx context.Context, a scenario) error {
	ctx, cancel := context.WithTimeout(ctx, scenarioWithin)
	defer cancel()
	d.Out.Say("\n%s", a.intro)
	r, err := a.run(ctx)
	if err != nil {
		return err
	}
	for _, line := range r.Lines() {
		d.Out.Say("  %s", line)
	}
	v := verdict{a.name, r.Judge()}
	d.Out.Say("  %s", v)
	d.verdicts = append(d.verdicts, v)
	began := time.Now()
	if err := a.after(ctx); err != nil {
		return fmt.Errorf("wait until all nodes and pods are ready again: %w", err)
	}
	d.Out.Say("  all nodes and pods are ready again after %.0f s", time.Since(began).Seconds())
	return nil
}

// live returns the live line.
func (d *demo) live(w *casestudy.Watch) string {
	var names, holders []string
	for _, n := range d.Cluster.Nodes {
		if !n.ControlPlane {
			names = append(names, short(n.Name))
		}
	}
	if node := w.Node(); node != "" {
		holders = []string{short(node)}
	}
	now := time.Now()
	return screen.StatusLine(names, holders, w.Requests(now.Add(-screen.StripFor)), now)
}
