package kindcluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
)

// Node is one container of the cluster.
type Node struct {
	Name         string
	ControlPlane bool
	Addr         netip.Addr // its own, which no restart changes once it is pinned

	engine *Engine
}

// Command is a command inside the node.
func (n *Node) Command(ctx context.Context, args ...string) *exec.Cmd {
	return n.engine.Command(ctx, "docker", append([]string{"exec", "-i", n.Name}, args...)...)
}

// Exec runs a command inside the node and returns what it printed.
func (n *Node) Exec(ctx context.Context, args ...string) (string, error) {
	return run(n.Command(ctx, args...))
}

// Shell runs a line of bash inside the node.
func (n *Node) Shell(ctx context.Context, line string) (string, error) {
	return n.Exec(ctx, "bash", "-c", "set -euo pipefail; "+line)
}

// Write writes a file of the node, at once: a kubelet that looks sees all of it or nothing.
func (n *Node) Write(ctx context.Context, path string, content io.Reader) error {
	cmd := n.Command(ctx, "bash", "-c",
		`set -e; mkdir -p "${0%/*}"; cat >"${0%/*}/.new"; mv "${0%/*}/.new" "$0"`, path)
	cmd.Stdin = content
	_, err := run(cmd)
	return err
}

// Kubectl runs kubectl inside the node, as the administrator and through the virtual address.
func (n *Node) Kubectl(ctx context.Context, args ...string) (string, error) {
	return n.Exec(ctx, append([]string{"kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf",
		"--request-timeout", "10s"}, args...)...)
}

// Docker runs a docker command about the node, such as kill, pause or start.
func (n *Node) Docker(ctx context.Context, verb string) error {
	_, err := n.engine.Docker(ctx, verb, n.Name)
	return err
}

// PID returns the first process of the node's container, as the machine sees it; 0: not running.
func (n *Node) PID(ctx context.Context) (int, error) {
	out, err := n.engine.Docker(ctx, "inspect", "-f", "{{.State.Pid}}", n.Name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(out))
}

// MAC returns the link-layer address of a running node in kind's network. A start may change it.
func (n *Node) MAC(ctx context.Context) (net.HardwareAddr, error) {
	out, err := n.engine.Docker(ctx, "inspect", "-f",
		"{{range .NetworkSettings.Networks}}{{.MacAddress}}{{end}}", n.Name)
	if err != nil {
		return nil, err
	}
	mac, err := net.ParseMAC(strings.TrimSpace(out))
	if err != nil {
		return nil, fmt.Errorf("node %s does not run: %w", n.Name, err)
	}
	return mac, nil
}

// host adopts the node's network namespace.
func (n *Node) host(ctx context.Context) (*netlab.Host, error) {
	pid, err := n.PID(ctx)
	if err != nil {
		return nil, err
	}
	if pid == 0 {
		return nil, fmt.Errorf("node %s does not run", n.Name)
	}
	return netlab.Adopt(n.Name, pid, netip.PrefixFrom(n.Addr, n.Addr.BitLen()))
}

// Container returns the ID of a running container of a static pod, or "" if there is none.
func (n *Node) Container(ctx context.Context, name string) (string, error) {
	out, err := n.Exec(ctx, "ctr", "-n", "k8s.io", "containers", "ls", "-q",
		`labels."io.kubernetes.container.name"==`+name)
	if err != nil {
		return "", err
	}
	tasks, err := n.Exec(ctx, "ctr", "-n", "k8s.io", "tasks", "ls")
	for id := range strings.FieldsSeq(out) {
		if running(tasks, id) {
			return id, err
		}
	}
	return "", err
}

func running(tasks, id string) bool {
	for line := range strings.Lines(tasks) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == id && f[2] == "RUNNING" {
			return true
		}
	}
	return false
}

// Kill ends a container of a static pod as a crash would.
func (n *Node) Kill(ctx context.Context, name string) error {
	id, err := n.Container(ctx, name)
	if err != nil {
		return err
	}
	if id == "" {
		return fmt.Errorf("kill container %s on %s: it does not run", name, n.Name)
	}
	_, err = n.Exec(ctx, "ctr", "-n", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id)
	return err
}

// Get asks a page of the node from inside its network, as https://127.0.0.1:6443/readyz, and
// returns the status and the body. Certificates are not checked. Without root it is the node's curl
// that asks.
func (n *Node) Get(ctx context.Context, url string) (status int, body string, err error) {
	if !Root() {
		return n.curl(ctx, url)
	}
	host, err := n.host(ctx)
	if err != nil {
		return 0, "", err
	}
	defer host.Close()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DialContext: host.Dial, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", fmt.Errorf("node %s: %w", n.Name, err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	return response.StatusCode, string(b), err
}

// curl does what Get does, from a process in the node.
func (n *Node) curl(ctx context.Context, url string) (status int, body string, err error) {
	out, err := n.Exec(ctx, "curl", "-sk", "-m", "5", "-w", "\n%{http_code}", url)
	if err != nil {
		return 0, "", err
	}
	end := strings.LastIndexByte(out, '\n')
	status, err = strconv.Atoi(out[end+1:])
	return status, out[:max(end, 0)], err
}

// Ready reports whether the node's API server and, if expected, kvip are ready.
func (n *Node) Ready(ctx context.Context, kvip bool) error {
	urls := []string{"https://127.0.0.1:6443/readyz"}
	if kvip {
		urls = append(urls, "http://127.0.0.1:2113/readyz")
	}
	for _, url := range urls {
		status, body, err := n.Get(ctx, url)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("node %s: %s: %d: %s", n.Name, url, status, strings.TrimSpace(body))
		}
	}
	return nil
}
