package failover

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

// Keepalived runs keepalived, found in PATH: VRRP version 3 with advertisements every 0.1 s
// and the API server's readiness asked each second, and without pre-emption, as kvip has none.
type Keepalived struct {
	path, version string
	vip           netip.Addr
}

// NewKeepalived finds the program; that it is not installed is an error.
func NewKeepalived(vip netip.Addr) (*Keepalived, error) {
	path, err := exec.LookPath("keepalived")
	if err != nil {
		return nil, fmt.Errorf("find keepalived (apt-get install keepalived curl): %w", err)
	}
	if _, err := exec.LookPath("curl"); err != nil {
		return nil, fmt.Errorf("find curl (apt-get install curl): %w", err)
	}
	out, err := exec.Command(path, "--version").CombinedOutput()
	version := keepalivedVersion(out)
	if version == "" {
		return nil, fmt.Errorf("ask keepalived for its version: %q (%w)", out, err)
	}
	return &Keepalived{path: path, version: version, vip: vip}, nil
}

// keepalivedVersion finds "2.2.7" in "Keepalived v2.2.7 (01/16,2022)".
func keepalivedVersion(out []byte) string {
	if m := regexp.MustCompile(`(?m)^Keepalived v(\S+)`).FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return ""
}

// Name implements Tool.
func (k *Keepalived) Name() string { return KeepalivedName }

// Log implements Tool.
func (k *Keepalived) Log(n *cluster.Node) string { return n.Log("keepalived") }

// Version implements Tool.
func (k *Keepalived) Version() string { return k.version }

// Start implements Tool. Files that keepalived puts into /run otherwise go into the node's own
// directory, because /run is the machine's. Those of a killed keepalived are removed before
// each start, as a boot does: their numbers may be of other processes by now, which keepalived
// takes for itself.
func (k *Keepalived) Start(n *cluster.Node) error {
	dir := filepath.Join(n.Host.Etc, "keepalived")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("configure keepalived: %w", err)
	}
	conf := keepalivedConfig(n.Name, k.vip, priority(n))
	if err := os.WriteFile(filepath.Join(dir, "keepalived.conf"), []byte(conf), 0o644); err != nil {
		return fmt.Errorf("configure keepalived: %w", err)
	}
	const script = `rm -f "$2" "$3"; exec "$1" --dont-fork --log-console --no-syslog --vrrp ` +
		`--use-file=/etc/keepalived/keepalived.conf --pid="$2" --vrrp_pid="$3"`
	_, err := n.RunAgent(netlab.Command{
		Path: "/bin/sh", Log: k.Log(n),
		Args: []string{"-c", script, "sh", k.path, filepath.Join(n.Host.Dir, "keepalived.pid"),
			filepath.Join(n.Host.Dir, "vrrp.pid")},
	})
	return err
}

// priority spreads the nodes, so that two of them do not take over in the same moment: a
// backup waits (256-priority)/256 of an advertisement longer than three (RFC 5798 section 6.1).
func priority(n *cluster.Node) int {
	order := slices.Index([]string{"cp1", "cp2", "cp3"}, n.Name)
	return 200 - 50*order
}

func keepalivedConfig(router string, vip netip.Addr, priority int) string {
	return fmt.Sprintf(`global_defs {
	router_id %s
	vrrp_version 3
	script_user root
	enable_script_security
}
vrrp_script apiserver {
	script "/usr/bin/curl -sfk -m 2 -o /dev/null https://127.0.0.1:%d/readyz"
	interval 1
	timeout 3
	fall 1
	rise 2
}
vrrp_instance apiserver {
	state BACKUP
	nopreempt
	interface %s
	virtual_router_id 51
	priority %d
	advert_int 0.1
	virtual_ipaddress {
		%s/%d dev %[3]s
	}
	track_script {
		apiserver
	}
}
`, router, cluster.Port, netlab.LinkName, priority, vip, vip.BitLen())
}

// Ready implements Tool: keepalived logs each change of its state.
func (k *Keepalived) Ready(_ context.Context, n *cluster.Node) error {
	if a := n.Agent(); a == nil || !a.Running() {
		return fmt.Errorf("look at keepalived on %s: it does not run", n.Name)
	}
	log, err := os.ReadFile(k.Log(n))
	if err != nil {
		return fmt.Errorf("look at keepalived on %s: %w", n.Name, err)
	}
	if state := vrrpState(log); state != "MASTER" && state != "BACKUP" {
		return fmt.Errorf("look at keepalived on %s: state %q", n.Name, state)
	}
	return nil
}

// vrrpState returns the last state in a log since keepalived was started last, "" if none.
func vrrpState(log []byte) string {
	if i := bytes.LastIndex(log, []byte("Starting Keepalived")); i >= 0 {
		log = log[i:]
	}
	found := regexp.MustCompile(`Entering (\w+) STATE`).FindAllSubmatch(log, -1)
	if len(found) == 0 {
		return ""
	}
	return strings.ToUpper(string(found[len(found)-1][1]))
}
