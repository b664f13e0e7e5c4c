package failover

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/pkg/netaddr"
	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/test/lab/cluster"
)

// Tool is a program that moves the address, with one agent on each node.
type Tool interface {
	Name() string
	Version() string
	// Log returns the file to which the agent of a node writes.
	Log(n *cluster.Node) string
	// Start starts the agent of a node; it does not wait for it.
	Start(n *cluster.Node) error
	// Ready returns nil once the node's agent holds the address or could take it over.
	Ready(ctx context.Context, n *cluster.Node) error
}

// Settler is a Tool that takes some time after its agents are ready until it is at its best.
type Settler interface {
	// Settled returns nil then.
	Settled(ctx context.Context, c *cluster.Cluster) error
}

// Names of tools. KvipQuick is kvip with a shorter --failover-timeout.
const (
	KvipName       = "kvip"
	KvipQuick      = "kvip-200ms"
	KeepalivedName = "keepalived"
)

// Kvip runs kvip as the kubelet would run the static pod that `kvip manifest pod` prints.
type Kvip struct {
	name, path, version string
	manifest            []byte
}

// NewKvip prints the manifest for addresses with the executable at path. The version is for records
// only.
func NewKvip(ctx context.Context, path, version string, vips ...netip.Addr) (*Kvip, error) {
	return newKvip(ctx, KvipName, path, version, vips)
}

// NewKvipQuick returns KvipQuick.
func NewKvipQuick(ctx context.Context, path, version string, vip netip.Addr) (*Kvip, error) {
	return newKvip(ctx, KvipQuick, path, version, []netip.Addr{vip}, "--failover-timeout=200ms")
}

func newKvip(ctx context.Context, name, path, version string, vips []netip.Addr,
	flags ...string) (*Kvip, error) {
	args := append([]string{"manifest", "pod", "--vip", netaddr.Join(vips, ",")}, flags...)
	manifest, err := exec.CommandContext(ctx, path, args...).Output()
	if err != nil {
		return nil, fmt.Errorf("print manifest with %s: %w", path, err)
	}
	return &Kvip{name: name, path: path, version: version, manifest: manifest}, nil
}

// Name implements Tool.
func (k *Kvip) Name() string { return k.name }

// Version implements Tool.
func (k *Kvip) Version() string { return k.version }

// Log implements Tool.
func (k *Kvip) Log(n *cluster.Node) string { return n.Log("kvip") }

// Start implements Tool.
func (k *Kvip) Start(n *cluster.Node) error {
	_, err := n.RunManifest(k.path, k.manifest)
	return err
}

// Ready implements Tool: it asks what the pod's readiness probe asks.
func (k *Kvip) Ready(ctx context.Context, n *cluster.Node) error {
	_, err := k.ask(ctx, n, statusPort, "/readyz")
	return err
}

// The ports of an agent's pages.
const (
	statusPort  = "2113"
	metricsPort = "2112"
)

// ask returns a page of the agent on a node.
func (k *Kvip) ask(ctx context.Context, n *cluster.Node, port, page string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	tr := &http.Transport{DialContext: n.Host.Dial, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+port+page, nil)
	if err != nil {
		return nil, err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask kvip on %s for %s: %w", n.Name, page, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask kvip on %s for %s: %s: %s", n.Name, page, resp.Status,
			bytes.TrimSpace(text[:min(len(text), 1<<10)]))
	}
	return text, err
}

// lease returns the Lease of the election.
func (k *Kvip) lease(ctx context.Context, c *cluster.Cluster) (*coordinationv1.Lease, error) {
	kube, err := c.Kube(c.Nodes[0])
	if err != nil {
		return nil, err
	}
	return kube.CoordinationV1().Leases(config.DefaultNamespace).Get(ctx, config.DefaultLeaseName,
		metav1.GetOptions{})
}

// Term returns the term of the Lease.
func (k *Kvip) Term(ctx context.Context, c *cluster.Cluster) (int64, error) {
	lease, err := k.lease(ctx, c)
	if err != nil {
		return 0, err
	}
	return kubelease.Decode(lease).Term, nil
}

// Metric returns the sum of the samples of a metric on a node's /metrics page.
func (k *Kvip) Metric(ctx context.Context, n *cluster.Node, name string) (float64, error) {
	text, err := k.ask(ctx, n, metricsPort, "/metrics")
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, name)
		if fields := strings.Fields(rest); ok && len(fields) > 0 && strings.ContainsAny(rest[:1], " {") {
			value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
			if err != nil {
				return 0, fmt.Errorf("read metric %s of %s: %w", name, n.Name, err)
			}
			sum, found = sum+value, true
		}
	}
	if !found {
		return 0, fmt.Errorf("read metric %s of %s: it has none", name, n.Name)
	}
	return sum, nil
}

// Settled implements Settler: the Lease is in mode fast, and each node's present agent is a voter
// that acknowledges beats.
func (k *Kvip) Settled(ctx context.Context, c *cluster.Cluster) error {
	lease, err := k.lease(ctx, c)
	if err != nil {
		return err
	}
	for _, n := range c.Nodes {
		text, err := k.ask(ctx, n, statusPort, "/status")
		if err == nil {
			err = CheckFast(lease, text)
		}
		if err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
	}
	return nil
}

// CheckFast returns an error unless the Lease is in mode fast and the agent, whose status page is
// given, is a voter that acknowledges beats.
func CheckFast(lease *coordinationv1.Lease, page []byte) error {
	var agent status.Agent
	if err := json.Unmarshal(page, &agent); err != nil {
		return fmt.Errorf("decode the status of kvip: %w", err)
	}
	voters := kubelease.Decode(lease).FastVoters()
	if !slices.Contains(voters, agent.Identity) || agent.Slow != "" {
		return fmt.Errorf("%s is no voter of mode fast: %s", agent.Identity, agent.Slow)
	}
	return nil
}

// FindKvip returns the executable to run and its version: $KVIP_BINARY and $KVIP_VERSION, or
// `kvip` beside this program and the version that it prints.
func FindKvip(ctx context.Context) (path, version string, err error) {
	if path = os.Getenv("KVIP_BINARY"); path == "" {
		self, err := os.Executable()
		if err != nil {
			return "", "", fmt.Errorf("find kvip: %w", err)
		}
		path = filepath.Join(filepath.Dir(self), "kvip")
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", "", fmt.Errorf("find kvip: %w", err)
	}
	out, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return "", "", fmt.Errorf("ask %s for its version (make build): %w", path, err)
	}
	if version = os.Getenv("KVIP_VERSION"); version == "" {
		version = kvipVersion(out)
	}
	return path, version, nil
}

// kvipVersion finds "v0.1.0" in "kvip v0.1.0 (commit ...)".
func kvipVersion(out []byte) string {
	if f := strings.Fields(string(out)); len(f) > 1 && f[0] == "kvip" {
		return f[1]
	}
	return "unknown"
}
