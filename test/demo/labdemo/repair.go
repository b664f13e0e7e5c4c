package labdemo

import (
	"context"
	"errors"

	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/cluster"
)

// repair ends in the background what was done to a node. A nil mender is that of a node to
// which nothing was done.
type repair struct {
	server chan struct{} // closed when etcd and the API server are ready again
	done   chan struct{} // closed when the agent is ready as well, or err is set
	err    error         // read after done
}

// startRepair begins. The node must not be used until done.
func startRepair(ctx context.Context, n *cluster.Node, t failover.Tool) *repair {
	m := &repair{server: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(m.done)
		ctx, cancel := context.WithTimeout(ctx, readyWithin)
		defer cancel()
		if m.err = errors.Join(n.Host.Thaw(), n.PowerOn(), n.RestartAgent()); m.err != nil {
			return
		}
		if m.err = n.WaitReady(ctx); m.err != nil {
			return
		}
		close(m.server)
		m.err = failover.NodeReady(ctx, n, t)
	}()
	return m
}

// state says what is ready, or why it never will be.
func (m *repair) state() (server, agent bool, err error) {
	if m == nil {
		return true, true, nil
	}
	select {
	case <-m.done:
		return m.err == nil, m.err == nil, m.err
	default:
	}
	select {
	case <-m.server:
		return true, false, nil
	default:
		return false, false, nil
	}
}
