package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/wait"
)

// Node is one node, of the control plane unless it IsWorker. Its methods are not safe for
// concurrent use.
type Node struct {
	Name string
	Host *netlab.Host
	API  APIOptions // used by the next StartAPI

	c *Cluster

	mu      sync.Mutex
	etcd    *netlab.Process
	api     *netlab.Process
	started APIOptions  // of the running api
	ending  bool        // TerminateAPI was called
	starts  []time.Time // of api
	agent   *Agent
}

// kubernetes returns the path, outside the node, of a file below the node's /etc/kubernetes.
func (n *Node) kubernetes(file string) string {
	return filepath.Join(n.Host.Etc, "kubernetes", file)
}

// Log returns the path of the log of "etcd", "kube-apiserver" or another process of the node.
func (n *Node) Log(name string) string { return filepath.Join(n.Host.Dir, name+".log") }

func (n *Node) start(slot **netlab.Process, name string, args []string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if *slot != nil && (*slot).Running() {
		return nil
	}
	p, err := n.Host.Start(netlab.Command{Path: filepath.Join(n.c.bin, name), Args: args,
		Log: n.Log(name)})
	if err != nil {
		return err
	}
	*slot = p
	return nil
}

// with calls f for a process, if it was started.
func (n *Node) with(slot **netlab.Process, f func(*netlab.Process) error) error {
	n.mu.Lock()
	p := *slot
	n.mu.Unlock()
	if p == nil {
		return nil
	}
	return f(p)
}

// StartEtcd starts the etcd member on its data, unless it runs.
func (n *Node) StartEtcd() error { return n.start(&n.etcd, "etcd", n.etcdArgs()) }

// KillEtcd kills the etcd member.
func (n *Node) KillEtcd() error { return n.with(&n.etcd, (*netlab.Process).Kill) }

// FreezeEtcd freezes the etcd member.
func (n *Node) FreezeEtcd() error { return n.with(&n.etcd, (*netlab.Process).Freeze) }

// ThawEtcd continues the etcd member.
func (n *Node) ThawEtcd() error { return n.with(&n.etcd, (*netlab.Process).Thaw) }

// StartAPI starts the API server with n.API, unless it runs with the same options. It kills one
// that has other options or is terminating.
func (n *Node) StartAPI() error {
	if n.ending || n.started != n.API {
		if err := n.KillAPI(); err != nil {
			return err
		}
	}
	if n.API.Audit {
		if err := n.writeAuditPolicy(); err != nil {
			return err
		}
	}
	if n.API.OtherKey {
		if err := n.writeOtherKey(); err != nil {
			return err
		}
	}
	n.ending, n.started = false, n.API
	before, began := n.api, time.Now()
	err := n.start(&n.api, "kube-apiserver", n.apiArgs())
	if n.api != before {
		n.starts = append(n.starts, began)
	}
	return err
}

// APIStarted returns the start time of the API server that ran at an instant.
func (n *Node) APIStarted(at time.Time) (began time.Time) {
	for _, start := range n.starts {
		if !start.After(at) {
			began = start
		}
	}
	return began
}

// KillAPI kills the API server.
func (n *Node) KillAPI() error { return n.with(&n.api, (*netlab.Process).Kill) }

// TerminateAPI sends SIGTERM to the API server and does not wait.
func (n *Node) TerminateAPI() error {
	n.ending = true
	return n.with(&n.api, (*netlab.Process).SendTerm)
}

// APIRunning reports whether the API server's process runs.
func (n *Node) APIRunning() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.api != nil && n.api.Running()
}

// FreezeAPI freezes the API server.
func (n *Node) FreezeAPI() error { return n.with(&n.api, (*netlab.Process).Freeze) }

// ThawAPI continues the API server.
func (n *Node) ThawAPI() error { return n.with(&n.api, (*netlab.Process).Thaw) }

// RestartAPI kills the API server and starts it again, with n.API.
func (n *Node) RestartAPI() error { return errors.Join(n.KillAPI(), n.StartAPI()) }

