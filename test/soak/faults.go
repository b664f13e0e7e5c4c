package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/wait"
)

// Of three agents the first is never ended: whether an agent grows is seen on one that lives long.
const elder = 0

const (
	brokenFor = 3 * time.Second // the API, less than a Lease lasts
	endWithin = 10 * time.Second
	// startWithin is how long an agent may take until it handles signals.
	startWithin = time.Minute
)

// cut ends all connections of one node's agent with its API server.
func (w *environment) cut(context.Context) error {
	w.proxies[w.random.IntN(len(w.proxies))].Cut()
	return nil
}

// refuse cuts them and lets no others through for a while.
func (w *environment) refuse(ctx context.Context) error {
	p := w.proxies[w.random.IntN(len(w.proxies))]
	p.Refuse(true)
	defer p.Refuse(false)
	p.Cut()
	return wait.Pause(ctx, brokenFor)
}

// swallow lets connections stand and nothing through. They are cut at the end: bytes are missing.
func (w *environment) swallow(ctx context.Context) error {
	p := w.proxies[w.random.IntN(len(w.proxies))]
	p.Swallow(true)
	defer p.Cut()
	defer p.Swallow(false)
	return wait.Pause(ctx, brokenFor)
}

// restart ends an agent by SIGTERM or SIGKILL and starts it again. It waits until the new one
// handles SIGTERM: a second restart may follow at once.
func (w *environment) restart(ctx context.Context) error {
	n := w.lab.Nodes[1+w.random.IntN(len(w.lab.Nodes)-1)]
	if w.random.IntN(2) == 0 {
		if err := n.Agent().Kill(); err != nil {
			return err
		}
	} else if err := n.Agent().Terminate(endWithin); err != nil {
		return fmt.Errorf("agent of %s did not end well: %w", n.Name, err)
	}
	before := w.starts(n)
	if err := n.RestartAgent(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	return wait.For(ctx, "the start of the agent of "+n.Name,
		func() bool { return w.starts(n) > before })
}

// starts counts the starts in the log of the node's agents. An agent logs its start once it handles
// signals.
func (w *environment) starts(n *cluster.Node) int {
	return strings.Count(w.lab.LogOf(n), "kvip is starting")
}

// checkAgents is an error if an agent has ended by itself.
func (w *environment) checkAgents() error {
	for _, n := range w.lab.Nodes {
		if !running(n) {
			return fmt.Errorf("the agent of %s ended by itself; the end of its log:\n%s", n.Name,
				tail(w.lab.LogOf(n)))
		}
	}
	return nil
}

func running(n *cluster.Node) bool { return n.Agent() != nil && n.Agent().Running() }

// tail is the end of a log.
func tail(text string) string {
	const enough = 3000
	return text[max(0, len(text)-enough):]
}
