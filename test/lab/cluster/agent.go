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

	"github.com/kvip/kvip/pkg/agent"
	"github.com/kvip/kvip/test/lab/netlab"
)

// Agent is a kvip, or another program that moves addresses, that runs in a node.
type Agent struct {
	*netlab.Process
	command netlab.Command
}

// Path returns the path of the executable.
func (a *Agent) Path() string { return a.command.Path }

// RunKvip starts an executable as the node's agent, with the capabilities that the manifest grants.
// Its output is appended to Log("kvip").
func (n *Node) RunKvip(path string, args, env []string) (*Agent, error) {
	return n.RunAgent(n.kvipCommand(path, args, env))
}

func (n *Node) kvipCommand(path string, args, env []string) netlab.Command {
	return n.WithState(netlab.Command{
		Path: path, Args: args, Env: append(n.podEnv(), env...), Log: n.Log("kvip"),
		Caps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_NICE},
	})
}

// stateDir is the path of State inside the node.
const stateDir = "/var/lib/kvip"

// State returns the path, outside the node, of the directory in which kvip stores its state.
func (n *Node) State() string { return filepath.Join(n.Host.Dir, "state") }

// WithState mounts the node's State for a command, as the manifest does. It creates a missing
// State.
func (n *Node) WithState(cmd netlab.Command) netlab.Command {
	_ = os.MkdirAll(n.State(), 0o755) // as the kubelet does; without it the command fails to start
	cmd.Tmpfs = append(cmd.Tmpfs, filepath.Dir(stateDir))
	mounts := maps.Clone(cmd.Mounts)
	if mounts == nil {
		mounts = map[string]string{}
	}
	mounts[stateDir] = n.State()
	cmd.Mounts = mounts
	return cmd
}

// RunManifest starts the executable as the kubelet starts the pod of the manifest. The executable
// replaces the container's command.
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

// Agent returns the node's agent, nil if none was started since the last Reset.
func (n *Node) Agent() *Agent {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.agent
}

// exitTimeout limits the wait for an agent that has got SIGTERM. With the race detector a process
// takes a second longer to exit.
const exitTimeout = 15 * time.Second

// RestartAgent starts the agent again with its last command, unless it runs or there was none. It
// waits for an agent that is terminating.
func (n *Node) RestartAgent() error {
	a := n.Agent()
	if a != nil && a.Terminating() {
		select {
		case <-a.Done():
		case <-time.After(exitTimeout):
		}
	}
	if a == nil || a.Running() {
		return nil
	}
	_, err := n.RunAgent(a.command)
	return err
}

// Heal ends all faults: cables, links, drops, frozen and ended processes, also those of agents. It
// returns when all API servers are ready.
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

// Reset ends all faults and agents, and removes what agents left, also those that had to be killed:
// addresses, kvip's tables of nftables, State, Leases of kube-system, and kvip's RBAC. It restores
// the options of the API servers, and returns when all of them are ready.
func (c *Cluster) Reset(ctx context.Context) error {
	var errs []error
	for _, n := range c.AllNodes() {
		errs = append(errs, n.TerminateAgent(5*time.Second), os.RemoveAll(n.State()))
	}
	for _, n := range c.Nodes {
		n.API = c.cfg.API
	}
	errs = append(errs, c.repair())
	for _, n := range c.AllNodes() {
		errs = append(errs, n.Host.Do(cleanUp), n.Host.RemoveAddedAddrs())
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

// cleanUp does what `kvip cleanup` does.
func cleanUp() error {
	_, err := agent.Cleanup(nil)
	return err
}

// TerminateAgent terminates the node's agent, within the grace period or by SIGKILL.
func (n *Node) TerminateAgent(grace time.Duration) error {
	a := n.Agent()
	if a == nil {
		return nil
	}
	if a.Running() {
		if err := a.Thaw(); err != nil {
			return err
		}
		_ = a.Terminate(grace) // its exit status does not matter
	}
	n.mu.Lock()
	n.agent = nil
	n.mu.Unlock()
	return nil
}

// repair ends all faults and does not wait for readiness.
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
