package kindservices

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kvip/kvip/kind/casestudy"
	"github.com/kvip/kvip/test/lab/kindcluster"
	"github.com/kvip/kvip/test/testutil"
)

const (
	createWithin = 8 * time.Minute // images are there, but the machine may be slow
	wellWithin   = 4 * time.Minute // kubelets and controllers are slow to notice that they are well
)

// shared is the application of all tests, each of which leaves it well.
var shared struct {
	*casestudy.Study
	why error // why there is none
	dir string
}

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) (code int) {
	ctx, cancel := context.WithTimeout(context.Background(), createWithin)
	defer cancel()
	var cfg kindcluster.Config
	if cfg, shared.why = kindcluster.FromEnv(ctx, root()); shared.why != nil {
		return m.Run() // each test says why it cannot run
	}
	var cluster *kindcluster.Cluster
	defer func() {
		if err := end(cluster, cfg.Engine); err != nil {
			fmt.Fprintln(os.Stderr, "clean up:", err)
			code = 1
		}
	}()
	if cluster, shared.why = create(ctx, cfg); shared.why == nil {
		shared.Study, shared.why = casestudy.Install(ctx, cluster, root())
	}
	if shared.why != nil {
		fmt.Fprintln(os.Stderr, "create the cluster:", shared.why)
		evidence(cluster, "create")
		return 1
	}
	return m.Run()
}

// create makes the cluster.
func create(ctx context.Context, cfg kindcluster.Config) (c *kindcluster.Cluster, err error) {
	if cfg, err = casestudy.Settings(cfg, root()); err != nil {
		return nil, err
	}
	cfg.Name, cfg.Log = "e2e-services", os.Stderr
	if cfg.Dir, err = os.MkdirTemp("", "kvip-e2e-"); err != nil {
		return nil, err
	}
	shared.dir = cfg.Dir
	if old, err := kindcluster.Exists(ctx, cfg); err != nil {
		return nil, err
	} else if old && cfg.Engine.Own() { // KVIP_KEEP left it
		if err := kindcluster.DeleteExisting(ctx, cfg); err != nil {
			return nil, err
		}
	}
	if c, err = kindcluster.New(ctx, cfg); err != nil {
		return nil, err
	}
	return c, c.Up(ctx)
}

// end removes everything that the tests made, whatever became of them.
func end(c *kindcluster.Cluster, engine *kindcluster.Engine) (err error) {
	keep := os.Getenv("KVIP_KEEP") != ""
	if c != nil && !keep {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		err = c.Delete(ctx)
	}
	if shared.dir != "" {
		err = errors.Join(err, os.RemoveAll(shared.dir))
	}
	if !keep {
		err = errors.Join(err, engine.Stop())
	}
	return err
}

// root is the project's directory.
func root() string {
	dir, err := filepath.Abs("../../..")
	if err != nil {
		return "../../.."
	}
	return dir
}

// evidence keeps what the nodes say when something went wrong.
func evidence(c *kindcluster.Cluster, name string) {
	if c == nil {
		return
	}
	dir := filepath.Join(root(), "test", "artifacts", "e2eservices-"+name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, n := range c.Nodes {
		text, _ := n.Exec(ctx, "bash", "-c", `tail -n 200 /var/log/pods/kube-system_kvip-services-*/kvip/*.log; ip addr; ip neigh; nft list ruleset | head -n 300
			kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes,pods,services,endpointslices,ippools,leases,events -A -o wide 2>/dev/null || true`)
		_ = os.WriteFile(filepath.Join(dir, n.Name+".log"), []byte(text), 0o644)
	}
	fmt.Fprintln(os.Stderr, "what the nodes say:", dir)
}

// study returns the application in good health; a test that fails leaves evidence.
func study(t *testing.T) (context.Context, *casestudy.Study) {
	t.Helper()
	testutil.NeedRoot(t)
	if shared.why != nil {
		testutil.Unavailable(t, shared.why.Error())
	}
	ctx, cancel := context.WithTimeout(t.Context(), wellWithin)
	t.Cleanup(cancel)
	if err := shared.WaitReady(ctx); err != nil {
		evidence(shared.Cluster, t.Name())
		t.Fatalf("the cluster is not well: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			evidence(shared.Cluster, t.Name())
		}
	})
	return ctx, shared.Study
}
