package config

import (
	"slices"

	"github.com/spf13/pflag"
)

// Group is a set of flags that commands share or leave out.
type Group int

// The groups, in the order of the help text.
const (
	// Address is --vip.
	Address Group = iota
	// Interface is --interface and --interface-wait.
	Interface
	// APIServer is --port of the API servers.
	APIServer
	// Lease is --lease-name and --namespace.
	Lease
	// Timing is --lease-duration and --renew-interval.
	Timing
	// Client is --kubeconfig and --state-dir.
	Client
	// Node is --node-name.
	Node
	// Metrics is --metrics-address.
	Metrics
	// Health is --health-url, which is watched, and --health-address, where kvip's own is served.
	Health
	// Services is --services and what chooses Services and their links.
	Services
	// Kubeconfig is the part of Client that a command without a token of its own has.
	Kubeconfig
	// ServiceClass is the part of Services that chooses Services alone.
	ServiceClass
	// Image is --image.
	Image
	// Logging is --log-format and -v.
	Logging
)

// groups returns every group, or the ones asked for when any are.
func groups(asked []Group) func(Group) bool {
	return func(g Group) bool { return len(asked) == 0 || slices.Contains(asked, g) }
}

// AddFlags registers the flags of the groups on fs, or all flags when none is named. The values
// that c has now are the defaults; parsing writes into c.
func (c *Config) AddFlags(fs *pflag.FlagSet, only ...Group) {
	has := groups(only)
	fs.SortFlags = false
	if has(Address) {
		fs.Var(&addrList{list: &c.VIPs}, "vip", "virtual IP address: one IPv4, one IPv6, or both separated by a comma")
	}
	if has(Interface) {
		fs.StringVar(&c.Interface, "interface", c.Interface, "interface for the VIP (default: the link whose on-link prefix contains the VIP, else the default route's)")
		fs.DurationVar(&c.InterfaceWait, "interface-wait", c.InterfaceWait, "how long to wait at start for the interface; 0: it must be there, negative: for ever")
	}
	if has(APIServer) {
		fs.IntVar(&c.Port, "port", c.Port, "port of the API servers")
	}
	if has(Lease) {
		fs.StringVar(&c.LeaseName, "lease-name", c.LeaseName, "name of the Lease that all instances of one VIP share")
		fs.StringVar(&c.Namespace, "namespace", c.Namespace, "namespace of the Lease")
	}
	if has(Timing) {
		fs.DurationVar(&c.LeaseDuration, "lease-duration", c.LeaseDuration, "how long the lease of a silent holder is respected: whole seconds, 3s to 10m")
		fs.DurationVar(&c.RenewInterval, "renew-interval", c.RenewInterval, "time between renewals by the holder, at most a third of --lease-duration")
	}
	if has(Client) || has(Kubeconfig) {
		fs.StringSliceVar(&c.Kubeconfigs, "kubeconfig", c.Kubeconfigs, "kubeconfig files, tried in this order (none: the pod's ServiceAccount)")
	}
	if has(Client) {
		fs.StringVar(&c.StateDir, "state-dir", c.StateDir, "directory for a token of ServiceAccount kube-system/kvip, which is got with the kubeconfigs and used instead of them (empty: off)")
	}
	if has(Node) {
		fs.StringVar(&c.NodeName, "node-name", c.NodeName, "name of this node (default: $"+NodeNameEnv+", else the host name in lower case)")
	}
	if has(Metrics) {
		fs.StringVar(&c.MetricsAddress, "metrics-address", c.MetricsAddress, "host:port that serves /metrics (empty: not served)")
	}
	if has(Health) {
		fs.StringVar(&c.HealthURL, "health-url", c.HealthURL, "URL to poll instead of the local API server's /readyz, as https://127.0.0.1:6443/readyz; elsewhere than there, and over http, without credentials")
		fs.StringVar(&c.HealthAddress, "health-address", c.HealthAddress, "loopback host:port that serves /healthz, /readyz and /status")
	}
	if has(Services) {
		c.addServices(fs)
	} else if has(ServiceClass) {
		c.addClass(fs)
	}
	if has(Image) {
		fs.StringVar(&c.Image, "image", c.Image, "container image that the manifest names")
	}
	if has(Logging) {
		fs.StringVar(&c.LogFormat, "log-format", c.LogFormat, "format of the log on stderr: text or json")
		fs.IntVarP(&c.Verbosity, "v", "v", c.Verbosity, "log verbosity: 0 transitions and trouble, 1 everything")
	}
}

func (c *Config) addServices(fs *pflag.FlagSet) {
	fs.BoolVar(&c.Services, "services", c.Services, "give Services of type LoadBalancer addresses, and announce them; --vip may be left out then")
	fs.StringVar(&c.ServicesName, "services-name", c.ServicesName, "name of the Lease whose holder gives out addresses; it begins the names of the ledger's Leases")
	c.addClass(fs)
	fs.StringVar(&c.ServicesInterface, "services-interface", c.ServicesInterface, "name or pattern, as eth*, of the interfaces for Services (default: every one with a subnet that contains the address)")
	fs.StringVar(&c.ServicesFallback, "services-fallback", c.ServicesFallback, "interface for addresses of Services that are in no subnet of the node: a name, or default-route (empty: such addresses are not announced)")
	fs.StringVar(&c.DaemonSet, "daemonset", c.DaemonSet, "DaemonSet in kube-system that this agent belongs to: when that is gone, the agent hands its addresses over as it ends")
}

func (c *Config) addClass(fs *pflag.FlagSet) {
	fs.StringVar(&c.ServiceClass, "service-class", c.ServiceClass, "loadBalancerClass of the Services to serve, beside those without one")
	fs.BoolVar(&c.ClassOnly, "service-class-only", c.ClassOnly, "leave Services without a loadBalancerClass alone")
	fs.BoolVar(&c.KubeVIP, "kube-vip", c.KubeVIP, "serve what was made for kube-vip: addresses asked for need no pool, so it is for clusters of one tenant; its lease is respected")
}
