package cluster

import (
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"strings"
	"time"
)

// The virtual IPs of every cluster. They are the same in each lab, so that certificates can be
// cached. Labs are isolated from each other.
var (
	VIP4 = netip.MustParseAddr("10.77.0.100")
	VIP6 = netip.MustParseAddr("fd6b:7669:7000::100")
)

// RoutedVIP4 and RoutedVIP6 are virtual IPs outside of the nodes' networks, which reach the nodes
// through routers.
var (
	RoutedVIP4 = netip.MustParseAddr("10.78.0.1")
	RoutedVIP6 = netip.MustParseAddr("fd6b:7669:7078::1")
)

// Port of the API servers.
const Port = 6443

const (
	serviceNet  = "10.96.0.0/12" // kubeadm's default
	serviceIP   = "10.96.0.1"    // of the Service kubernetes
	serviceNet6 = "fd6b:7669:7100::/112"
)

// Config of a Cluster. The zero value is usable.
type Config struct {
	// API are the options of each node's API server. Node.API changes them later.
	API APIOptions
	// Binaries is the directory of etcd, kube-apiserver and kubeadm. Empty means that of Binaries.
	Binaries string
	// Workers is the number of nodes outside of the control plane: hosts for agents, without etcd and
	// API server.
	Workers int
	// Forward turns on IP forwarding in the nodes.
	Forward bool
	// Progress receives a line for each step. Nil discards them.
	Progress io.Writer
}

// APIOptions are changes to the flags that kubeadm gives an API server.
type APIOptions struct {
	NoAnonymous bool // --anonymous-auth=false
	// NodeAddressOnly binds the server to the node's IPv4 address: 127.0.0.1 and the VIPs do not
	// reach it.
	NodeAddressOnly bool
	ShutdownDelay   time.Duration // --shutdown-delay-duration
	OtherKey        bool          // ServiceAccount tokens are signed and verified with another key
	Audit           bool          // writes an audit log to Log("audit")
	DualStack       bool          // Services have both families; only for the first start of a cluster
}

// nodeNames are the names of the nodes, in order.
func nodeNames() []string { return []string{"cp1", "cp2", "cp3"} }

// clientName is the host of the VIP's clients. It is not a node.
const clientName = "client"

// prefixes returns the own addresses of the n-th host, counted from 0.
func prefixes(n int) []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("10.77.0.%d/24", n+11)),
		netip.MustParsePrefix(fmt.Sprintf("fd6b:7669:7000::%d/64", n+11)),
	}
}

// etcdArgs returns the flags that kubeadm writes into etcd's static pod.
func (n *Node) etcdArgs() []string {
	ip := n.Host.Addr(true)
	var members []string
	for _, m := range n.c.Nodes {
		members = append(members, fmt.Sprintf("%s=https://%s:2380", m.Name, m.Host.Addr(true)))
	}
	const pki = "/etc/kubernetes/pki/etcd/"
	return []string{
		"--name=" + n.Name,
		"--data-dir=" + filepath.Join(n.Host.Dir, "etcd"),
		fmt.Sprintf("--advertise-client-urls=https://%s:2379", ip),
		fmt.Sprintf("--listen-client-urls=https://127.0.0.1:2379,https://%s:2379", ip),
		fmt.Sprintf("--initial-advertise-peer-urls=https://%s:2380", ip),
		fmt.Sprintf("--listen-peer-urls=https://%s:2380", ip),
		"--initial-cluster=" + strings.Join(members, ","),
		"--initial-cluster-state=new",
		"--listen-metrics-urls=http://127.0.0.1:2381",
		"--client-cert-auth=true",
		"--cert-file=" + pki + "server.crt",
		"--key-file=" + pki + "server.key",
		"--trusted-ca-file=" + pki + "ca.crt",
		"--peer-client-cert-auth=true",
		"--peer-cert-file=" + pki + "peer.crt",
		"--peer-key-file=" + pki + "peer.key",
		"--peer-trusted-ca-file=" + pki + "ca.crt",
		"--snapshot-count=10000",
		"--watch-progress-notify-interval=5s",
	}
}

// apiArgs returns the flags that kubeadm writes into the API server's static pod, and those of
// n.API.
func (n *Node) apiArgs() []string {
	const pki = "/etc/kubernetes/pki/"
	args := []string{
		"--advertise-address=" + n.Host.Addr(true).String(),
		fmt.Sprintf("--secure-port=%d", Port),
		"--allow-privileged=true",
		"--authorization-mode=Node,RBAC",
		"--client-ca-file=" + pki + "ca.crt",
		"--enable-admission-plugins=NodeRestriction",
		"--enable-bootstrap-token-auth=true",
		"--etcd-servers=https://127.0.0.1:2379", // its own member only: stacked topology
		"--etcd-cafile=" + pki + "etcd/ca.crt",
		"--etcd-certfile=" + pki + "apiserver-etcd-client.crt",
		"--etcd-keyfile=" + pki + "apiserver-etcd-client.key",
		"--kubelet-client-certificate=" + pki + "apiserver-kubelet-client.crt",
		"--kubelet-client-key=" + pki + "apiserver-kubelet-client.key",
		"--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
		"--proxy-client-cert-file=" + pki + "front-proxy-client.crt",
		"--proxy-client-key-file=" + pki + "front-proxy-client.key",
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-client-ca-file=" + pki + "front-proxy-ca.crt",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + pki + n.API.key() + ".pub",
		"--service-account-signing-key-file=" + pki + n.API.key() + ".key",
		"--service-cluster-ip-range=" + n.API.serviceNets(),
		"--tls-cert-file=" + pki + "apiserver.crt",
		"--tls-private-key-file=" + pki + "apiserver.key",
	}
	if n.API.NoAnonymous {
		args = append(args, "--anonymous-auth=false")
	}
	if n.API.NodeAddressOnly {
		args = append(args, "--bind-address="+n.Host.Addr(true).String())
	}
	if n.API.ShutdownDelay > 0 {
		args = append(args, "--shutdown-delay-duration="+n.API.ShutdownDelay.String())
	}
	if n.API.Audit {
		args = append(args, "--audit-policy-file="+auditPolicyFile, "--audit-log-path="+n.Log("audit"))
	}
	return args
}

func (o APIOptions) serviceNets() string {
	if o.DualStack {
		return serviceNet + "," + serviceNet6
	}
	return serviceNet
}
