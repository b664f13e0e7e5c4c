package kubevip

import (
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/config"
)

// kube-vip's defaults. kvip shares the Leases with kube-vip's agents, so that a cluster has one
// election while it is migrated (S9).
const (
	// LeaseName is the Lease of the control plane's address.
	LeaseName = "plndr-cp-lock"
	// ServicesLease is the Lease of the leader for Services.
	ServicesLease = "plndr-svcs-lock"
	// Namespace is that of both Leases.
	Namespace = "kube-system"
	// Class is the loadBalancerClass of Services for kube-vip.
	Class = "kube-vip.io/kube-vip-class"
	// Kubeconfig is the file that kube-vip uses if it exists; else it uses the pod's ServiceAccount.
	// Without a ServiceAccount kvip waits for the file.
	Kubeconfig = "/etc/kubernetes/admin.conf"
	// LeaseDuration and RetryPeriod are the timing of its elections.
	LeaseDuration = 5 * time.Second
	RetryPeriod   = time.Second
)

// Settings are kube-vip's settings in kvip's terms. Parse fills every field that kube-vip has a
// default for.
type Settings struct {
	// ControlPlane enables VIPs for the API servers, Services addresses for Services. At least one of
	// them is true.
	ControlPlane, Services bool
	// VIPs are the control plane's addresses; empty without ControlPlane.
	VIPs []netip.Addr
	// Interface carries the VIPs. Empty: kvip chooses it.
	Interface string
	// ServicesInterface carries the addresses of Services, whatever its subnets. Empty: the link whose
	// subnet contains the address, else ServicesFallback, which is a link or config.DefaultRoute. At
	// most one of them is set; both are empty without Services.
	ServicesInterface, ServicesFallback string
	// Port is where the API servers listen.
	Port int
	// LeaseName and ServicesLease are different Leases in Namespace.
	LeaseName, ServicesLease, Namespace string
	// LeaseDuration and RenewInterval are within kvip's bounds.
	LeaseDuration, RenewInterval time.Duration
	// NodeName is this node's name. Empty: kvip detects it.
	NodeName string
	// Class is the loadBalancerClass to serve. ClassOnly ignores Services without a class.
	Class     string
	ClassOnly bool
	// MetricsAddress is the host:port of /metrics.
	MetricsAddress string
	// HealthAddress is the host:port of /healthz. Empty: kvip's default.
	HealthAddress string
	// HealthURL is polled instead of the API server of the node. Empty: kvip's default.
	HealthURL string
	// BGP are the settings of BGP. Nil: the addresses are announced by ARP and neighbour discovery.
	BGP *BGP
	// Verbosity is 0 or 1.
	Verbosity int
	// Kubeconfig is the chosen file. Empty: the constant of this name if that file exists, else the
	// ServiceAccount.
	Kubeconfig string
}

// Apply writes the settings into c. It keeps what kube-vip has no setting for, except that kvip's
// health address moves if the metrics use its port.
func (s Settings) Apply(c *config.Config) {
	c.VIPs, c.Interface, c.Port = s.VIPs, s.Interface, s.Port
	c.LeaseName, c.Namespace = s.LeaseName, s.Namespace
	c.LeaseDuration, c.RenewInterval = s.LeaseDuration, s.RenewInterval
	c.MetricsAddress, c.Verbosity = s.MetricsAddress, s.Verbosity
	// An address outside of all pools would be announced by ARP.
	c.KubeVIP = s.BGP == nil || !s.Services
	s.applyBGP(c)
	if c.Services = s.Services; s.Services {
		c.ServicesName = s.ServicesLease
		c.ServicesInterface, c.ServicesFallback = s.ServicesInterface, s.ServicesFallback
		c.ServiceClass, c.ClassOnly = s.Class, s.ClassOnly
	}
	if s.NodeName != "" {
		c.NodeName = s.NodeName
	}
	if s.Kubeconfig != "" {
		c.Kubeconfigs = []string{s.Kubeconfig}
	}
	if s.HealthAddress != "" {
		c.HealthAddress = s.HealthAddress
		return
	}
	for _, other := range []string{
		c.HealthAddress, config.DefaultHealthAddress, config.DaemonSetHealthAddress,
	} {
		if c.HealthAddress = other; c.Validate(config.Health) == nil {
			return
		}
	}
}

// applyBGP writes the settings of BGP into c. Fixed next hops are not among the flags.
func (s Settings) applyBGP(c *config.Config) {
	if s.HealthURL != "" {
		c.HealthURL = s.HealthURL
	}
	if s.BGP == nil || !s.ControlPlane {
		return
	}
	c.Announce, c.BGPAS, c.BGPRouterID = config.AnnounceBGP, s.BGP.AS, s.BGP.RouterID
	if s.BGP.HoldTime != 0 {
		c.BGPHoldTime = s.BGP.HoldTime
	}
	c.BGPPeers = nil
	for _, p := range s.BGP.Peers {
		c.BGPPeers = append(c.BGPPeers, p.BGPPeer)
	}
}
