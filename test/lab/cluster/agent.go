package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/lab/netlab"
)

// Agent is a kvip (or another program that moves addresses) running in a node.
type Agent struct {
	*netlab.Process
	command netlab.Command
}

// RunKvip starts an agent in the node: its executable, arguments and environment, with only
// the capabilities that the manifest grants. Output is appended to Log("kvip").
func (n *Node) RunKvip(path string, args, env []string) (*Agent, error) {
	return n.RunAgent(n.kvipCommand(path, args, env))
}

func (n *Node) kvipCommand(path string, args, env []string) netlab.Command {
	return n.WithState(netlab.Command{
		Path: path, Args: args, Env: append(n.podEnv(), env...), Log: n.Log("kvip"),
		Caps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW},
	})
}

// stateDir is where programs of the node see State.
const stateDir = "/var/lib/kvip"

// State is the node's directory for what kvip keeps on its host, as it is seen from outside.
func (n *Node) State() string { return filepath.Join(n.Host.Dir, "state") }

// WithState mounts the node's State for a command, as the manifest does, and makes it if it is missing.
func (n *Node) WithState(cmd netlab.Command) netlab.Command {
	_ = os.MkdirAll(n.State(), 0o755) // as the kubelet does; the start of the command fails if it is not there
	cmd.Tmpfs = append(cmd.Tmpfs, filepath.Dir(stateDir))
	mounts := maps.Clone(cmd.Mounts)
	if mounts == nil {
		mounts = map[string]string{}
	}
	mounts[stateDir] = n.State()
	cmd.Mounts = mounts
	return cmd
}

// RunManifest starts the executable as the kubelet would start the pod of the manifest. The
// executable stands for the container's command.
func (n *Node) RunManifest(path string, manifest []byte) (*Agent, error) {
	args, env, err := ArgsFromManifest(manifest, n.Name)
	if err != nil {
		return nil, err
	}
	return n.RunKvip(path, args, env)
}

// RunAgent starts any program as the node's agent. The node has one agent at a time.
func (n *Node) RunAgent(cmd netlab.Command) (*Agent, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.agent != nil && n.agent.Running() {
		return nil, fmt.Errorf("start agent on %s: one runs already (pid %d)", n.Name, n.agent.PID())
	}
	p, err := n.Host.Start(cmd)
	if err != nil {
		return nil, err
	}
	n.agent = &Agent{Process: p, command: cmd}
	return n.agent, nil
}

// Agent returns the node's agent, or nil if none was started since the last Reset.
func (n *Node) Agent() *Agent {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.agent
}

// RestartAgent starts the agent again as it was started last, unless it runs or there was none.
func (n *Node) RestartAgent() error {
	a := n.Agent()
	if a == nil || a.Running() {
		return nil
	}
	_, err := n.RunAgent(a.command)
	return err
}

// Heal ends all faults: cables, links, drops, frozen and dead processes, also the agents, which
// are started as they were before. It returns when all API servers are ready.
func (c *Cluster) Heal(ctx context.Context) error {
	if err := c.repair(); err != nil {
		return fmt.Errorf("heal cluster: %w", err)
	}
	for _, n := range c.AllNodes() {
		if err := n.RestartAgent(); err != nil {
			return fmt.Errorf("heal cluster: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return c.WaitReady(ctx)
}

// Reset ends all faults and agents, removes what agents left in nodes and cluster, namely
// addresses, State, Leases of kube-system, and kvip's RBAC, starts API servers whose options were changed with
// Config's again, and returns when all API servers are ready.
func (c *Cluster) Reset(ctx context.Context) error {
	var errs []error
	for _, n := range c.AllNodes() {
		errs = append(errs, n.TerminateAgent(time.Second), os.RemoveAll(n.State()))
	}
	for _, n := range c.Nodes {
		n.API = c.cfg.API
	}
	errs = append(errs, c.repair())
	for _, n := range c.AllNodes() {
		errs = append(errs, n.Host.RemoveAddedAddrs())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("reset cluster: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.WaitReady(ctx); err != nil {
		return err
	}
	return errors.Join(c.deleteLeases(ctx), c.deletePermissions(ctx))
}

// TerminateAgent ends the node's agent, gently within the grace period, and forgets it.
func (n *Node) TerminateAgent(grace time.Duration) error {
	a := n.Agent()
	if a == nil {
		return nil
	}
	if a.Running() {
		if err := a.Thaw(); err != nil {
			return err
		}
		_ = a.Terminate(grace) // how it ended is its own business
	}
	n.mu.Lock()
	n.agent = nil
	n.mu.Unlock()
	return nil
}

// repair undoes what can be broken, without waiting for readiness.
func (c *Cluster) repair() error {
	errs := []error{c.Lab.Heal(), c.Client.Plug()}
	for _, n := range c.AllNodes() {
		errs = append(errs, n.Host.Thaw(), n.Host.Plug(), n.Host.LinkUp())
	}
	for _, n := range c.Nodes {
		errs = append(errs, n.StartEtcd(), n.StartAPI())
	}
	return errors.Join(errs...)
}
