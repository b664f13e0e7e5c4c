package failover

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
)

// Tool is a program that moves the address, with one agent on each node.
type Tool interface {
	Name() string
	Version() string
	// Start starts the agent of a node; it does not wait for it.
	Start(n *cluster.Node) error
	// Ready returns nil once the node's agent holds the address or could take it over.
	Ready(ctx context.Context, n *cluster.Node) error
}

// Kvip runs kvip as the kubelet would run the static pod that `kvip manifest pod` prints.
type Kvip struct {
	path, version string
	manifest      []byte
}

// NewKvip prints the manifest for the address with the executable at path. The version is for
// records only.
func NewKvip(ctx context.Context, path, version string, vip netip.Addr) (*Kvip, error) {
	manifest, err := exec.CommandContext(ctx, path, "manifest", "pod", "--vip", vip.String()).Output()
	if err != nil {
		return nil, fmt.Errorf("print manifest with %s: %w", path, err)
	}
	return &Kvip{path: path, version: version, manifest: manifest}, nil
}

// Name implements Tool.
func (k *Kvip) Name() string { return "kvip" }

// Version implements Tool.
func (k *Kvip) Version() string { return k.version }

// Start implements Tool.
func (k *Kvip) Start(n *cluster.Node) error {
	_, err := n.RunManifest(k.path, k.manifest)
	return err
}

// Ready implements Tool: it asks what the pod's readiness probe asks.
func (k *Kvip) Ready(ctx context.Context, n *cluster.Node) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	tr := &http.Transport{DialContext: n.Host.Dial, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:2113/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ask kvip on %s for readiness: %w", n.Name, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	why, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // the status says enough without
	return fmt.Errorf("ask kvip on %s for readiness: %s: %s", n.Name, resp.Status,
		bytes.TrimSpace(why))
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
