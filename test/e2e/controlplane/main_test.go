package controlplane

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/testutil"
)

// The tests share one cluster, started by the first that needs it. Each begins with a Reset.
var shared struct {
	once sync.Once
	c    *cluster.Cluster
	kvip string
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.c != nil {
		if err := shared.c.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "close cluster:", err)
			code = 1
		}
	}
	if shared.dir != "" {
		_ = os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// need returns the shared cluster, reset, and the kvip under test.
func need(t *testing.T) (*cluster.Cluster, string) {
	t.Helper()
	testutil.NeedRoot(t)
	shared.once.Do(func() { shared.err = start() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	if err := shared.c.Reset(context.Background()); err != nil {
		t.Fatal(err)
	}
	return shared.c, shared.kvip
}

func start() (err error) {
	if shared.dir, err = os.MkdirTemp("", "kvip-lab-test-"); err != nil {
		return err
	}
	if shared.kvip, err = cluster.Kvip(shared.dir, os.Stderr); err != nil {
		return err
	}
	shared.c, err = cluster.Start(context.Background(),
		cluster.Config{Progress: os.Stderr, API: cluster.APIOptions{Audit: true}})
	return err
}
