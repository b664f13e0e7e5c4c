package kubeadm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/kindcluster"
)

// createWithin bounds the creation of the cluster: images are there, but the machine may be slow.
const createWithin = 8 * time.Minute

// shared is the cluster of all tests, each of which leaves it well.
var shared struct {
	*kindcluster.Cluster
	why error // why there is none
	initWatch
}

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) (code int) {
	ctx, cancel := context.WithTimeout(context.Background(), createWithin)
	defer cancel()
	var cfg kindcluster.Config
	if cfg, shared.why = kindcluster.FromEnv(ctx, root()); shared.why != nil {
		return m.Run() // each test says why it cannot run
	}
	defer func() {
		if err := end(cfg.Engine); err != nil {
			fmt.Fprintln(os.Stderr, "clean up:", err)
			code = 1
		}
	}()
	if shared.why = create(ctx, cfg); shared.why != nil {
		fmt.Fprintln(os.Stderr, "create the cluster:", shared.why)
		evidence("create")
		return 1
	}
	code = m.Run()
	auditCtx, done := context.WithTimeout(context.Background(), time.Minute)
	defer done()
	if err := checkAudit(auditCtx, shared.Cluster); err != nil {
		fmt.Fprintln(os.Stderr, "audit logs at the end:", err)
		return 1
	}
	return code
}

// create makes the cluster, and watches its birth.
func create(ctx context.Context, cfg kindcluster.Config) (err error) {
	cfg.Name, cfg.Workers, cfg.Log = "e2e", 1, os.Stderr
	if cfg.Dir, err = os.MkdirTemp("", "kvip-e2e-"); err != nil {
		return err
	}
	shared.dir = cfg.Dir
	if old, err := kindcluster.Exists(ctx, cfg); err != nil {
		return err
	} else if old && cfg.Engine.Own() { // KVIP_KEEP left it
		if err := kindcluster.DeleteExisting(ctx, cfg); err != nil {
			return err
		}
	}
	cfg.Running, cfg.Files = shared.observe, map[string]string{auditDir + "/policy.yaml": auditPolicy}
	cfg.Patches = []string{auditPatch(cfg.Image)}
	if shared.Cluster, err = kindcluster.New(ctx, cfg); err != nil {
		return err
	}
	return errors.Join(shared.Up(ctx), shared.finish(ctx))
}

// end removes everything that the tests made, whatever became of them.
func end(engine *kindcluster.Engine) (err error) {
	if shared.Cluster != nil && os.Getenv("KVIP_KEEP") == "" {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		err = shared.Delete(ctx)
	}
	if shared.dir != "" {
		err = errors.Join(err, os.RemoveAll(shared.dir))
	}
	if os.Getenv("KVIP_KEEP") == "" {
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

// evidence keeps the logs of the nodes when something went wrong.
func evidence(name string) {
	if shared.Cluster == nil {
		return
	}
	dir := filepath.Join(root(), "test", "artifacts", "e2e-"+name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, n := range shared.Nodes {
		text, _ := n.Exec(ctx, "bash", "-c",
			`tail -n 100 /var/log/pods/kube-system_kvip-*/kvip/*.log; ip addr; ctr -n k8s.io tasks ls; journalctl -u kubelet -n 100 --no-pager`)
		_ = os.WriteFile(filepath.Join(dir, n.Name+".log"), []byte(text), 0o644)
	}
	fmt.Fprintln(os.Stderr, "logs of the nodes:", dir)
}
