package kindcluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// seed is what a user might have as kubeadm's configuration before there is a virtual address:
// the names that kind itself puts into certificates, and how kind's nodes join.
const seed = `apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
apiServer:
  certSANs: [localhost, 127.0.0.1]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken:
    token: abcdef.0123456789abcdef
    unsafeSkipCAVerification: true
`

// kubeletPatch lets a kubelet run on a machine whose control groups are of version 1.
const kubeletPatch = "kind: KubeletConfiguration\nfailCgroupV1: false\n"

// plainPatch takes the endpoint away that kind names even where one control plane is all there is.
const plainPatch = "kind: ClusterConfiguration\ncontrolPlaneEndpoint: null\n"

// prepare makes the manifest and kubeadm's configuration with kvip's own commands, and from them
// the configuration of kind.
func (c *Cluster) prepare(ctx context.Context, flags []string) error {
	if c.cfg.Plain {
		return c.writeKind(plainPatch)
	}
	kubeadm := c.file("kubeadm.yaml")
	if err := os.WriteFile(kubeadm, []byte(seed), 0o644); err != nil {
		return fmt.Errorf("write kubeadm's configuration: %w", err)
	}
	for _, verb := range []string{"init", "join"} {
		args := append([]string{"kubeadm", verb, "--vip", c.VIP.String(), "--config", kubeadm,
			"--manifest-dir", c.file("manifests"), "--image", c.cfg.KvipImage, "--force"}, flags...)
		cmd := c.cfg.Engine.Command(ctx, c.cfg.Kvip, args...)
		if _, err := run(cmd); err != nil {
			return fmt.Errorf("prepare kubeadm %s: %w", verb, err)
		}
	}
	edited, err := os.ReadFile(kubeadm)
	if err != nil {
		return fmt.Errorf("read kubeadm's configuration: %w", err)
	}
	var patches []string
	for document := range strings.SplitSeq(string(edited), "---\n") {
		patches = append(patches, apiVersion.ReplaceAllString(document, ""))
	}
	return c.writeKind(patches...)
}

// writeKind writes the configuration of kind.
func (c *Cluster) writeKind(patches ...string) error {
	config, err := c.kindConfig(patches)
	if err != nil {
		return err
	}
	return os.WriteFile(c.file("kind.yaml"), config, 0o644)
}

// apiVersion is left out of patches: kind then applies them to whichever version it writes itself.
var apiVersion = regexp.MustCompile(`(?m)^apiVersion: .*\n`)

// kindConfig fills the template (kind/ha.yaml) with patches of kubeadm's configuration.
func (c *Cluster) kindConfig(patches []string) ([]byte, error) {
	template, err := os.ReadFile(c.cfg.Template)
	if err != nil {
		return nil, fmt.Errorf("read kind configuration: %w", err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(template, &config); err != nil {
		return nil, fmt.Errorf("read kind configuration %s: %w", c.cfg.Template, err)
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		patches = append(patches, kubeletPatch)
	}
	config["name"], config["kubeadmConfigPatches"] = c.cfg.Name, append(patches, c.cfg.Patches...)
	if c.cfg.LocalImage {
		config["networking"] = map[string]any{"disableDefaultCNI": true}
	}
	nodes, _ := config["nodes"].([]any)
	config["nodes"] = c.nodesOf(nodes)
	return yaml.Marshal(config)
}

// nodesOf takes as many nodes of each role from the template as are wanted, names them as kind
// will, and leaves out the mounts: the manifest is copied, as on a real node, where kubeadm reset
// can remove it.
func (c *Cluster) nodesOf(template []any) (nodes []any) {
	c.Nodes = nil
	count := map[bool]int{}
	for _, entry := range template {
		node, ok := entry.(map[string]any)
		if !ok {
			continue
		}
		control := node["role"] == "control-plane"
		if !control && count[false] == c.cfg.Workers || control && count[true] == c.cfg.ControlPlanes &&
			count[true] > 0 {
			continue
		}
		count[control]++
		delete(node, "extraMounts")
		nodes = append(nodes, node)
		c.Nodes = append(c.Nodes,
			&Node{Name: c.nodeName(control, count[control]), ControlPlane: control, engine: c.cfg.Engine})
	}
	return nodes
}

// nodeName is how kind names the n-th node of a role.
func (c *Cluster) nodeName(control bool, n int) string {
	name := c.cfg.Name + "-worker"
	if control {
		name = c.cfg.Name + "-control-plane"
	}
	if n > 1 {
		name += fmt.Sprint(n)
	}
	return name
}

// Manifest returns the static pod's manifest, the same for every node.
func (c *Cluster) Manifest() ([]byte, error) {
	return os.ReadFile(c.file("manifests/kvip.yaml"))
}

func (c *Cluster) file(name string) string { return filepath.Join(c.cfg.Dir, name) }
