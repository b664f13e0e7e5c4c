package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
)

// Node is one node, of the control plane unless it IsWorker. Its methods are for one goroutine at a time.
type Node struct {
	Name string
	Host *netlab.Host
	API  APIOptions // used by the next StartAPI

	c *Cluster

	mu      sync.Mutex
	etcd    *netlab.Process
	api     *netlab.Process
	started APIOptions  // what api runs with
	ending  bool        // api was asked to end
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
	p, err := n.Host.Start(netlab.Command{Path: filepath.Join(n.c.bin, name), Args: args, Log: n.Log(name)})
	if err != nil {
		return err
	}
	*slot = p
	return nil
}

// with calls f for a process, unless it does not run.
func (n *Node) with(slot **netlab.Process, f func(*netlab.Process) error) error {
	n.mu.Lock()
	p := *slot
	n.mu.Unlock()
	if p == nil {
		return nil
	}
	return f(p)
}

// StartEtcd starts the etcd member, on the data it has, unless it runs.
func (n *Node) StartEtcd() error { return n.start(&n.etcd, "etcd", n.etcdArgs()) }

// KillEtcd ends the etcd member with SIGKILL.
func (n *Node) KillEtcd() error { return n.with(&n.etcd, (*netlab.Process).Kill) }

// FreezeEtcd freezes the etcd member.
func (n *Node) FreezeEtcd() error { return n.with(&n.etcd, (*netlab.Process).Freeze) }

// ThawEtcd lets the etcd member run on.
func (n *Node) ThawEtcd() error { return n.with(&n.etcd, (*netlab.Process).Thaw) }

// StartAPI starts the API server with n.API. It leaves one alone that runs with the same
// options, and kills one that runs with others or has been asked to end.
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

// APIStarted is when the API server that ran at an instant was started.
func (n *Node) APIStarted(at time.Time) (began time.Time) {
	for _, start := range n.starts {
		if !start.After(at) {
			began = start
		}
	}
	return began
}

// KillAPI ends the API server with SIGKILL.
func (n *Node) KillAPI() error { return n.with(&n.api, (*netlab.Process).Kill) }

// TerminateAPI asks the API server to shut down and does not wait.
func (n *Node) TerminateAPI() error {
	n.ending = true
	return n.with(&n.api, (*netlab.Process).SendTerm)
}

// FreezeAPI freezes the API server.
func (n *Node) FreezeAPI() error { return n.with(&n.api, (*netlab.Process).Freeze) }

// ThawAPI lets the API server run on.
func (n *Node) ThawAPI() error { return n.with(&n.api, (*netlab.Process).Thaw) }

// RestartAPI kills the API server and starts it again, with n.API.
func (n *Node) RestartAPI() error { return errors.Join(n.KillAPI(), n.StartAPI()) }

// PowerOff cuts the node's power: link, all processes, all addresses that were added.
func (n *Node) PowerOff() error { return n.Host.PowerOff() }

// PowerOn boots the node: link, own addresses, and on the control plane etcd and the API server. The agent
// is not started.
func (n *Node) PowerOn() error {
	err := errors.Join(n.Host.Plug(), n.Host.RestoreAddrs())
	if n.IsWorker() {
		return err
	}
	return errors.Join(err, n.StartEtcd(), n.StartAPI())
}

// WaitReady waits until this node's own API server answers /readyz with 200.
func (n *Node) WaitReady(ctx context.Context) error {
	for {
		err := n.Ready(ctx)
		if err == nil {
			return nil
		}
		if !n.running() {
			return fmt.Errorf("wait for node %s: etcd or kube-apiserver has ended, see %s and %s", n.Name, n.Log("etcd"), n.Log("kube-apiserver"))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for node %s: %w (last answer: %w)", n.Name, ctx.Err(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (n *Node) running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.etcd != nil && n.etcd.Running() && n.api != nil && n.api.Running()
}

// Ready asks this node's own API server once for /readyz, on a fresh connection, from inside
// the node; nil means 200.
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
		return fmt.Errorf("ask %s for readiness: %w", n.Name, err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask %s for readiness: %s", n.Name, resp.Status)
	}
	return nil
}

// URL is the base URL of the node's own API server, at its IPv4 address.
func (n *Node) URL() string { return fmt.Sprintf("https://%s:%d", n.Host.Addr(true), Port) }
