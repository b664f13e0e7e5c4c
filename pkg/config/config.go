// Package config is the typed configuration of kvip: its defaults, flags, validation and the
// arguments that reproduce it. It does no I/O except SetNodeName: checks that depend on the host
// (addresses, links, files) belong to the agent.
package config

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/quorum"
)

// Defaults that other packages, manifests and documentation refer to.
const (
	// DefaultPort is the API server's port in every kubeadm cluster.
	DefaultPort = 6443
	// DefaultLeaseDuration bounds how long a dead holder keeps the VIP: long enough to survive an
	// etcd leader election (about 1 s), short enough for clients that retry.
	DefaultLeaseDuration = 5 * time.Second
	// DefaultRenewInterval leaves four more attempts before the default lease's deadline (E1).
	DefaultRenewInterval = time.Second
	// DefaultDrainTimeout is enough for requests, and less than what kubelets wait for a pod.
	DefaultDrainTimeout = 20 * time.Second
	// MaxDrainTimeout limits DrainTimeout.
	MaxDrainTimeout = time.Hour
	// DefaultPeerPort is the UDP port of the static pod's agent.
	DefaultPeerPort = 2118
	// DaemonSetPeerPort differs from the static pod's, so that both can run on one node.
	DaemonSetPeerPort = 2119
	// DefaultLeaseName names the Lease that all agents of one VIP share.
	DefaultLeaseName = "kvip"
	// DefaultNamespace is the namespace of the Lease and of the ServiceAccounts: there, API priority
	// and fairness classifies the requests as leader election (E11).
	DefaultNamespace = "kube-system"
	// DefaultMetricsAddress serves /metrics, /status and /services on every address of the node.
	DefaultMetricsAddress = ":2112"
	// DefaultHealthAddress serves the pages of a static pod on loopback only.
	DefaultHealthAddress = "127.0.0.1:2113"
	// DaemonSetHealthAddress and DaemonSetMetricsAddress differ from the static pod's, so that both
	// can run on one node: the scheduler allows each host port once per node.
	DaemonSetHealthAddress  = "127.0.0.1:2114"
	DaemonSetMetricsAddress = ":2117"
	// ServicesHealthAddress and ServicesMetricsAddress are those of a DaemonSet for Services only,
	// which can run beside the other two on one node.
	ServicesHealthAddress  = "127.0.0.1:2115"
	ServicesMetricsAddress = ":2116"
	// DefaultServiceClass is the loadBalancerClass that kvip serves, besides Services without one.
	DefaultServiceClass = "kvip.dev/kvip"
	// DefaultServicesName is the prefix of the Leases for Services.
	DefaultServicesName = "kvip-services"
	// DefaultRoute as ServicesFallback is the link of the default route.
	DefaultRoute = "default-route"
	// ImageRepository is a name that no registry serves: load the image on the nodes under it, or
	// choose another with --image.
	ImageRepository = "localhost/kvip"
	// WaitForever is an InterfaceWait without limit; any negative duration means the same.
	WaitForever = -1 * time.Second
	// DefaultStateDir is the static pod's directory on the host for kvip's token.
	DefaultStateDir = "/var/lib/kvip"
	// NodeNameEnv has the node's name from the downward API. It is the only setting from the
	// environment.
	NodeNameEnv = "NODE_NAME"
)

