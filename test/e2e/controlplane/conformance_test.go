package controlplane

import (
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/kvip/kvip/pkg/election/conformance"
	"github.com/kvip/kvip/test/electiontest"
	"github.com/kvip/kvip/test/lab/cluster"
)

// TestConformance runs the suite that every lease driver passes against a real API server.
func TestConformance(t *testing.T) {
	c, _ := need(t)
	node := c.Nodes[0]
	host := forward(t, node)
	kubeconfig := filepath.Join(node.Host.Etc, "kubernetes", "super-admin.conf")
	conformance.Run(t, func(t *testing.T) conformance.Env {
		return electiontest.New(t, kubeconfig, host)
	})
}

// forward makes the node's API server reachable from outside the lab and returns its address there.
func forward(t *testing.T, n *cluster.Node) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		open.Wait()
	})
	open.Go(func() {
		for {
			outside, err := listener.Accept()
			if err != nil {
				return
			}
			open.Go(func() { relay(t, n, outside) })
		}
	})
	return listener.Addr().String()
}

// relay copies both ways until one side ends or the test does.
func relay(t *testing.T, n *cluster.Node, outside net.Conn) {
	defer outside.Close()
	inside, err := n.Host.Dial(t.Context(), "tcp", "127.0.0.1:6443")
	if err != nil {
		return
	}
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{outside, inside}, {inside, outside}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1]) // its end is all that matters
			done <- struct{}{}
		}()
	}
	select {
	case <-done:
	case <-t.Context().Done():
	}
	_ = inside.Close()
	_ = outside.Close()
	<-done
}
