package kubevip

import (
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/config"
)

// What kube-vip takes where nothing is said. The leases are shared with kube-vip's own agents, so that a cluster in the
// middle of its migration has one election (S9).
const (
	// LeaseName is the lease of the control-plane address.
	LeaseName = "plndr-cp-lock"
	// ServicesLease is the lease of the one leader for Services.
	ServicesLease = "plndr-svcs-lock"
	// Namespace is where both leases are.
	Namespace = "kube-system"
	// Class is the loadBalancerClass of Services that are meant for kube-vip.
	Class = "kube-vip.io/kube-vip-class"
	// Kubeconfig is the file that kube-vip uses if it is there; else it uses the pod's ServiceAccount. Without
	// one kvip waits for the file.
	Kubeconfig = "/etc/kubernetes/admin.conf"
	// LeaseDuration and RetryPeriod are the timing of its elections.
	LeaseDuration = 5 * time.Second
	RetryPeriod   = time.Second
)

// Settings are kube-vip's settings in kvip's terms. ParseEnvironment fills every field that kube-vip has a default for.
type Settings struct {
	// ControlPlane says that VIPs are held for the API servers, and Services that Services get theirs. One of them
	// is true.
	ControlPlane, Services bool
	// VIPs are the control plane's addresses; empty without ControlPlane.
	VIPs []netip.Addr
	// Interface carries the VIPs. Empty: found by kvip.
	Interface string
	// ServicesInterface carries the addresses of Services, whatever its subnets. Empty: the link whose
	// subnet contains the address, and else ServicesFallback, which is a link or config.DefaultRoute. One
	// of them is empty, and both without Services.
	ServicesInterface, ServicesFallback string
	// Port is where the API servers listen.
	Port int
	// LeaseName and ServicesLease name different Lease objects in Namespace.
	LeaseName, ServicesLease, Namespace string
	// LeaseDuration and RenewInterval are within kvip's bounds.
	LeaseDuration, RenewInterval time.Duration
	// NodeName is this node's name. Empty: kvip finds it.
	NodeName string
	// Class is the loadBalancerClass to serve, and ClassOnly leaves Services without a class alone.
	Class     string
	ClassOnly bool
	// MetricsAddress is the host:port of /metrics.
	MetricsAddress string
	// HealthAddress is the host:port of /healthz. Empty: kvip's own default.
	HealthAddress string
	// Verbosity is 0 or 1.
	Verbosity int
	// Kubeconfig is the file that was asked for. Empty: the constant of this name if there is such a file, else
	// the ServiceAccount.
	Kubeconfig string
}

// Apply writes the settings into c, with what they mean for Services, and leaves what kube-vip says nothing about. Where
// the metrics take the port of kvip's own health page, that moves.
func (s Settings) Apply(c *config.Config) {
	c.VIPs, c.Interface, c.Port = s.VIPs, s.Interface, s.Port
	c.LeaseName, c.Namespace = s.LeaseName, s.Namespace
	c.LeaseDuration, c.RenewInterval = s.LeaseDuration, s.RenewInterval
	c.MetricsAddress, c.Verbosity = s.MetricsAddress, s.Verbosity
	c.KubeVIP = true
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
	for _, other := range []string{c.HealthAddress, config.DefaultHealthAddress, config.DaemonSetHealthAddress} {
		if c.HealthAddress = other; c.Validate(config.Health) == nil {
			return
		}
	}
}