// Config is everything a user can choose. The zero value is not usable: start from Default,
// StaticPod or DaemonSet.
type Config struct {
	// VIPs are the virtual addresses, held together: one IPv4, one IPv6, or both.
	VIPs []netip.Addr
	// Interface carries the VIPs. Empty: the link whose on-link prefix contains the VIP, else the
	// default route's.
	Interface string
	// InterfaceWait is how long to wait at start until the interface exists. 0: no wait; negative:
	// no limit.
	InterfaceWait time.Duration
	// Port is where the API servers listen, 1 to 65535.
	Port int
	// LeaseDuration is D in whole seconds, MinLeaseDuration to MaxLeaseDuration (E1, E2).
	LeaseDuration time.Duration
	// RenewInterval is the time between renewals by the holder, at most MaxRenewInterval.
	RenewInterval time.Duration
	// FailoverTimeout is W of mode fast, quorum.MinWindow to quorum.MaxWindow, 0: always mode slow
	// (F1).
	FailoverTimeout time.Duration
	// DrainTimeout is how long the agent goes on serving the connections that it has after it was
	// asked to stop, 0 to MaxDrainTimeout; 0: connections are reset whenever the VIP leaves (F11).
	DrainTimeout time.Duration
	// PeerPort is the UDP port at which the agents reach each other, on the node's own address (F10).
	PeerPort int
	// Announce is AnnounceARP or AnnounceBGP.
	Announce string
	// BGPAS is the AS number of the nodes, BGPRouterID the BGP identifier of this one: an IPv4
	// address, or invalid for the node's own.
	BGPAS       uint32
	BGPRouterID netip.Addr
	// BGPPeers are the peers of the static pod, BGPConfig a file with more of them. Empty: none.
	BGPPeers  []BGPPeer
	BGPConfig string
	// BGPHoldTime is how long routers use a silent node, MinBGPHoldTime to MaxBGPHoldTime.
	BGPHoldTime time.Duration
	// LeaseName and Namespace name the Lease. Namespace is that of all of kvip's Leases.
	LeaseName, Namespace string
	// NodeName is this node's name. Empty until SetNodeName.
	NodeName string
	// Kubeconfigs are tried in this order. Empty: the pod's ServiceAccount, or the token in StateDir.
	Kubeconfigs []string
	// StateDir is a directory for the token of ServiceAccount kube-system/kvip that the agent
	// requests for itself; Kubeconfigs then only serve to request it. Empty: no token.
	StateDir string
	// HealthURL is polled instead of the local API server's /readyz. Empty: detected (E7).
	HealthURL string
	// MetricsAddress is the host:port of /metrics, /status and /services. Empty: not served.
	MetricsAddress string
	// HealthAddress is the loopback host:port of /healthz, /readyz, /status and /services.
	HealthAddress string
	// Services enables addresses for Services of type LoadBalancer; then VIPs may be empty.
	Services bool
	// ServicesName is the name of the Lease of the allocator's election, and the prefix of the
	// ledger's Leases.
	ServicesName string
	// ServiceClass is the loadBalancerClass that is served.
	ServiceClass string
	// ClassOnly ignores Services without a loadBalancerClass.
	ClassOnly bool
	// ServicesInterface is a name or pattern (path.Match) of the links for Services. Empty: every
	// link with a subnet that contains the address.
	ServicesInterface string
	// ServicesFallback is the link for addresses of Services that are in no subnet of this node, or
	// DefaultRoute. Empty: none. It must be empty if ServicesInterface is not.
	ServicesFallback string
	// DaemonSet is the name of the agent's DaemonSet in kube-system. Empty: none.
	DaemonSet string
	// KubeVIP serves what was made for kube-vip: its annotations need no pool, and its Lease is
	// renewed as it expects.
	KubeVIP bool
	// Image is the container image in manifests.
	Image string
	// LogFormat is "text" or "json".
	LogFormat string
	// Verbosity 0 logs state changes and problems, 1 and above everything.
	Verbosity int
}

// Default returns the settings of `kvip manager` without flags.
func Default() Config {
	return Config{
		InterfaceWait:   WaitForever,
		Port:            DefaultPort,
		LeaseDuration:   DefaultLeaseDuration,
		RenewInterval:   DefaultRenewInterval,
		FailoverTimeout: quorum.DefaultWindow,
		DrainTimeout:    DefaultDrainTimeout,
		PeerPort:        DefaultPeerPort,
		Announce:        AnnounceARP,
		BGPHoldTime:     DefaultBGPHoldTime,
		LeaseName:       DefaultLeaseName,
		Namespace:       DefaultNamespace,
		ServicesName:    DefaultServicesName,
		ServiceClass:    DefaultServiceClass,
		MetricsAddress:  DefaultMetricsAddress,
		HealthAddress:   DefaultHealthAddress,
		Image:           ImageRepository + ":latest",
		LogFormat:       "text",
	}
}

// StaticPod returns the settings of a static pod on a kubeadm control-plane node: Default with
// the administrator's kubeconfigs, and a state directory for its own token.
func StaticPod() Config {
	c := Default()
	c.Kubeconfigs, c.StateDir = AdminKubeconfigs(), DefaultStateDir
	return c
}

// DaemonSet returns the settings of a DaemonSet: Default with ports of its own. Its identity is
// the ServiceAccount.
func DaemonSet() Config {
	c := Default()
	c.HealthAddress, c.MetricsAddress = DaemonSetHealthAddress, DaemonSetMetricsAddress
	c.PeerPort = DaemonSetPeerPort
	return c
}

// ServicesDaemonSet returns the settings of a DaemonSet for Services without a control plane:
// DaemonSet with ports of its own and no VIP.
func ServicesDaemonSet() Config {
	c := DaemonSet()
	c.Services, c.DaemonSet = true, DefaultServicesName
	c.HealthAddress, c.MetricsAddress = ServicesHealthAddress, ServicesMetricsAddress
	return c
}

// AdminKubeconfigs returns the files that kubeadm writes on control-plane nodes, the one with most
// rights first: until `kubeadm init` has finished, only super-admin.conf has rights (kubeadm 1.29
// or later). It exists on the first node only.
func AdminKubeconfigs() []string {
	return []string{"/etc/kubernetes/super-admin.conf", "/etc/kubernetes/admin.conf"}
}

// SetNodeName fills an empty NodeName from NODE_NAME, else from the host name in lower case, which
// is how the kubelet names its node.
func (c *Config) SetNodeName() error {
	if c.NodeName != "" {
		return nil
	}
	if c.NodeName = os.Getenv(NodeNameEnv); c.NodeName != "" {
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read host name: %w; set the node's name with --node-name", err)
	}
	c.NodeName = strings.ToLower(host)
	return nil
}
