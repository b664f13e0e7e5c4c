package kindcluster

import (
	"context"

	"github.com/kvip/kvip/test/lab/etcd"
)

// LeadEtcd makes the member of a control-plane node the leader of etcd.
func (c *Cluster) LeadEtcd(ctx context.Context, to *Node) error {
	var members []etcd.Member
	for _, n := range c.ControlPlanes() {
		members = append(members, n.askEtcd)
	}
	return etcd.Lead(ctx, to.askEtcd, members)
}

// askEtcd is the etcd.Member of the node, asked with the credentials of its API server.
func (n *Node) askEtcd(ctx context.Context, method string, body []byte) ([]byte, error) {
	const pki = "/etc/kubernetes/pki/"
	out, err := n.Exec(ctx, "curl", "--silent", "--show-error", "--fail", "--max-time", "2",
		"--cacert", pki+"etcd/ca.crt", "--cert", pki+"apiserver-etcd-client.crt",
		"--key", pki+"apiserver-etcd-client.key", "--data", string(body),
		"https://127.0.0.1:2379/v3/maintenance/"+method)
	return []byte(out), err
}
