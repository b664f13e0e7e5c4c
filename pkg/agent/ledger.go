package agent

import (
	"context"
	"errors"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/svc/ledger"
)

// ledgerClient returns the client for the Leases of the ledger to use now. failed is told of each
// request that fails.
func (s *services) ledgerClient(failed func(verb, resource string, err error)) (ledger.Leases, error) {
	server, err := s.leases.Server()
	if err != nil {
		failed("list", "leases", err)
		return nil, err
	}
	return countedLeases{server.Coordination.Leases(s.cfg.Namespace), failed}, nil
}

type shard = coordinationv1.Lease

// countedLeases tells of each request that fails, but for what the end of this agent cancels.
type countedLeases struct {
	ledger.Leases
	failed func(verb, resource string, err error)
}

func (c countedLeases) tell(verb string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		c.failed(verb, "leases", err)
	}
}

func (c countedLeases) List(ctx context.Context, o metav1.ListOptions) (*coordinationv1.LeaseList, error) {
	list, err := c.Leases.List(ctx, o)
	c.tell("list", err)
	return list, err
}

func (c countedLeases) Create(ctx context.Context, l *shard, o metav1.CreateOptions) (*shard, error) {
	made, err := c.Leases.Create(ctx, l, o)
	c.tell("create", err)
	return made, err
}

func (c countedLeases) Update(ctx context.Context, l *shard, o metav1.UpdateOptions) (*shard, error) {
	written, err := c.Leases.Update(ctx, l, o)
	c.tell("update", err)
	return written, err
}
