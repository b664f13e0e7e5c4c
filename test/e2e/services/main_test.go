// Package services tests the Services part in the lab: real API servers, real packets,
// EndpointSlices written by hand.
package services

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
	"github.com/kvip/kvip/test/testutil"
)

// The tests share one lab, started by the first that needs it. Each begins with a Reset.
var shared struct {
	once sync.Once
	lab  *servicelab.Lab
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
	os.Exit(code)
}

// need returns the shared lab, reset.
func need(t *testing.T) *servicelab.Lab {
	t.Helper()
	testutil.NeedRoot(t)
	shared.once.Do(func() { shared.lab, shared.err = start() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	if err := shared.lab.Reset(context.Background()); err != nil {
		t.Fatal(err)
	}
	return shared.lab
}

// start starts three nodes of the control plane and two workers, each with what answers for a
// Service, and a client behind a router.
func start() (*servicelab.Lab, error) {
	ctx := context.Background()
	l, err := servicelab.Start(ctx, servicelab.Config{Cluster: cluster.Config{
		Workers: 2, Progress: os.Stderr, API: cluster.APIOptions{Audit: true},
	}})
	if err != nil {
		return nil, err
	}
	for _, n := range l.AllNodes() {
		if err := l.StartBackends(n.Host, servicelab.Port, otherPort); err != nil {
			return nil, err
		}
	}
	if err := l.AddRouter(); err != nil {
		return nil, err
	}
	return l, nil
}