// PowerOff ends the node's power: link, all processes, all addresses that were added.
func (n *Node) PowerOff() error { return n.Host.PowerOff() }

// PowerOn boots the node: link, own addresses, and on the control plane etcd and the API server. It
// does not start the agent.
func (n *Node) PowerOn() error {
	err := errors.Join(n.Host.Plug(), n.Host.RestoreAddrs())
	if n.IsWorker() {
		return err
	}
	return errors.Join(err, n.StartEtcd(), n.StartAPI())
}

// WaitReady waits until this node's own API server answers /readyz with 200.
func (n *Node) WaitReady(ctx context.Context) error {
	return wait.Until(ctx, "node "+n.Name, 100*time.Millisecond, func() error {
		err := n.Ready(ctx)
		if err != nil && !n.running() {
			return wait.Permanent(fmt.Errorf("etcd or kube-apiserver has ended, see %s and %s",
				n.Log("etcd"), n.Log("kube-apiserver")))
		}
		return err
	})
}

func (n *Node) running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.etcd != nil && n.etcd.Running() && n.api != nil && n.api.Running()
}

// Ready requests /readyz of this node's own API server once, on a new connection from inside the
// node. Nil means 200.
func (n *Node) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conf, err := n.c.TLS()
	if err != nil {
		return err
	}
	tr := &http.Transport{DialContext: n.Host.Dial, TLSClientConfig: conf, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.URL()+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("request readiness of %s: %w", n.Name, err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("request readiness of %s: %s", n.Name, resp.Status)
	}
	return nil
}

// URL returns the base URL of the node's own API server, at its IPv4 address.
func (n *Node) URL() string { return fmt.Sprintf("https://%s:%d", n.Host.Addr(true), Port) }

// WorkerKubeconfig is the path of a worker's administrator kubeconfig, for agents outside of a pod.
// It has none of kubeadm's names.
const WorkerKubeconfig = "/etc/kubernetes/agent.conf"

// addWorkers creates the hosts of Config.Workers.
func (c *Cluster) addWorkers() error {
	for i := range c.cfg.Workers {
		name := fmt.Sprintf("w%d", i+1)
		h, err := c.Lab.AddHost(netlab.HostConfig{Name: name, Addrs: prefixes(len(c.Nodes) + 1 + i),
			Forward: c.cfg.Forward})
		if err != nil {
			return err
		}
		n := &Node{Name: name, Host: h, c: c}
		c.Workers = append(c.Workers, n)
		if err := os.MkdirAll(n.kubernetes(""), 0o755); err != nil {
			return fmt.Errorf("create directory of worker %s: %w", name, err)
		}
		if err := copyFile(n.kubernetes(filepath.Base(WorkerKubeconfig)),
			c.Nodes[0].kubernetes("admin.conf")); err != nil {
			return fmt.Errorf("copy a kubeconfig to worker %s: %w", name, err)
		}
	}
	return nil
}

// AllNodes returns the nodes of the control plane and the workers.
func (c *Cluster) AllNodes() []*Node { return slices.Concat(c.Nodes, c.Workers) }

// IsWorker reports whether the node has no etcd and no API server.
func (n *Node) IsWorker() bool { return slices.Contains(n.c.Workers, n) }

// server returns the node whose API server this node uses.
func (n *Node) server() *Node {
	if n.IsWorker() {
		return n.c.Nodes[0]
	}
	return n
}

// podEnv returns the kubelet's environment variables of the API for a pod on a worker: the first
// node, as no kube-proxy serves the Service kubernetes. A pod on the control plane has none.
func (n *Node) podEnv() []string {
	if !n.IsWorker() {
		return nil
	}
	return []string{"KUBERNETES_SERVICE_HOST=" + n.server().Host.Addr(true).String(),
		"KUBERNETES_SERVICE_PORT=" + strconv.Itoa(Port)}
}
