package bgp

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/bgplab"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
	"github.com/kvip/kvip/test/testutil"
)

// The tests share one lab, started by the first that needs it. Agents of a control plane run on for
// the next test, if the test has passed: it ends with all nodes announced.
var shared struct {
	once sync.Once
	lab  *bgplab.Lab
	// services wraps the same cluster.
	services *servicelab.Lab
	kvip     string
	dir      string
	err      error
	agents   []string // flags of the agents that run on; nil: the lab must be reset
}

// shutdownDelay is that of the API servers.
const shutdownDelay = 3 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.services != nil {
		if err := shared.services.CloseBackends(); err != nil {
			fmt.Fprintln(os.Stderr, "close backends:", err)
			code = 1
		}
	}
	if shared.lab != nil {
		if err := shared.lab.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "close lab:", err)
			code = 1
		}
	}
	if shared.dir != "" {
		_ = os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// need returns the shared lab, reset, and the kvip under test.
func need(t *testing.T) (*bgplab.Lab, string) {
	t.Helper()
	lab := needLab(t)
	shared.agents = nil
	if err := lab.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	return lab, shared.kvip
}

// needLab returns the shared lab as the last test left it.
func needLab(t *testing.T) *bgplab.Lab {
	t.Helper()
	testutil.NeedRoot(t)
	shared.once.Do(func() { shared.err = start() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.lab
}

func start() (err error) {
	if shared.dir, err = os.MkdirTemp("", "kvip-bgp-test-"); err != nil {
		return err
	}
	if shared.kvip, err = cluster.Kvip(shared.dir, os.Stderr); err != nil {
		return err
	}
	ctx := context.Background()
	shared.lab, err = bgplab.Start(ctx, bgplab.Config{
		Cluster: cluster.Config{
			Progress: os.Stderr,
			API:      cluster.APIOptions{DualStack: true, ShutdownDelay: shutdownDelay},
		},
	})
	if err != nil {
		return err
	}
	if shared.services, err = servicelab.Wrap(ctx, shared.lab.Cluster, shared.kvip); err != nil {
		return err
	}
	for _, n := range shared.lab.Nodes {
		if err := shared.services.StartBackends(n.Host, servicelab.Port, otherPort); err != nil {
			return err
		}
	}
	return nil
}
