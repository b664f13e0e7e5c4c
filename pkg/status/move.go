package status

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/pkg/quorum"
)

const (
	// movePoll spaces the reads of the Lease while the VIP moves.
	movePoll = 20 * time.Millisecond
	// moveTries is how often a move is requested if the Lease changes meanwhile.
	moveTries = 10
)

// Moved is the result of Move: the names of nodes, and the time until the Lease named the new one.
type Moved struct {
	From, To string
	Took     time.Duration
}

// mover moves the VIP of one Lease.
type mover struct {
	*collector
	driver *kubelease.Driver
	agents []string
}

// Move asks the holder of the VIP to leave it to the agent on a node, or to the next one if to is
// empty (F11), and waits until another node holds. The holder serves the connections that it has
// until they end. It is an error if the node has no agent that other agents know, or holds already,
// and ErrByBGP if there is no holder because the VIP is announced by BGP.
func Move(ctx context.Context, cfg config.Config, to string) (Moved, error) {
	c, err := newCollector(ctx, cfg)
	if err != nil {
		return Moved{}, err
	}
	if c.local.byBGP() {
		return Moved{}, ErrByBGP
	}
	moved, err := c.move(ctx, to)
	if err != nil && c.seesBGP(context.WithoutCancel(ctx)) {
		return Moved{}, ErrByBGP
	}
	return moved, err
}

// ErrByBGP is why a VIP that is announced by BGP cannot be moved.
var ErrByBGP = errors.New("the VIP is announced by BGP: there is nothing to move, as every node " +
	"with a ready API server announces it; to take a node out, stop its API server or kvip there")

// seesBGP reports whether an agent beside an API server announces the VIP by BGP.
func (c *collector) seesBGP(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*probeTimeout)
	defer cancel()
	servers, _ := c.router.ReadServers(ctx) // none if no API server answers
	return byBGP(c.probeNodes(ctx, apiclient.Union(servers, c.hosts)))
}

// move moves the VIP of the Lease.
func (c *collector) move(ctx context.Context, to string) (Moved, error) {
	cfg, m := c.cfg, &mover{collector: c}
	var err error
	m.driver, err = kubelease.New(kubelease.Config{
		Namespace: cfg.Namespace, Name: cfg.LeaseName, Router: c.router,
	})
	if err != nil {
		return Moved{}, err
	}
	if m.agents, err = kubelease.Agents(ctx, c.router, cfg.Namespace, cfg.LeaseName); err != nil {
		return Moved{}, c.explain(err)
	}
	began := time.Now()
	requested, err := m.request(ctx, to)
	if err != nil {
		return Moved{}, err
	}
	moved := Moved{From: election.NodeName(requested.Holder)}
	ctx, cancel := context.WithTimeout(ctx, election.MoveWithin)
	defer cancel()
	for {
		r, err := m.read(ctx)
		switch {
		case err == nil && r.Holder == requested.Holder && r.Term > requested.Term:
			return moved, fmt.Errorf("%s left the VIP and took it back: no other node did", moved.From)
		case err == nil && r.Holder != "" && r.Holder != requested.Holder:
			moved.To, moved.Took = election.NodeName(r.Holder), time.Since(began)
			return moved, nil
		}
		if !backoff.Sleep(ctx, movePoll) {
			return moved, errors.Join(fmt.Errorf("%s did not leave the VIP to %s within %v: see kvip status",
				moved.From, election.NodeName(requested.MoveTo), time.Since(began).Round(time.Second)),
				m.withdraw(context.WithoutCancel(ctx), requested.Holder))
		}
	}
}

// request writes the desired holder into the Lease, and returns what it wrote.
func (m *mover) request(ctx context.Context, to string) (election.Record, error) {
	for range moveTries {
		r, err := m.read(ctx)
		if err != nil {
			return r, m.explain(err)
		}
		next, err := m.target(r, to)
		if err != nil {
			return r, err
		}
		if outcome := m.write(ctx, r, next); outcome == election.OutcomeOK {
			r.MoveTo = next
			return r, nil
		}
		if !backoff.Sleep(ctx, movePoll) {
			return r, ctx.Err()
		}
	}
	return election.Record{}, fmt.Errorf(
		"write lease %s/%s: it changed, or the API server refused, %d times in a row",
		m.cfg.Namespace, m.cfg.LeaseName, moveTries)
}

// target returns the identity of the agent that is to hold.
func (m *mover) target(r election.Record, to string) (string, error) {
	if r.Holder == "" {
		return "", fmt.Errorf("no node holds lease %s/%s: there is nothing to move", m.cfg.Namespace,
			m.cfg.LeaseName)
	}
	var names []string
	others := slices.DeleteFunc(slices.Clone(m.agents), func(id string) bool { return id == r.Holder })
	for _, id := range others {
		if name := election.NodeName(id); name == to {
			return id, nil
		} else if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	switch {
	case to == election.NodeName(r.Holder):
		return "", fmt.Errorf("%s holds the VIP already", to)
	case len(others) == 0:
		return "", errors.New("there is no node to move the VIP to: no other agent has " +
			"published itself (with --failover-timeout 0 none does)")
	case to != "":
		return "", fmt.Errorf("node %q has no agent: choose one of %s", to, strings.Join(names, ", "))
	}
	voters := r.FastVoters()
	if len(voters) == 0 {
		voters = m.agents
	}
	return slices.MinFunc(others, func(a, b string) int {
		return int(quorum.Rank(a, r.Holder, voters) - quorum.Rank(b, r.Holder, voters))
	}), nil
}

// withdraw removes the request, if the Lease still has it: a later holder would follow it.
func (m *mover) withdraw(ctx context.Context, holder string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	r, err := m.read(ctx)
	if err != nil || r.Holder != holder || r.MoveTo == "" {
		return err
	}
	if m.write(ctx, r, "") != election.OutcomeOK {
		return errors.New("the request could not be withdrawn")
	}
	return nil
}

func (m *mover) read(ctx context.Context) (election.Record, error) {
	ev := m.driver.Execute(ctx, election.Action{
		Kind: election.Read, Deadline: boottime.Now() + probeTimeout,
	})
	if done, ok := ev.(election.ReadDone); ok && done.OK {
		return done.Record, nil
	}
	_, _, err := m.driver.Read(ctx) // for the reason
	if err == nil {
		err = errors.New("the API server did not answer in time")
	}
	return election.Record{}, err
}

// write writes the desired holder on top of what was read.
func (m *mover) write(ctx context.Context, r election.Record, to string) election.Outcome {
	base := r
	r.MoveTo = to
	ev := m.driver.Execute(ctx, election.Action{
		Kind: election.RequestTransfer, Base: base, Record: r, Deadline: boottime.Now() + probeTimeout,
	})
	if done, ok := ev.(election.Written); ok {
		return done.Outcome
	}
	return election.OutcomeFailed
}
