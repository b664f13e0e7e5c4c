package bgp

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/kvip/kvip/test/lab/bgplab"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/testutil"
)

// The tests share one lab, started by the first that needs it. Each begins with a Reset.
var shared struct {
	once sync.Once
	lab  *bgplab.Lab
	kvip string
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
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
	testutil.NeedRoot(t)
	shared.once.Do(func() { shared.err = start() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	if err := shared.lab.Reset(context.Background()); err != nil {
		t.Fatal(err)
	}
	return shared.lab, shared.kvip
}

func start() (err error) {
	if shared.dir, err = os.MkdirTemp("", "kvip-bgp-test-"); err != nil {
		return err
	}
	if shared.kvip, err = cluster.Kvip(shared.dir, os.Stderr); err != nil {
		return err
	}
	shared.lab, err = bgplab.Start(context.Background(), bgplab.Config{
		Cluster: cluster.Config{Progress: os.Stderr},
	})
	return err
}
